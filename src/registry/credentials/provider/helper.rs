//! Who can find credentials in the environment, by the names that Kaniko has for them.

use std::collections::BTreeSet;

/// One way to credentials that are in no file of Docker's.
///
/// # Source
/// Kaniko's `--credential-helpers`; GitHub is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Helper {
    /// `KANIKO_<HOST>_USER` and `_PASSWORD`.
    Environment,
    /// Container and Artifact Registry.
    Google,
    /// Amazon's registries.
    Ecr,
    /// Azure Container Registry.
    Acr,
    /// What a job finds in `CI_…`.
    GitLab,
    /// `GITHUB_TOKEN`.
    GitHub,
}

impl Helper {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Environment, Self::Google, Self::Ecr, Self::Acr, Self::GitLab, Self::GitHub];

    /// On the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Environment => "env",
            Self::Google => "google",
            Self::Ecr => "ecr",
            Self::Acr => "acr",
            Self::GitLab => "gitlab",
            Self::GitHub => "github",
        }
    }

    /// The one that is called so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|helper| helper.name() == name)
    }
}

/// Those that may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Helpers(pub(super) BTreeSet<Helper>);

impl Default for Helpers {
    fn default() -> Self {
        Self(Helper::ALL.into())
    }
}

impl Helpers {
    /// `value`, when `helper` may be asked.
    pub(super) fn ask<T>(&self, helper: Helper, value: impl FnOnce() -> Option<T>) -> Option<T> {
        self.0.contains(&helper).then(value).flatten()
    }
}
