//! Where everything is below the data directory. Pure.
//!
//! ```text
//! DIR/
//!   format                          version of this layout
//!   lock                            held by the running server
//!   index.redb                      names: repositories, tags, manifests, who holds which blob
//!   index.redb.damaged              one that could not be read
//!   journal/                        the facts of the index once more
//!   blobs/sha256/ab/<hex>           bytes of blobs, once each
//!   temporary/                      files on their way to one of the above
//!   uploads/<uuid>/session.json     an unfinished upload,
//!   uploads/<uuid>/data             what came of it,
//!   uploads/<uuid>/target           and its digest while it becomes a blob
//! ```
//!
//! With an object store it holds `format`, `lock`, `index.redb` and `temporary/`: a copy of the index.

use std::path::{Path, PathBuf};

use uuid::Uuid;
use yadokari::digest::Digest;

/// Paths below one data directory.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index.redb")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.root.join("temporary")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// The bytes named by `digest`.
    pub(super) fn content(&self, digest: &Digest) -> PathBuf {
        let (shard, _) = digest.hex().split_at(2);
        self.blobs().join(digest.algorithm().name()).join(shard).join(digest.hex())
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    pub(super) fn upload(&self, id: Uuid) -> PathBuf {
        self.uploads().join(id.hyphenated().to_string())
    }
}
