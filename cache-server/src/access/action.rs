//! What can be allowed. Pure.

use std::fmt;
use std::str::FromStr;

/// One thing that a caller may do in a repository or key namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Read manifests, blobs, tags and referrers.
    Pull,
    /// Upload blobs, mount, write manifests and tags.
    Push,
    /// Remove manifests, tags and blobs.
    Delete,
    /// Look up cache records.
    ReadKeys,
    /// Store cache records, take leases, pin.
    WriteKeys,
}

/// A set of actions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Actions(u8);

/// A text that names no action.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown action {0:?}: expected pull, push, delete, read-keys, write-keys or *")]
pub(crate) struct UnknownAction(String);

impl Action {
    const ALL: [Self; 5] = [Self::Pull, Self::Push, Self::Delete, Self::ReadKeys, Self::WriteKeys];

    /// Its name in rules, tokens and challenges.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::ReadKeys => "read-keys",
            Self::WriteKeys => "write-keys",
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl Actions {
    pub(crate) fn all() -> Self {
        Action::ALL.into_iter().collect()
    }

    /// What leaves everything as it is.
    pub(crate) fn reading() -> Self {
        [Action::Pull, Action::ReadKeys].into_iter().collect()
    }

    pub(crate) fn contains(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// In the order of [`Action`].
    pub(crate) fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |action| self.contains(*action))
    }

    /// The actions that `text` names, separated by commas; names that mean nothing here are
    /// skipped, as a client may ask for more than we know.
    pub(crate) fn known(text: &str) -> Self {
        let sets = text.split(',').filter_map(|name| name.parse::<Self>().ok());
        Self(sets.fold(0, |bits, set| bits | set.0))
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        Self(actions.into_iter().fold(0, |bits, action| bits | action.bit()))
    }
}

impl FromStr for Actions {
    type Err = UnknownAction;

    /// Names separated by commas; `*` is all of them.
    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        let mut bits = 0;
        for name in text.split(',').map(str::trim) {
            let action = Action::ALL.into_iter().find(|action| action.name() == name);
            bits |= match (name, action) {
                ("*", _) => Self::all().0,
                (_, Some(action)) => action.bit(),
                (_, None) => return Err(UnknownAction(name.into())),
            };
        }
        Ok(Self(bits))
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(Action::name).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read_and_written() {
        assert_eq!("pull, push".parse::<Actions>().map(|a| a.to_string()), Ok("pull,push".into()));
        assert_eq!("*".parse(), Ok(Actions::all()));
        assert_eq!("pull,fly".parse::<Actions>(), Err(UnknownAction("fly".into())));
        assert!("".parse::<Actions>().is_err());
        assert_eq!(Actions::known("push,metadata_read,pull").to_string(), "pull,push");
        assert_eq!(Actions::known(""), Actions::default());
        assert!(Actions::reading().contains(Action::ReadKeys) && !Actions::reading().contains(Action::WriteKeys));
    }
}
