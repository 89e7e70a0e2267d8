use std::io;
use std::path::PathBuf;

use crate::attest::AttestError;
use crate::context::{ArchiveError, ContextError, FetchError, GitError, GitSourceError};
use crate::digest::Digest;
use crate::dockerfile::lint::CheckOptionsError;
use crate::dockerfile::{Listing, ParseError, Span};
use crate::extract::ExtractError;
use crate::image::{ImageConfig, Platform};
use crate::layer::{DecodeError, EncodeError};
use crate::plan::{Mention, PlanError};
use crate::registry::RegistryError;
use crate::sandbox::{Exit, SandboxError};
use crate::snapshot::SnapshotError;
use crate::store::StoreError;

use super::copy::CopyError;
use super::layouts::LayoutError;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile is malformed.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// Another step failed: its error says why.
    #[error("the build was stopped")]
    Stopped,
    /// The Dockerfile cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The `check` directive, or the build argument that takes its place, is malformed.
    #[error(transparent)]
    CheckOptions(#[from] CheckOptionsError),
    /// There are warnings, and the Dockerfile wants none.
    #[error("lint violation found for rules: {rules}")]
    Lint {
        /// Sorted, with commas.
        rules: String,
    },
    /// An archive for `docker load` was asked for, and several platforms.
    #[error("an archive holds an image for one platform, but {platforms} were asked for: write an OCI image layout")]
    ArchiveOfSeveral {
        /// How many.
        platforms: usize,
    },
    /// A base image could not be had.
    #[error("{}failed to resolve image {image}", near_stage(.mention.as_deref()))]
    Resolve {
        /// As the Dockerfile names it, normalised.
        image: String,
        /// Where the Dockerfile names it.
        mention: Option<Box<Mention>>,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// An image layout cannot be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A base image's configuration does not fit its manifest.
    #[error("image {image} is inconsistent: {reason}")]
    InconsistentImage {
        /// Which.
        image: String,
        /// What is wrong.
        reason: String,
    },
    /// The build context could not be read.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The plan names a context that the build was not given.
    #[error("there is no build context {name}")]
    NoContext {
        /// Its key.
        name: String,
    },
    /// A step failed before or while it ran.
    #[error("{source}")]
    Step {
        /// Its place.
        span: Span,
        /// Why.
        #[source]
        source: Box<BuildError>,
    },
    /// COPY or ADD cannot be carried out.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// ADD of a URL.
    #[error(transparent)]
    Download(FetchError),
    /// ADD of a git repository.
    #[error(transparent)]
    Git(Box<GitError>),
    /// ADD of something that is no git address.
    #[error(transparent)]
    GitSource(GitSourceError),
    /// ADD of an archive.
    #[error(transparent)]
    Archive(ArchiveError),
    /// ADD `--checksum` of something that is none.
    #[error("invalid --checksum: {reason}")]
    Checksum {
        /// What is wrong.
        reason: String,
    },
    /// A process ended badly.
    #[error("process {command:?} did not complete successfully: {}", describe(.exit))]
    Process {
        /// What ran.
        command: String,
        /// How it ended.
        exit: Exit,
        /// The last lines that it wrote.
        output: Vec<String>,
    },
    /// There is no way to run a process here.
    #[error("RUN is not possible here: {reason}")]
    NoSandbox {
        /// Why.
        reason: String,
    },
    /// The step's programs are for another architecture, which this machine cannot run.
    #[error("RUN needs programs for {platform}, which this machine ({host}) cannot run: {reason}")]
    Foreign {
        /// Of the step's file system.
        platform: Box<Platform>,
        /// Of the builder.
        host: Box<Platform>,
        /// Why, and what can be done.
        reason: &'static str,
    },
    /// RUN cannot run here.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// What a RUN changed could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A layer could not be written.
    #[error("failed to write a layer")]
    Encode(#[from] EncodeError),
    /// A layer could not be unpacked.
    #[error("failed to unpack layer {layer}")]
    Extract {
        /// Its blob's digest.
        layer: String,
        /// Why.
        #[source]
        source: ExtractError,
    },
    /// A layer could not be read.
    #[error("failed to read layer {layer}")]
    Decode {
        /// Its blob's digest.
        layer: String,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// A file is said to be in a layer that nobody has heard of.
    #[error("layer {layer} is not part of this build")]
    UnknownLayer {
        /// Its diff ID.
        layer: String,
    },
    /// A layer's bytes are not what its configuration says.
    #[error("layer {layer} has diff ID {found}, but the image's configuration says {expected}")]
    DiffId {
        /// Its blob's digest.
        layer: String,
        /// Of the bytes.
        found: String,
        /// Of the configuration.
        expected: String,
    },
    /// A layer could not be had from anywhere.
    #[error("failed to fetch layer {layer}")]
    Fetch {
        /// Its blob's digest.
        layer: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A mount of a RUN cannot be made.
    #[error("failed to mount {target}: {reason}")]
    Mount {
        /// Where.
        target: String,
        /// Why.
        reason: String,
    },
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A destination will not take the image.
    #[error(
        "{destination} cannot be pushed to; --no-push builds only, --skip-push-permission-check leaves the question to \
         the push"
    )]
    PushCheck {
        /// Where to.
        destination: String,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// A push failed.
    #[error("failed to push {destination}")]
    Push {
        /// Where to.
        destination: String,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// What is said about the image could not be attached to it: its name was not moved.
    #[error("failed to sign {destination}")]
    Attest {
        /// Where it was to be pushed.
        destination: String,
        /// Why.
        #[source]
        source: AttestError,
    },
    /// A digest or name could not be sent to where it was asked for.
    #[error("failed to send the image's name to {place}: {reason}")]
    Upload {
        /// The URL without its query, which may hold a signature.
        place: String,
        /// Why.
        reason: String,
    },
    /// A file of the build could not be read or written.
    #[error("failed to {action} {}", path.display())]
    File {
        /// `write`, `read`, …
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl BuildError {
    /// The blob of the layer that could not be had or read, when it was that.
    pub(super) fn lost_layer(&self) -> Option<Digest> {
        match self {
            Self::Step { source, .. } => source.lost_layer(),
            Self::Fetch { layer, .. } | Self::Decode { layer, .. } => layer.parse().ok(),
            Self::DiffId { layer, .. } | Self::Extract { layer, .. } => layer.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn git(error: GitError) -> Self {
        Self::Git(Box::new(error))
    }

    /// Makes an I/O error say what was tried on what.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// The error with a caret at the word that is to blame, as far as it stands in `source`.
    #[must_use]
    pub(super) fn located(self, source: &[u8]) -> Self {
        let text = String::from_utf8_lossy(source);
        let listing = Listing::new("", &text);
        match self {
            Self::Plan(error) => Self::Plan(error.located(&listing)),
            Self::Resolve { image, mention, source } => {
                Self::Resolve { image, mention: mention.map(|mention| Box::new(mention.located(&listing))), source }
            }
            Self::Step { span, source: error } => {
                let words = error.words();
                Self::Step { span: listing.locate(span, words.iter().map(String::as_str)), source: error }
            }
            other => other,
        }
    }

    /// What to point at, as it may stand in the Dockerfile.
    fn words(&self) -> Vec<String> {
        match self {
            Self::Copy(CopyError::NotFound { path, .. }) => vec![String::from_utf8_lossy(path).into_owned()],
            Self::Copy(CopyError::Pattern { pattern, .. }) => vec![pattern.clone()],
            Self::Copy(CopyError::NoAccounts { .. }) => vec!["--chown".to_owned()],
            Self::Checksum { .. } => vec!["--checksum".to_owned()],
            _ => Vec::new(),
        }
    }

    /// Where in the Dockerfile it happened, when it did.
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Parse(error) => Some(error.span),
            Self::Plan(error) => error.span,
            Self::Resolve { mention, .. } => mention.as_ref().map(|mention| mention.span),
            Self::Step { span, .. } => Some(*span),
            _ => None,
        }
    }

    /// The last lines that the step's process wrote, when one ended badly.
    pub fn last_output(&self) -> &[String] {
        match self {
            Self::Step { source, .. } => source.last_output(),
            Self::Process { output, .. } => output,
            _ => &[],
        }
    }

    /// The exit code of the step's process, when one ended with a code.
    pub fn process_code(&self) -> Option<i32> {
        match self {
            Self::Step { source, .. } => source.process_code(),
            Self::Process { exit: Exit::Code(code), .. } => Some(*code),
            _ => None,
        }
    }
}

impl BuildError {
    /// Whether a signal ended the step's process.
    pub fn killed_by_signal(&self) -> bool {
        match self {
            Self::Step { source, .. } => source.killed_by_signal(),
            Self::Process { exit, .. } => matches!(exit, Exit::Signal(_)),
            _ => false,
        }
    }
}

/// A stage whose name may have been meant.
fn near_stage(mention: Option<&Mention>) -> String {
    let (Some(name), Some(stage)) = (mention.map(|found| &found.name), mention.and_then(|found| found.stage.as_ref()))
    else {
        return String::new();
    };
    format!("no stage is called {name} (did you mean {stage}?): ")
}

/// The number is the one that a shell, and BuildKit, would give.
pub(super) fn describe(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code: {code}"),
        // Nobody else sends it but the kernel that has no memory left.
        Exit::Signal(9) => "exit code: 137 (killed by signal 9; out of memory?)".into(),
        Exit::Signal(signal) => format!("exit code: {} (killed by signal {signal})", 128 + signal),
    }
}

/// The number of layers in a manifest and in its configuration must agree.
pub(super) fn check_layers(image: &str, config: &ImageConfig, layers: usize) -> Result<(), BuildError> {
    let diff_ids = config.rootfs.diff_ids.len();
    if diff_ids == layers {
        return Ok(());
    }
    let reason = format!("{layers} layers, but {diff_ids} diff IDs");
    Err(BuildError::InconsistentImage { image: image.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_processes() {
        assert_eq!(describe(&Exit::Code(42)), "exit code: 42");
        assert_eq!(describe(&Exit::Signal(9)), "exit code: 137 (killed by signal 9; out of memory?)");
        assert_eq!(describe(&Exit::Signal(15)), "exit code: 143 (killed by signal 15)");
    }
}
