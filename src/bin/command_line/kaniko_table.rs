//! The tables of `docs/kaniko.md`: made from the facts about Kaniko and the flags that there are.

use std::path::Path;

use clap::{Arg, Command};

use super::flag_page;

/// A flag of Kaniko's: its names, as in `--dockerfile -f`, and what is different here, if anything.
pub(crate) type Fact = (&'static str, &'static str);

/// What became of one.
pub(crate) struct Row {
    pub(crate) names: String,
    pub(crate) status: &'static str,
    pub(crate) difference: String,
}

/// The flags of Kaniko's, then those that it does not have.
///
/// Panics when a flag of Kaniko's is missing.
pub(crate) fn rows(command: &Command, facts: &[Fact], without_effect: &dyn Fn(&str) -> Option<String>) -> Vec<Row> {
    let (mut rows, mut taken) = (Vec::new(), Vec::new());
    for (names, difference) in facts {
        let first = names.split(' ').next().and_then(|name| name.strip_prefix("--")).expect("a long name");
        let arg = names.split(' ').map(|name| find(command, name)).reduce(|one, other| {
            assert_eq!(one.get_id(), other.get_id(), "{names} are different flags");
            one
        });
        taken.push(arg.expect("a name").get_id().clone());
        let nothing = without_effect(first);
        assert!(nothing.is_none() || difference.is_empty(), "--{first}: the reason stands in the code already");
        let (status, difference) = match (nothing, *difference) {
            (Some(why), _) => ("accepted without effect", why),
            (None, "") => ("same", String::new()),
            (None, difference) => ("differs", difference.to_owned()),
        };
        let names = names.split(' ').map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        rows.push(Row { names, status, difference });
    }
    rows.extend(command.get_arguments().filter(|arg| !taken.contains(arg.get_id())).filter_map(added));
    rows
}

fn find<'a>(command: &'a Command, name: &str) -> &'a Arg {
    let is_meant = |arg: &&Arg| match name.strip_prefix("--") {
        Some(long) => {
            arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
        }
        None => arg.get_short().is_some_and(|short| name == format!("-{short}")),
    };
    command
        .get_arguments()
        .find(is_meant)
        .unwrap_or_else(|| panic!("Kaniko has {name}, {} has not", command.get_name()))
}

fn added(arg: &Arg) -> Option<Row> {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let first =
        help.split(". ").next().unwrap_or_default().trim_end_matches('.').replace('|', "\\|").replace('\n', " ");
    Some(Row { names: format!("`--{}`", arg.get_long()?), status: "added", difference: first })
}

/// Compares the table with that of the document, see [`flag_page::compare`].
pub(crate) fn compare(section: &str, rows: &[Row], document: &Path) {
    let row = |row: &Row| format!("| {} | {} | {} |\n", row.names, row.status, row.difference);
    let table: String = rows.iter().map(row).collect();
    flag_page::compare(section, &format!("| flag | status | difference |\n|---|---|---|\n{table}"), document);
}
