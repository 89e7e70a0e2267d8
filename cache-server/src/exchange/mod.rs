//! Taking repositories elsewhere: an OCI image layout in a tar archive, records and all.
//!
//! ```text
//! oci-layout
//! blobs/sha256/<hex>    blobs and manifests, once each
//! index.json            every manifest: its repository and its tag in annotations
//! ```
//!
//! # Source
//! OCI image-spec, `image-layout.md`.

mod archive;
mod export;
mod import;

use std::path::PathBuf;

use yadokari::digest::Digest;

use crate::document::DocumentError;
use crate::storage::StorageError;
pub(crate) use export::{Exported, export};
pub(crate) use import::{Imported, import};

/// `REPOSITORY:TAG`, where a manifest has a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The repository, where it has none.
const REPOSITORY: &str = "dev.yadokari.repository";
/// Milliseconds since the epoch until which it is pinned; the largest number is for ever.
const PINNED_UNTIL: &str = "dev.yadokari.pinned-until";

/// Why an archive was not written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("failed to {operation} {path}", path = path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("there is no repository {0}")]
    NoRepository(String),
    #[error("the archive has no {0}")]
    Missing(&'static str),
    #[error("the archive lacks {0}, which it names")]
    Lacking(Digest),
    #[error("malformed index.json in the archive")]
    Index(#[source] serde_json::Error),
    #[error("the archive names no repository for {0}: pass --repository NAME")]
    Unnamed(Digest),
    #[error("invalid name {0:?} in the archive")]
    Name(String),
    #[error("{named} in the archive holds {actual}")]
    Digest { named: Digest, actual: Digest },
    #[error("{digest} in the archive is no manifest")]
    Document {
        digest: Digest,
        #[source]
        cause: DocumentError,
    },
    #[error("{digest} in the archive has {size} bytes, more than a manifest may have")]
    TooLarge { digest: Digest, size: u64 },
    #[error("{0} in the archive is nested too deeply")]
    Depth(Digest),
}
