use std::fs::{self, File};
use std::path::Path;

use yadokari::digest::Digest;

use super::error::At;
use super::{Storage, StorageError, durable};
use crate::name::RepositoryName;

/// A blob, open for reading.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) file: File,
    /// Bytes.
    pub(crate) size: u64,
}

impl Storage {
    /// Opens a blob that `repository` holds.
    pub(crate) fn open_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<Blob>, StorageError> {
        if !durable::exists(&self.layout.blob_link(repository, digest))? {
            return Ok(None);
        }
        open(&self.layout.content(digest))
    }

    /// Size in bytes of a blob that `repository` holds.
    pub(crate) fn blob_size(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<u64>, StorageError> {
        if !durable::exists(&self.layout.blob_link(repository, digest))? {
            return Ok(None);
        }
        self.content_size(digest)
    }

    /// Says whether `repository` can serve a blob.
    pub(super) fn has_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StorageError> {
        Ok(self.blob_size(repository, digest)?.is_some())
    }

    /// Makes a blob of `source`, or of any repository, part of `target`; false when there is none.
    pub(crate) fn mount_blob(
        &self,
        target: &RepositoryName,
        source: Option<&RepositoryName>,
        digest: &Digest,
    ) -> Result<bool, StorageError> {
        let _adding = self.adding_to(target);
        let found = match source {
            Some(source) => self.has_blob(source, digest)?,
            None => self.content_size(digest)?.is_some() && self.any_repository_holds(digest)?,
        };
        if found {
            durable::mark(&self.layout.blob_link(target, digest))?;
        }
        Ok(found)
    }

    /// Takes a blob out of `repository`; false when it was not in it. The bytes stay, for
    /// other repositories may hold them.
    pub(crate) fn unlink_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StorageError> {
        let _removing = self.removing_from(repository);
        durable::remove(&self.layout.blob_link(repository, digest))
    }

    /// Moves the finished and synced file `source`, whose digest was checked, to its place.
    ///
    /// It replaces bytes that are there already: so a damaged blob is healed by its next push.
    pub(super) fn adopt_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        source: &Path,
    ) -> Result<(), StorageError> {
        let _adding = self.adding_to(repository);
        durable::adopt(source, &self.layout.content(digest))?;
        durable::mark(&self.layout.blob_link(repository, digest))
    }

    /// Bytes in what `digest` names, whoever holds it.
    pub(super) fn content_size(&self, digest: &Digest) -> Result<Option<u64>, StorageError> {
        let path = self.layout.content(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(e) if durable::is_absent(&e) => Ok(None),
            Err(e) => Err(e).at("look at", &path),
        }
    }

    /// Bytes alone do not say that anyone may still have them: a deleted blob must not
    /// come back by a mount.
    fn any_repository_holds(&self, digest: &Digest) -> Result<bool, StorageError> {
        for repository in self.repositories()? {
            if durable::exists(&self.layout.blob_link(&repository, digest))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn open(path: &Path) -> Result<Option<Blob>, StorageError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if durable::is_absent(&e) => return Ok(None),
        Err(e) => return Err(e).at("open", path),
    };
    let size = file.metadata().at("look at", path)?.len();
    Ok(Some(Blob { file, size }))
}
