//! The first failure of a build ends all that runs beside it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::BuildError;
use crate::sandbox::Cancel;

/// The first failure.
pub(super) struct Failure<'a> {
    first: Mutex<Option<BuildError>>,
    cancel: &'a Cancel,
}

impl<'a> Failure<'a> {
    /// None yet; `cancel` ends the steps that run.
    pub(super) fn new(cancel: &'a Cancel) -> Self {
        Self { first: Mutex::new(None), cancel }
    }

    /// Takes note of an error, when it is the first, and stops everything. What the caller passes on
    /// in its place only says that the build is over.
    pub(super) fn note(&self, error: BuildError) -> BuildError {
        self.first().get_or_insert(error);
        self.cancel.stop();
        BuildError::Stopped
    }

    /// Whether to go on.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        if self.cancel.is_cancelled() { Err(BuildError::Stopped) } else { Ok(()) }
    }

    /// The error to report in place of `stopped`.
    pub(super) fn take(&self, stopped: BuildError) -> BuildError {
        self.first().take().unwrap_or(stopped)
    }

    fn first(&self) -> MutexGuard<'_, Option<BuildError>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
