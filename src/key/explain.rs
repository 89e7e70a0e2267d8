use std::collections::BTreeMap;

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
        part if part.starts_with("file ") => 0,
        part if part.starts_with("env ") => 1,
        "parent" | "state" => 4,
        "files" => 3,
        _ => 2,
    }
}
