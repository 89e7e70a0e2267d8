//! The environment, as providers see it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::Secret;

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Looks up variables when they are needed; an empty one is not set.
#[derive(Clone)]
pub(super) struct Variables(Arc<Lookup>);

impl Variables {
    pub(super) fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.trim().is_empty())
    }

    pub(super) fn secret(&self, name: &str) -> Option<Secret> {
        self.get(name).map(Secret::new)
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A path below the home directory.
    pub(super) fn at_home(&self, path: &str) -> PathBuf {
        self.path("HOME").unwrap_or_else(|| PathBuf::from("/root")).join(path)
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variables")
    }
}
