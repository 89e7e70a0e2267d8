//! What is printed when a build fails, and the exit code.

use yadokari::build::{BuildError, DockerfileText, LayoutError};
use yadokari::causes::chain;
use yadokari::context::ContextError;
use yadokari::registry::RegistryError;
use yadokari::sandbox::SandboxError;
use yadokari::store::StoreError;

use crate::command_line::failure::{Source, show};
use crate::command_line::settings::SettingsError;
use crate::kept_credentials::KeptError;
use crate::key_pair::KeyPairError;
use crate::login::LoginError;
use crate::metadata::MetadataError;
use crate::observing::PageError;
use crate::preserve::PreserveError;
use crate::push::PushError;
use crate::shelter::ShelterError;
use crate::ssh::AgentError;
use crate::verify::VerifyError;

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
    #[error("error: {}\n", chain(.0))]
    Agent(#[from] AgentError),
    #[error("error: {}\n", chain(.0))]
    Layout(#[from] LayoutError),
    #[error(
        "error: failed to make a temporary directory: {0}; mount an emptyDir at /tmp, or name another place with TMPDIR\n"
    )]
    Temporary(#[from] std::io::Error),
    #[error("{}{}", show(.error, .error.span(), .dockerfile), last_output(.error.last_output()))]
    Build { error: Box<BuildError>, dockerfile: Box<Source> },
    #[error("error: {}\n", chain(.0))]
    Login(#[from] LoginError),
    #[error("error: {}\n", chain(.0))]
    Push(#[from] PushError),
    #[error("error: {}\n", chain(.0))]
    Verify(#[from] VerifyError),
    #[error("error: {}\n", chain(.0))]
    Metadata(#[from] MetadataError),
    #[error("error: {}\n", chain(.0))]
    Page(#[from] PageError),
    #[error("error: {}\n", chain(.0))]
    KeyPair(#[from] KeyPairError),
    #[error("error: failed to write man pages to {}: {source}\n", directory.display())]
    Manual { directory: std::path::PathBuf, source: std::io::Error },
    #[error("error: {}\n", chain(.0))]
    Preserve(#[from] PreserveError),
    #[error("error: {}\n", chain(.0))]
    Shelter(#[from] ShelterError),
    #[error("error: {}\n", chain(.0))]
    KeptCredentials(#[from] KeptError),
    /// `doctor` said what is wrong.
    #[error("")]
    Doctor,
    /// What `executor cache` cannot do, or found to be wrong.
    #[error("error: {0}\n")]
    Cache(String),
    #[error("error: {}\n", chain(.0))]
    Repository(#[from] yadokari::cache::CacheError),
    /// `--check` found something; it is on the standard output already.
    #[error("")]
    Check,
}

/// What the failed step said, below everything else.
fn last_output(lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("last output of the step:\n{lines}")
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
            Self::Build { error, .. } if matches!(**error, BuildError::ArchiveOfSeveral { .. }) => 2,
            Self::Build { error, .. } => match error.process_code() {
                Some(code) => u8::try_from(code).ok().filter(|code| *code != 0).unwrap_or(1),
                None if error.killed_by_signal() => 255,
                None => 1,
            },
            _ => 1,
        }
    }
}
