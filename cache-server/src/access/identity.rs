//! Who asks. Pure.

use std::fmt;
use std::sync::Arc;

use super::action::Action;
use super::grant::Grants;
use crate::name::RepositoryName;

/// A caller and what it may do.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    name: Arc<str>,
    grants: Arc<Grants>,
    proof: Proof,
    sees_catalog: bool,
    /// What a session was asked for, granted or not.
    asked: Arc<[Need]>,
}

/// How a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Not at all.
    None,
    /// By credentials of its own.
    Credentials,
    /// By a short-lived token of ours, which may hold less than the caller may do.
    Session,
}

/// What a request is about to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// An action in a repository or key namespace.
    Repository(Action, RepositoryName),
    /// See the names of all repositories.
    Catalog,
}

impl Identity {
    pub(crate) fn new(name: impl Into<Arc<str>>, grants: impl Into<Arc<Grants>>, proof: Proof) -> Self {
        let grants = grants.into();
        let sees_catalog = grants.allow_everywhere(Action::Pull);
        Self { name: name.into(), grants, proof, sees_catalog, asked: Arc::default() }
    }

    /// The same, which may see the names of all repositories or not, whatever its grants say.
    pub(super) fn seeing_catalog(self, sees_catalog: bool) -> Self {
        Self { sees_catalog, ..self }
    }

    /// The same, of a session that was asked for `places`, whether it may do anything there or not.
    pub(super) fn having_asked(self, places: impl IntoIterator<Item = Need>) -> Self {
        Self { asked: places.into_iter().collect(), ..self }
    }

    /// For logs: `anonymous`, `user:NAME`, `token:NAME`, or issuer kind and subject.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.grants
    }

    pub(crate) fn proof(&self) -> Proof {
        self.proof
    }

    /// Says whether another session could be allowed what this one is not: it was not asked for.
    pub(crate) fn may_ask(&self, need: &Need) -> bool {
        self.proof == Proof::Session && !self.asked.iter().any(|asked| asked.is_about_the_same(need))
    }

    /// Says whether the caller may do what `need` says.
    pub(crate) fn may(&self, need: &Need) -> bool {
        match need {
            // Records are manifests: who may fetch them one by one may ask for many at once, and who
            // may store them may say that it is about to.
            Need::Repository(Action::ReadKeys, repository) => {
                self.grants.allow(Action::ReadKeys, repository) || self.grants.allow(Action::Pull, repository)
            }
            Need::Repository(Action::WriteKeys, repository) => {
                self.grants.allow(Action::WriteKeys, repository) || self.grants.allow(Action::Push, repository)
            }
            Need::Repository(action, repository) => self.grants.allow(*action, repository),
            Need::Catalog => self.sees_catalog,
        }
    }
}

impl Need {
    fn is_about_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Repository(_, one), Self::Repository(_, two)) => one == two,
            (one, two) => one == two,
        }
    }

    /// As a token's scope says it: `repository:NAME:ACTION`. Who pushes also looks.
    pub(crate) fn scope(&self) -> String {
        match self {
            Self::Repository(Action::Push, repository) => format!("repository:{repository}:pull,push"),
            Self::Repository(action, repository) => format!("repository:{repository}:{}", action.name()),
            Self::Catalog => "registry:catalog:*".into(),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository(action, repository) => write!(f, "{} in {repository}", action.name()),
            Self::Catalog => f.write_str("listing all repositories"),
        }
    }
}
