//! What makes a Dockerfile and its options unbuildable.

use crate::dockerfile::{ExpandError, ExpandReason, Listing, ParseError, Span};
use crate::image::{PlatformError, ReferenceError};

use super::{MountError, PortError, TransferError};

/// A [`PlanFault`] and its place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct PlanError {
    /// The instruction; `None` when no line is to blame (an unknown target).
    pub span: Option<Span>,
    /// What is wrong.
    pub fault: Box<PlanFault>,
}

impl PlanError {
    /// The error with a caret at the word that is to blame, if it stands in the Dockerfile like that.
    pub fn located(mut self, source: &Listing<'_>) -> Self {
        let words = self.fault.words();
        self.span = self.span.map(|span| source.locate(span, words.iter().map(String::as_str)));
        self
    }
}

/// What is wrong, in BuildKit's words.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// FROM of nothing; the word as written.
    #[error("base name ({0}) should not be blank")]
    BlankBase(String),
    /// FROM or `--from` of something that is neither a stage nor an image.
    #[error("failed to parse stage name {name:?}: {reason}")]
    BaseReference {
        /// Expanded.
        name: String,
        /// As written.
        word: String,
        /// Why it is no image.
        reason: ReferenceError,
    },
    /// `--platform` of nothing; the word as written.
    #[error("empty platform value from expression {0}")]
    BlankPlatform(String),
    /// `--platform` of something else.
    #[error("failed to parse platform {word}: {reason}")]
    Platform {
        /// As written.
        word: String,
        /// Why it is none.
        reason: PlatformError,
    },
    /// `--build-context NAME=target:STAGE` of a stage that is not there yet.
    #[error("failed to replace {name:?}: there is no stage {stage:?} before this one{}", did_you_mean(.suggestion))]
    ContextStage {
        /// What the context replaces.
        name: String,
        /// As given.
        stage: String,
        /// A stage of nearly that name.
        suggestion: Option<String>,
    },
    /// `SOURCE_DATE_EPOCH` is no time.
    #[error("invalid SOURCE_DATE_EPOCH: {0}")]
    Epoch(String),
    /// There is no stage of the wanted name.
    #[error("target stage {target:?} could not be found{}", did_you_mean(.suggestion))]
    UnknownTarget {
        /// As typed.
        target: String,
        /// A stage of nearly that name.
        suggestion: Option<String>,
    },
    /// `COPY --from=9`.
    #[error("invalid stage index {index}: the last stage of the file is {}", stages.saturating_sub(1))]
    StageIndex {
        /// As written.
        index: i64,
        /// How many there are.
        stages: usize,
    },
    /// Stages that need each other.
    #[error("circular dependency detected on stage: {stage}")]
    Circular {
        /// One of them.
        stage: String,
        /// The one whose files close the circle.
        from: String,
    },
    /// `COPY --from` of a stage that is not finished.
    #[error("cannot copy from stage {from:?}, it needs to be defined before current stage {stage:?}")]
    CopyFromLater {
        /// As written.
        from: String,
        /// Where the COPY stands.
        stage: String,
    },
    /// `RUN --mount=from=` of a stage that is not finished.
    #[error("cannot mount from stage {from:?} to {target:?}, stage needs to be defined before current command")]
    MountFromLater {
        /// As written.
        from: String,
        /// Expanded.
        target: String,
    },
    /// A word that cannot be expanded.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// The values put into one word are together larger than any use has for them.
    #[error("failed to process {word:?}: the values are longer than {limit} bytes")]
    TooLong {
        /// As written, cut.
        word: String,
        /// Bytes.
        limit: usize,
    },
    /// A trigger of the base image or stage that is no instruction.
    #[error(transparent)]
    Trigger(#[from] ParseError),
    /// EXPOSE.
    #[error("{reason}")]
    Port {
        /// As written.
        word: String,
        /// Why it is none.
        reason: PortError,
    },
    /// `RUN --mount`.
    #[error("{reason}")]
    Mount {
        /// The field to blame, as written, else the whole value.
        word: String,
        /// Why it is none.
        reason: MountError,
    },
    /// COPY and ADD.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// STOPSIGNAL.
    #[error("invalid signal: {signal}")]
    Signal {
        /// As written.
        word: String,
        /// Expanded.
        signal: String,
    },
    /// A VOLUME that expands to nothing; the word as written.
    #[error("VOLUME specified can not be an empty string")]
    BlankVolume(String),
    /// `RUN --security=insecure`.
    #[error("security.insecure is not allowed")]
    Insecure,
    /// `RUN --device`.
    #[error("RUN --device is not supported")]
    Device,
    /// A heredoc whose name is no file name.
    #[error("invalid heredoc name {0:?}: it must name a file, not one in a directory")]
    HeredocName(String),
}

impl PlanFault {
    /// The fault with its place.
    pub(super) fn at(self, span: Span) -> PlanError {
        PlanError { span: Some(span), fault: Box::new(self) }
    }

    /// What to point at, as it may stand in the Dockerfile, the best first.
    fn words(&self) -> Vec<String> {
        let from = |name: &dyn std::fmt::Display| vec![format!("--from={name}"), format!("from={name}")];
        match self {
            Self::BlankPlatform(word) | Self::Platform { word, .. } => {
                vec![format!("--platform={word}"), "--platform".to_owned()]
            }
            Self::BaseReference { word, .. } => [from(word), vec![word.clone()]].concat(),
            Self::StageIndex { index, .. } => from(index),
            Self::Circular { from: name, .. }
            | Self::CopyFromLater { from: name, .. }
            | Self::MountFromLater { from: name, .. } => from(name),
            Self::Expand(ExpandError { word, reason: ExpandReason::Required { name, .. } }) => {
                vec![word.clone(), format!("${{{name}")]
            }
            Self::BlankBase(word)
            | Self::BlankVolume(word)
            | Self::Expand(ExpandError { word, .. })
            | Self::TooLong { word, .. }
            | Self::Port { word, .. }
            | Self::Mount { word, .. }
            | Self::Signal { word, .. } => vec![word.clone()],
            Self::Transfer(error) => error.words(),
            Self::Insecure => vec!["--security".to_owned()],
            Self::Device => vec!["--device".to_owned()],
            Self::HeredocName(name) => vec![format!("<<{name}"), name.clone()],
            Self::ContextStage { name, .. } => [from(name), vec![name.clone()]].concat(),
            Self::UnknownTarget { .. } | Self::Trigger(_) | Self::Epoch(_) => Vec::new(),
        }
    }
}

/// The suffix with which BuildKit suggests a word.
pub(super) fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or(String::new(), |word| format!(" (did you mean {word}?)"))
}
