//! What is printed when a build fails, and the exit code.

use std::error::Error;

use yadokari::build::{BuildError, DockerfileText};
use yadokari::context::ContextError;
use yadokari::dockerfile::{Span, render};
use yadokari::registry::RegistryError;
use yadokari::sandbox::SandboxError;
use yadokari::store::StoreError;

use crate::settings::SettingsError;

/// Why the executor gives up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("error: {}\n", chain(.0))]
    Settings(#[from] SettingsError),
    #[error("error: {}\n", chain(.0))]
    Context(#[from] ContextError),
    #[error("error: {}\n", chain(.0))]
    Registry(#[from] RegistryError),
    #[error("error: {}\n", chain(.0))]
    Store(#[from] StoreError),
    #[error("error: {}\n", chain(.0))]
    Sandbox(#[from] SandboxError),
    #[error("error: failed to make a temporary directory: {0}\n")]
    Temporary(#[from] std::io::Error),
    #[error("{}", show(.error, .dockerfile))]
    Build { error: Box<BuildError>, dockerfile: Box<Source> },
    /// `--check` found something; it is on the standard output already.
    #[error("")]
    Check,
}

/// The Dockerfile, for showing where.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn build(error: BuildError, dockerfile: &DockerfileText) -> Self {
        let text = String::from_utf8_lossy(&dockerfile.bytes).into_owned();
        let source = Source { name: dockerfile.name.clone(), text };
        Self::Build { error: Box::new(error), dockerfile: Box::new(source) }
    }

    /// 2 for wrong usage; a failed step's own code (255 for a signal), as Kaniko; else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(SettingsError::Usage(_)) => 2,
            Self::Build { error, .. } => match error.process_code() {
                Some(code) => u8::try_from(code).ok().filter(|code| *code != 0).unwrap_or(1),
                None if error.killed_by_signal() => 255,
                None => 1,
            },
            _ => 1,
        }
    }
}

/// The error and its causes, outermost first, without what a cause repeats.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let next = inner.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = inner.source();
    }
    text
}

fn show(error: &BuildError, source: &Source) -> String {
    let message = format!("error: {}", chain(error));
    match error.span() {
        Some(span @ Span { start: 1.., .. }) => {
            let mut shown = render(&message, span, &source.name, &source.text);
            if !shown.ends_with('\n') {
                shown.push('\n');
            }
            shown
        }
        _ => format!("{message}\n"),
    }
}
