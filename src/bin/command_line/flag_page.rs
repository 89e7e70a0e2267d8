//! The lists of `docs/flags.md`, made from the flags that there are.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, Command};

/// All flags of a program and of its subcommands, a table for each.
pub(crate) fn page(command: &Command) -> String {
    let mut text = String::new();
    tables(command, &mut text);
    text
}

fn tables(command: &Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let about = command.get_about().map(|about| format!("{}\n\n", plain(&about.to_string()))).unwrap_or_default();
    let _ = write!(text, "### {name}\n\n{about}");
    let listed = |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let rows: String = command.get_arguments().filter(listed).map(row).collect();
    if !rows.is_empty() {
        let _ = write!(text, "| flag | default | meaning |\n|---|---|---|\n{rows}\n");
    }
    let listed = |below: &&Command| !below.is_hide_set() && below.get_name() != "help";
    command.get_subcommands().filter(listed).for_each(|below| tables(below, text));
}

fn row(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect::<Vec<_>>();
    let is_boolean = values == ["BOOL"];
    let long = arg.get_long().map(|name| format!("--{name}"));
    let short = arg.get_short().map(|name| format!("-{name}"));
    let names: Vec<String> = long.into_iter().chain(short).map(|name| format!("`{name}`")).collect();
    let value = if is_boolean || values.is_empty() { String::new() } else { format!(" `{}`", values.join("` `")) };
    let variable = arg.get_env().map(|name| format!(" Variable: `{}`.", name.to_string_lossy())).unwrap_or_default();
    let choices: Vec<String> =
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    let choices = match (is_boolean, choices.is_empty()) {
        (false, false) => format!(" One of {}.", choices.join(", ")),
        _ => String::new(),
    };
    let default: Vec<String> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    let default = default.join(",");
    let hidden = default.is_empty() || default == "false" || arg.is_hide_default_value_set();
    let default = if hidden { String::new() } else { format!("`{default}`") };
    let help = arg.get_help().map(|help| plain(&help.to_string())).unwrap_or_default();
    let end = if help.is_empty() || help.ends_with(['.', ':']) { "" } else { "." };
    format!("| {}{value} | {default} | {help}{end}{choices}{variable} |\n", names.join(", "))
}

/// One line, in which nothing is markup.
fn plain(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace('|', "\\|").replace('<', "\\<").replace('[', "\\[").replace('*', "\\*")
}

/// Compares with what stands between `<!-- SECTION -->` and `<!-- end of SECTION -->`, or writes it there
/// when `WRITE_DOCS` is set.
pub(crate) fn compare(section: &str, wanted: &str, document: &Path) {
    let text = fs::read_to_string(document).expect("the document");
    let (start, end) = (format!("<!-- {section} -->\n"), format!("<!-- end of {section} -->"));
    let (before, rest) = text.split_once(&start).expect("where the section begins");
    let (found, after) = rest.split_once(&end).expect("where the section ends");
    if std::env::var_os("WRITE_DOCS").is_some() {
        fs::write(document, format!("{before}{start}{wanted}{end}{after}")).expect("written");
    } else {
        assert!(found == wanted, "{} is not up to date: run this test with WRITE_DOCS=1", document.display());
    }
}
