use std::io;
use std::path::{Path, PathBuf};

use super::bucket::BucketError;
use super::{FetchError, GitError, GitSourceError};
use crate::extract::ExtractError;
use crate::pattern::PatternError;
use crate::view::ResolveError;

const STANDARD_INPUT: &str = "; an archive on standard input is tar://stdin";

/// Why a build context cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// There is nothing at the path.
    #[error("build context {} does not exist{}", path.display(), if path.as_os_str() == "-" { STANDARD_INPUT } else { "" })]
    Missing {
        /// As given.
        path: PathBuf,
    },
    /// Something else than a directory.
    #[error("build context {0} is not a directory; an archive is tar://{0}", path.display())]
    NotADirectory {
        /// As given.
        path: PathBuf,
    },
    /// A form of `--context` that cannot be read.
    #[error(
        "build context {spec:?} is not supported: expected a directory, dir://, tar://, s3://, gs://, git://, ssh:// or https://"
    )]
    Scheme {
        /// The part up to `://`.
        spec: String,
    },
    /// Files from a web server that anybody on the way could have replaced.
    #[error("a build context over http:// is only taken from this machine: use https://")]
    PlainHttp,
    /// A repository that is written wrong.
    #[error("invalid build context")]
    GitSource(#[from] GitSourceError),
    /// A repository that could not be had.
    #[error("failed to get the build context")]
    Git(#[source] Box<GitError>),
    /// An archive that could not be had.
    #[error("failed to get the build context")]
    Fetch(#[source] Box<FetchError>),
    /// An archive in a bucket that could not be had.
    #[error("failed to get the build context")]
    Bucket(#[source] Box<BucketError>),
    /// Nobody types an archive.
    #[error("tar://stdin expects an archive on standard input, but that is a terminal")]
    Terminal,
    /// Neither a tar nor a compressed one.
    #[error("build context {name} is no tar archive, plain or compressed by gzip, bzip2, xz or zstd")]
    NotAnArchive {
        /// Without user and password.
        name: String,
    },
    /// The stream of an archive broke.
    #[error("failed to read build context {name}")]
    ReadArchive {
        /// Without user and password.
        name: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The archive is damaged, or has members that cannot be.
    #[error("failed to unpack build context {name}")]
    Unpack {
        /// Without user and password.
        name: String,
        /// Why.
        #[source]
        cause: Box<ExtractError>,
    },
    /// There is no such directory in what was fetched.
    #[error("build context has no directory {path:?}")]
    NoDirectory {
        /// As given.
        path: String,
    },
    /// A path in what was fetched leads nowhere.
    #[error("failed to find {path:?} in the build context")]
    Resolve {
        /// As given.
        path: String,
        /// Why.
        #[source]
        cause: ResolveError,
    },
    /// The file system said no.
    #[error("failed to {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A file was written to while the build read it.
    #[error("{} changed while it was read: build again when nothing writes to the build context", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// An ignore file cannot be understood.
    #[error("invalid ignore file {}", path.display())]
    Ignore {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: PatternError,
    },
}

impl From<BucketError> for ContextError {
    fn from(error: BucketError) -> Self {
        Self::Bucket(Box::new(error))
    }
}

impl ContextError {
    pub(super) fn io(operation: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), cause }
    }
}
