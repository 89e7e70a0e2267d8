use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::key::CacheKey;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("failed to {operation} {}", path.display())]
    Io {
        /// What was tried: `read`, `create`, …
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// No space, or no quota, left.
    #[error("disk full while writing {what} to {}", path.display())]
    DiskFull {
        /// What was being written.
        what: String,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The store was opened for reading only.
    #[error("cannot write {what}: the store at {} is read-only", directory.display())]
    ReadOnly {
        /// What was to be written.
        what: String,
        /// The store.
        directory: PathBuf,
    },
    /// `oci-layout` names a version that we do not know.
    #[error("unsupported image layout version {version:?} in {}", path.display())]
    Version {
        /// What it says; empty when it cannot be read.
        version: String,
        /// The file.
        path: PathBuf,
    },
    /// `index.json` is no image index.
    #[error("malformed image index {}", path.display())]
    ImageIndex {
        /// The file.
        path: PathBuf,
        /// Where the JSON breaks.
        source: serde_json::Error,
    },
    /// The bytes are not what their digest says.
    #[error("wrong digest of a blob: expected {expected}, got {actual}")]
    Digest {
        /// What was announced.
        expected: Digest,
        /// What the bytes have.
        actual: Digest,
    },
    /// The blob is longer or shorter than announced.
    #[error("wrong size of blob {digest}: expected {expected} bytes, got {actual}")]
    Size {
        /// Its digest.
        digest: Digest,
        /// Bytes announced.
        expected: u64,
        /// Bytes seen; when too long, only as many as were read.
        actual: u64,
    },
    /// A record, TOC or image names a blob that is not stored.
    #[error("{what} names blob {digest}, which is not in the store")]
    MissingBlob {
        /// What names it.
        what: String,
        /// The blob.
        digest: Digest,
    },
    /// A record is bound to its own keys.
    #[error("record of key {record} cannot be stored under key {key}")]
    ForeignKey {
        /// The record's own key.
        record: CacheKey,
        /// Where it was to be stored.
        key: CacheKey,
    },
    /// A record beyond [`super::Record::MAX_BYTES`] could never be read again.
    #[error("record of key {key} has {size} bytes, more than a record may have")]
    RecordSize {
        /// Its key.
        key: CacheKey,
        /// Bytes.
        size: usize,
    },
    /// Somebody else removes things just now.
    #[error("another process{} is removing things from {}: try again when it is done", of_host(host), directory.display())]
    Busy {
        /// The store.
        directory: PathBuf,
        /// Where it runs; may be empty.
        host: String,
    },
    /// The name is no plain file name.
    #[error("invalid name of an extracted layer: {0:?}")]
    LayerName(String),
}

fn of_host(host: &str) -> String {
    if host.is_empty() { String::new() } else { format!(" on {host}") }
}

impl StoreError {
    /// A failed operation that does not write data.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.to_owned(), source }
    }

    /// A failed write; a full disk gets its own variant.
    pub(super) fn write(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { what: what.to_owned(), path: path.to_owned(), source }
            }
            _ => Self::Io { operation: "write", path: path.to_owned(), source },
        }
    }
}
