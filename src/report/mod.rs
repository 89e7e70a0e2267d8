//! Events of a build, and their displays.

mod event;
mod json;
mod live;
mod page;
mod plain;
mod recording;
mod size;
mod text;
mod trace;

use std::str::FromStr;

pub use event::*;
pub use json::Json;
pub use live::Live;
pub use page::{LayerDetails, PageDetails, page};
pub use plain::Plain;
pub use recording::{Recorder, Recording, StepOutcome, StepRecording};
pub use size::{SizeError, parse_bytes};
pub use text::{human_bytes, human_duration};
pub use trace::{TraceContext, trace};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Failures only.
    Error,
    /// And what deserves attention.
    Warn,
    /// And what happens.
    Info,
    /// And why.
    Debug,
}

/// A text that is no verbosity.
#[derive(Debug, thiserror::Error)]
#[error("invalid verbosity {0:?}: expected trace, debug, info, warn, error, fatal or panic")]
pub struct VerbosityError(String);

impl FromStr for Verbosity {
    type Err = VerbosityError;

    /// # Source
    /// Kaniko `--verbosity`: logrus level names, in any case.
    fn from_str(text: &str) -> Result<Self, VerbosityError> {
        match text.to_lowercase().as_str() {
            "trace" | "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "error" | "fatal" | "panic" => Ok(Self::Error),
            _ => Err(VerbosityError(text.to_owned())),
        }
    }
}

impl Event {
    /// The least verbosity at which the event is shown.
    pub fn verbosity(&self) -> Verbosity {
        match self {
            Self::StepFailed { .. } => Verbosity::Error,
            Self::Warning(_) => Verbosity::Warn,
            Self::Debug(_) | Self::Transfer(_) => Verbosity::Debug,
            _ => Verbosity::Info,
        }
    }
}

#[cfg(test)]
mod tests;
