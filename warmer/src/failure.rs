//! What is printed when the warmer gives up, and the exit code.

use std::error::Error;
use std::path::PathBuf;

use yadokari::dockerfile::Span;
use yadokari::registry::RegistryError;
use yadokari::store::StoreError;

use crate::command_line::failure::{Source, chain, show};
use crate::command_line::settings::SettingsError;

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
    /// The reasons were warnings.
    #[error("error: no image could be fetched\n")]
    NoImage,
}

impl Failure {
    /// 2 for wrong usage, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(SettingsError::Usage(_)) => 2,
            _ => 1,
        }
    }
}
