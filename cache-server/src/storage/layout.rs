//! Where everything is below the data directory. Pure.
//!
//! ```text
//! DIR/
//!   format                                      version of this layout
//!   lock                                        held by the running server
//!   blobs/sha256/ab/<hex>                       bytes of blobs and manifests, once each
//!   repositories/<name>/_blobs/sha256/<hex>     empty: this repository holds that blob
//!   repositories/<name>/_manifests/sha256/<hex> record: media type, subject
//!   repositories/<name>/_tags/<tag>             digest
//!   repositories/<name>/_referrers/sha256/<hex of subject>/sha256-<hex>   descriptor
//!   uploads/<uuid>/{session.json,data}          unfinished uploads
//!   temporary/                                  files on their way to one of the above
//! ```
//!
//! A component of a name never starts with `_`, so the directories of a repository
//! cannot collide with the repositories below it.

use std::path::{Path, PathBuf};

use uuid::Uuid;
use yadokari::digest::Digest;

use crate::name::{RepositoryName, Tag};

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

    pub(super) fn temporary(&self) -> PathBuf {
        self.root.join("temporary")
    }

    /// The bytes named by `digest`.
    pub(super) fn content(&self, digest: &Digest) -> PathBuf {
        let (shard, _) = digest.hex().split_at(2);
        self.root.join("blobs").join(digest.algorithm().name()).join(shard).join(digest.hex())
    }

    pub(super) fn repositories(&self) -> PathBuf {
        self.root.join("repositories")
    }

    pub(super) fn repository(&self, repository: &RepositoryName) -> PathBuf {
        self.repositories().join(repository.as_str())
    }

    /// The file whose presence makes a blob part of a repository.
    pub(super) fn blob_link(&self, repository: &RepositoryName, digest: &Digest) -> PathBuf {
        by_digest(self.repository(repository).join("_blobs"), digest)
    }

    pub(super) fn manifest_record(&self, repository: &RepositoryName, digest: &Digest) -> PathBuf {
        by_digest(self.repository(repository).join("_manifests"), digest)
    }

    pub(super) fn tags(&self, repository: &RepositoryName) -> PathBuf {
        self.repository(repository).join("_tags")
    }

    pub(super) fn tag(&self, repository: &RepositoryName, tag: &Tag) -> PathBuf {
        self.tags(repository).join(tag.as_str())
    }

    /// The directory of what refers to `subject`.
    pub(super) fn referrers(&self, repository: &RepositoryName, subject: &Digest) -> PathBuf {
        by_digest(self.repository(repository).join("_referrers"), subject)
    }

    pub(super) fn referrer(&self, repository: &RepositoryName, subject: &Digest, manifest: &Digest) -> PathBuf {
        self.referrers(repository, subject).join(format!("{}-{}", manifest.algorithm().name(), manifest.hex()))
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    pub(super) fn upload(&self, id: Uuid) -> PathBuf {
        self.uploads().join(id.hyphenated().to_string())
    }
}

/// Names of the directories that make a directory a repository.
pub(super) const REPOSITORY_MARKS: [&str; 2] = ["_blobs", "_manifests"];

fn by_digest(directory: PathBuf, digest: &Digest) -> PathBuf {
    directory.join(digest.algorithm().name()).join(digest.hex())
}
