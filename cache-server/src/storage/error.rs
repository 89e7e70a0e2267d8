use std::io;
use std::path::{Path, PathBuf};

use super::bucket::BucketError;
use super::index::IndexError;

/// Why the store could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    /// A file operation that failed.
    #[error("failed to {operation} {path}", path = path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The object store failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Another request changed an upload at the same time.
    #[error("another request changed this upload: ask how far it is, and go on from there")]
    Overtaken,
    /// There is no room below `--max-bytes`, and nothing more that may be removed.
    #[error("no room for {wanted} more bytes: {limit} may be used, and nothing more can be evicted")]
    NoRoom { wanted: u64, limit: u64 },
    /// It is larger than all that may be kept.
    #[error("{wanted} bytes are more than the {limit} that may be kept")]
    TooLarge { wanted: u64, limit: u64 },
}

impl StorageError {
    /// No space or no quota left: reading still works.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::File { cause, .. } => {
                matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Index(error) => error.is_full(),
            Self::NoRoom { .. } => true,
            Self::TooLarge { .. } | Self::Bucket(_) | Self::Overtaken => false,
        }
    }

    /// The object store does not answer, or not as it should: another attempt may work.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Bucket(_) | Self::Index(IndexError::Bucket(_)))
    }
}

/// Says what was tried on what.
pub(super) trait At<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, StorageError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, StorageError> {
        self.map_err(|cause| StorageError::File { operation, path: path.to_owned(), cause })
    }
}
