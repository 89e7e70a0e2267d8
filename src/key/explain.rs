use std::collections::BTreeMap;
use std::fmt;

/// One part in which a step differs from a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Name of the part: `file src/main.c`, `env VERSION`, `parent`, …
    pub part: String,
    /// What the record had; `None` when it had no such part.
    pub before: Option<String>,
    /// What the step has; `None` when it has no such part.
    pub now: Option<String>,
}

impl fmt::Display for Difference {
    /// A clause: `file src/main.c changed`, `variable VERSION is new`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.part.split_once(' ') {
            Some(("env", name)) => format!("variable {name}"),
            _ => match self.part.as_str() {
                "base" => "the base image".into(),
                "command" => "the command".into(),
                "parent" => "what this step builds on".into(),
                "from" => "the stage or image that this step copies from".into(),
                "files" => "the set of files".into(),
                part => part.to_owned(),
            },
        };
        let what = printable(&what);
        match (&self.before, &self.now) {
            (None, _) => write!(f, "{what} is new"),
            (_, None) => write!(f, "{what} is gone"),
            _ => write!(f, "{what} changed"),
        }
    }
}

impl Difference {
    /// As the clause, with the values where they are no mere hashes.
    pub fn with_values(&self) -> String {
        let is_hash = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let is_key = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let shown = |value: &Option<String>| value.clone().filter(|text| !is_hash(text) && !is_key(text));
        match (shown(&self.before), shown(&self.now)) {
            (Some(before), Some(now)) => format!("{self}: {before:?} -> {now:?}"),
            (Some(one), None) | (None, Some(one)) => format!("{self}: {one:?}"),
            (None, None) => self.to_string(),
        }
    }
}

/// Text from a record for a terminal: whoever wrote the record may be anybody.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Whether two lists of parts are of the same instruction, as far as a person would say so: the
/// same command, destination or path.
pub fn same_instruction(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> bool {
    let name = |parts: &BTreeMap<String, String>| {
        ["command", "destination", "path"].iter().find_map(|part| Some((*part, parts.get(*part)?.clone())))
    };
    name(one).is_some() && name(one) == name(other)
}

/// The list of parts that comes nearest to `now`, with the differences as [`explain`] has them: one
/// of the same instruction, else one that stood at the same place with another text; of several
/// the one that differs least. One without any difference does not count.
pub fn nearest<'a>(
    known: impl IntoIterator<Item = &'a BTreeMap<String, String>>,
    now: &BTreeMap<String, String>,
) -> Option<(&'a BTreeMap<String, String>, Vec<Difference>)> {
    let same_place =
        |parts: &BTreeMap<String, String>| parts.get("parent").is_some_and(|p| now.get("parent") == Some(p));
    let fitting = known.into_iter().filter_map(|parts| {
        let rank = if same_instruction(parts, now) { 0 } else { 1 };
        (rank == 0 || same_place(parts)).then(|| (rank, parts, explain(parts, now)))
    });
    let differing = fitting.filter(|(_, _, differences)| !differences.is_empty());
    let best = differing.min_by_key(|(rank, _, differences)| (*rank, differences.len()))?;
    Some((best.1, best.2))
}

/// The parts in which `now` differs from `before`, the most telling first: files, then arguments,
/// then the rest; the parent last, since it says only that something earlier changed.
pub fn explain(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<Difference> {
    let mut names: Vec<&String> = before.keys().chain(now.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let mut out: Vec<Difference> = names
        .into_iter()
        .filter(|name| before.get(*name) != now.get(*name))
        .map(|name| Difference { part: name.clone(), before: before.get(name).cloned(), now: now.get(name).cloned() })
        .collect();
    out.sort_by_key(|difference| rank(&difference.part));
    out
}

fn rank(part: &str) -> u8 {
    match part {
        "base" => 0,
        part if part.starts_with("file ") || part.starts_with("files below ") => 0,
        part if part.starts_with("env ") => 1,
        "parent" | "state" => 4,
        "files" => 3,
        _ => 2,
    }
}
