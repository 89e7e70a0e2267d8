//! The `--name=value` flags of an instruction.

use super::diagnostic::Fault;
use super::suggestion;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagKind {
    /// Nothing, `true` or `false`.
    Bool,
    /// One value.
    Value,
    /// A value, any number of times.
    List,
}

/// A flag that an instruction knows.
pub(super) type Known = (&'static str, FlagKind);

/// Checked flags of one instruction.
#[derive(Debug, Default)]
pub(super) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// Checks `words` against what the instruction knows.
    pub(super) fn parse(words: &[String], known: &[Known]) -> Result<Self, Fault> {
        let mut flags = Flags::default();
        for word in words {
            let (flag, value) = word.split_once('=').map_or((word.as_str(), None), |(flag, value)| (flag, Some(value)));
            let (name, kind) = lookup(flag, known)?;
            if kind != FlagKind::List && flags.get(name).is_some() {
                return Err(Fault::at_last(format!("duplicate flag specified: {flag}"), flag));
            }
            flags.0.push((name, checked(flag, value, kind)?));
        }
        Ok(flags)
    }

    /// The value as given, empty or not.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The value; an empty one counts as not given.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// The value of a bool flag, when given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| value == "true")
    }

    /// All values of a list flag, in order.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.clone()).collect()
    }
}

fn lookup(flag: &str, known: &[Known]) -> Result<Known, Fault> {
    let name = flag.strip_prefix("--").unwrap_or(flag);
    known.iter().copied().find(|(known, _)| *known == name).ok_or_else(|| {
        let names = || known.iter().map(|(known, _)| *known);
        let nearest = names().find(|known| known.eq_ignore_ascii_case(name));
        let nearest = nearest.or_else(|| suggestion::nearest(name, names())).map(|name| format!("--{name}"));
        Fault::at(suggestion::append(format!("unknown flag: {flag}"), nearest.as_deref()), flag)
    })
}

fn checked(flag: &str, value: Option<&str>, kind: FlagKind) -> Result<String, Fault> {
    match (kind, value) {
        (FlagKind::Bool, None) => Ok("true".to_owned()),
        (_, None) => Err(Fault::at(format!("missing a value on flag: {flag} (write {flag}=VALUE)"), flag)),
        (FlagKind::Bool, Some("")) => Err(Fault::at(format!("missing a value on flag: {flag}"), flag)),
        (FlagKind::Bool, Some(value)) => match value.to_lowercase().as_str() {
            bool @ ("true" | "false") => Ok(bool.to_owned()),
            _ => Err(Fault::at(format!("expecting boolean value for flag {flag}, not: {value}"), flag)),
        },
        (_, Some(value)) => Ok(value.to_owned()),
    }
}
