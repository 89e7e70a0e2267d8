//! What is printed when the warmer gives up, and the exit code.

use std::error::Error;
use std::path::PathBuf;

use yadokari::causes::chain;
use yadokari::dockerfile::Span;
use yadokari::registry::RegistryError;
use yadokari::sandbox::SandboxError;
use yadokari::store::StoreError;

use crate::command_line::failure::{Source, show};
use crate::command_line::settings::SettingsError;

/// The exit code after a signal, as the executor's.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why the warmer gives up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("error: {}\n", chain(.0))]
    Settings(#[from] SettingsError),
    #[error("{}", show(.error.as_ref(), *.span, .dockerfile))]
    Dockerfile { error: Box<dyn Error>, span: Option<Span>, dockerfile: Source },
    #[error("error: failed to create the cache directory {}: {source}\n", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("error: {}\n", chain(.0))]
    Store(#[from] StoreError),
    #[error("error: {}\n", chain(.0))]
    Registry(#[from] RegistryError),
    #[error("error: {0} does not say what its runners ask for: is it a cache-server of this version?\n")]
    NoHotSet(String),
    #[error("error: failed to write the man page to {}: {source}\n", directory.display())]
    Manual { directory: PathBuf, source: std::io::Error },
    #[error("error: failed to listen on {address}: {source}\n")]
    Listen { address: String, source: std::io::Error },
    #[error("error: --extract is of no use here: {0}\n")]
    NoOverlay(String),
    #[error("error: {}\n", chain(.0))]
    Sandbox(#[from] SandboxError),
    /// The reasons were warnings.
    #[error("error: {failed} of {tried} images could not be fetched\n")]
    Images { failed: usize, tried: usize },
    #[error("error: interrupted; what was fetched stays for the next run\n")]
    Interrupted,
}

impl Failure {
    /// Whether another try cannot help.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::Settings(SettingsError::Usage(_)))
    }

    /// 2 for wrong usage, 130 after a signal, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(SettingsError::Usage(_)) => 2,
            Self::Interrupted => INTERRUPTED,
            _ => 1,
        }
    }
}
