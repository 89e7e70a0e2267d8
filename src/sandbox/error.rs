use std::io;
use std::path::PathBuf;

/// Why a step could not be run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No way of running steps works here.
    #[error("cannot run RUN steps here: {0}")]
    Unavailable(String),
    /// The helper process could not be started.
    #[error("failed to start the sandbox helper {}", path.display())]
    Spawn {
        /// Its executable.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Preparing or cleaning up failed.
    #[error("sandbox: failed to {what}")]
    Setup {
        /// What was tried, on what.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The user, group, working directory or a mount of the step is wrong.
    #[error("{0}")]
    Step(String),
    /// This sandbox cannot do that.
    #[error("this sandbox does not support {0}")]
    Unsupported(&'static str),
    /// The helper process ended without saying how the step ended (killed, out of memory).
    #[error("the sandbox helper ended unexpectedly ({0})")]
    Lost(String),
    /// See [`super::Cancel`].
    #[error("the step was cancelled")]
    Cancelled,
}

impl SandboxError {
    /// For `map_err`: `what` was tried.
    pub(super) fn setup<E: Into<io::Error>>(what: impl FnOnce() -> String) -> impl FnOnce(E) -> Self {
        move |source| Self::Setup { what: what(), source: source.into() }
    }
}
