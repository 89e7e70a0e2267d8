//! Rights: actions on the repositories that fit a pattern. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::action::{Action, Actions, UnknownAction};
use super::pattern::{InvalidPattern, NamePattern};
use crate::name::RepositoryName;

/// Actions that are allowed in some repositories; written `PATTERN=ACTION,ACTION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) repositories: NamePattern,
    pub(crate) actions: Actions,
}

/// All that someone may do: what any of the grants allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grants(Vec<Grant>);

/// Why a text is no grant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum InvalidGrant {
    #[error("invalid grant {0:?}: expected PATTERN=ACTION,ACTION")]
    Form(String),
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    #[error(transparent)]
    Action(#[from] UnknownAction),
}

impl Grant {
    /// The two halves of a grant's text.
    pub(super) fn split(text: &str) -> Result<(&str, Actions), InvalidGrant> {
        let (pattern, actions) = text.split_once('=').ok_or_else(|| InvalidGrant::Form(text.into()))?;
        Ok((pattern.trim(), actions.trim().parse()?))
    }
}

impl Grants {
    /// `actions` everywhere.
    pub(crate) fn everywhere(actions: Actions) -> Self {
        Self(vec![Grant { repositories: NamePattern::everything(), actions }])
    }

    pub(crate) fn allow(&self, action: Action, repository: &RepositoryName) -> bool {
        self.0.iter().any(|grant| grant.actions.contains(action) && grant.repositories.matches(repository))
    }

    /// Says whether `action` is allowed wherever it may happen.
    pub(crate) fn allow_everywhere(&self, action: Action) -> bool {
        self.0.iter().any(|grant| grant.actions.contains(action) && grant.repositories.is_everything())
    }

    /// The part of `wanted` that is allowed in `repository`.
    pub(crate) fn allowed(&self, wanted: Actions, repository: &RepositoryName) -> Actions {
        wanted.iter().filter(|action| self.allow(*action, repository)).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(grants.into_iter().collect())
    }
}

impl FromStr for Grant {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, InvalidGrant> {
        let (pattern, actions) = Self::split(text)?;
        Ok(Self { repositories: pattern.parse()?, actions })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.repositories, self.actions)
    }
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_grant_allows() {
        let grants: Grants =
            ["team/**=pull", "team/app = push, delete"].iter().map(|text| text.parse().expect("valid")).collect();
        let name = |text: &str| text.parse::<RepositoryName>().expect("valid");
        assert!(grants.allow(Action::Pull, &name("team/app")) && grants.allow(Action::Push, &name("team/app")));
        assert!(grants.allow(Action::Pull, &name("team/other")) && !grants.allow(Action::Push, &name("team/other")));
        assert!(!grants.allow(Action::Pull, &name("other")) && !grants.allow_everywhere(Action::Pull));
        assert_eq!(grants.allowed(Actions::all(), &name("team/app")).to_string(), "pull,push,delete");
        assert!(Grants::everywhere(Actions::reading()).allow_everywhere(Action::Pull));
    }

    #[test]
    fn grants_have_a_form() {
        let text = "a/**=pull,push";
        assert_eq!(text.parse::<Grant>().map(|grant| grant.to_string()), Ok(text.into()));
        for bad in ["a", "a=", "=pull", "a=fly", "A=pull"] {
            assert!(bad.parse::<Grant>().is_err(), "{bad}");
        }
    }
}
