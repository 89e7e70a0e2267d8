use std::io;

use crate::digest::Digest;
use crate::registry::RegistryError;
use crate::store::StoreError;

/// Why a cache could not do something.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The local store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry said no.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Many registries do not delete unless they are told to.
    #[error(
        "{repository} does not let manifests be deleted: allow it in the registry's settings (docker-registry: storage.delete.enabled), or use its own retention rules"
    )]
    NoDelete {
        /// Without tag.
        repository: String,
        /// The registry's answer.
        source: RegistryError,
    },
    /// It fails, or did so too often in this build to be asked any more; the user was told.
    #[error("cache repository {0} fails, or is off for this build after it did")]
    Off(String),
    /// It took nothing; the user was told.
    #[error("cache repository {0} takes nothing")]
    Closed(String),
    /// To be saved, but neither in the cache nor in the local store.
    #[error("blob {0} cannot be saved: it is not in the local store")]
    NotStored(Digest),
    /// No cache has the blob.
    #[error("blob {0} is in no cache")]
    Absent(Digest),
    /// The blob was there and could not be read to its end.
    #[error("failed to read blob {digest}")]
    Read {
        /// Which.
        digest: Digest,
        /// What broke, or what is wrong with the bytes.
        source: io::Error,
    },
    /// More than we are ready to hold in memory.
    #[error("table of contents {digest} has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its blob.
        digest: Digest,
        /// Bytes.
        size: u64,
        /// Bytes.
        limit: u64,
    },
    /// What stands under the tag of a cache mount is none.
    #[error("{tag} in {repository} holds no cache mount: {reason}")]
    NoMount {
        /// Its tag.
        tag: String,
        /// Without the registry's credentials.
        repository: String,
        /// What is wrong with it.
        reason: String,
    },
}
