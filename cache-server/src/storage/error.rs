use std::io;
use std::path::{Path, PathBuf};

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} {path}", path = path.display())]
pub(crate) struct StorageError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    cause: io::Error,
}

impl StorageError {
    /// No space or no quota left: reading still works.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self.cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Says what was tried on what.
pub(super) trait At<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, StorageError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, StorageError> {
        self.map_err(|cause| StorageError { operation, path: path.to_owned(), cause })
    }
}
