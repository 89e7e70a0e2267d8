use std::borrow::Borrow;
use std::fs::{self, File};
use std::path::Path;

use redb::{ReadTransaction, ReadableTable};
use yadokari::digest::Digest;

use super::bucket::Object;
use super::error::At;
use super::index::{CONTENTS, IndexError, LINKS};
use super::manifests::millis_now;
use super::readers::Reading;
use super::space::Reservation;
use super::{Storage, StorageError, durable};
use crate::name::RepositoryName;

/// A blob, open for reading.
#[derive(Debug)]
pub(crate) struct Blob {
    file: File,
    /// Bytes.
    pub(crate) size: u64,
    /// To be kept as long as the file is read.
    _reading: Reading,
}

impl Borrow<File> for Blob {
    fn borrow(&self) -> &File {
        &self.file
    }
}

/// A blob, wherever its bytes are.
#[derive(Debug)]
pub(crate) enum Content {
    File(Blob),
    Object(Object),
}

impl Content {
    /// Bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::File(blob) => blob.size,
            Self::Object(object) => object.size,
        }
    }

    /// A file with its bytes; it may have no name any more.
    pub(crate) fn into_file(self) -> std::io::Result<File> {
        match self {
            Self::File(blob) => blob.file.try_clone(),
            Self::Object(object) => object.into_file(),
        }
    }
}

impl Storage {
    /// Opens a blob that `repository` holds.
    pub(crate) fn open_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Content>, StorageError> {
        match &self.bucket {
            Some(bucket) => Ok(self.open_object(bucket, repository, digest)?.map(Content::Object)),
            None => Ok(self.open_file(repository, digest)?.map(Content::File)),
        }
    }

    fn open_file(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<Blob>, StorageError> {
        // First: from here on the file stays.
        let reading = self.readers.add(digest);
        let Some(expected) = self.linked_size(repository, digest)? else { return Ok(None) };
        match open(&self.layout.content(digest))? {
            Some((file, size)) if size == expected => Ok(Some(Blob { file, size, _reading: reading })),
            _ => self.forget_lost(digest).map(|()| None),
        }
    }

    /// Size in bytes of a blob that `repository` holds. Whoever asks may build on the answer, so
    /// the blob stays for a while.
    pub(crate) fn blob_size(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<u64>, StorageError> {
        if self.bucket.is_some() {
            return self.object_size(repository, digest);
        }
        let Some(expected) = self.linked_size(repository, digest)? else { return Ok(None) };
        self.recency.blob_promised(repository, digest, millis_now());
        match self.content_size(digest)? {
            Some(size) if size == expected => Ok(Some(size)),
            _ => self.forget_lost(digest).map(|()| None),
        }
    }

    /// Makes a blob of `source`, or of any repository, part of `target`; false when there is none.
    pub(crate) fn mount_blob(
        &self,
        target: &RepositoryName,
        source: Option<&RepositoryName>,
        digest: &Digest,
    ) -> Result<bool, StorageError> {
        if self.bucket.is_none() && self.content_size(digest)?.is_none() {
            return Ok(false);
        }
        let (target, source) = (target.to_string(), source.map(ToString::to_string));
        let (digest, now) = (digest.to_string(), millis_now());
        Ok(self.index.change(move |tables| {
            let held = tables.contents.get(digest.as_str())?.map(|row| row.value());
            // Bytes that nobody holds must not come back: they may be on their way out.
            let Some((size, _)) = held.filter(|(_, holders)| *holders > 0) else { return Ok(false) };
            let found = match &source {
                Some(source) => tables.links.get((source.as_str(), digest.as_str()))?.is_some(),
                None => true,
            };
            if found {
                tables.link(&target, &digest, size, now)?;
            }
            Ok(found)
        })?)
    }

    /// Takes a blob out of `repository`; false when it was not in it. The bytes go when no
    /// repository holds them any more.
    pub(crate) fn unlink_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StorageError> {
        let (repository, digest) = (repository.to_string(), digest.to_string());
        let removed = self.index.change(move |tables| tables.unlink(&repository, &digest))?;
        if removed.is_some_and(|bytes| bytes > 0) {
            self.sweep()?;
        }
        Ok(removed.is_some())
    }

    /// Moves the finished and synced file `source`, whose digest was checked, to its place.
    ///
    /// It replaces bytes that are there already: so a damaged blob is healed by its next push.
    pub(super) fn adopt_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        (source, size): (&Path, u64),
        reservation: Reservation,
    ) -> Result<(), StorageError> {
        let _placing = self.hold_content(digest);
        durable::adopt(source, &self.layout.content(digest))?;
        let (name, text, now) = (repository.to_string(), digest.to_string(), millis_now());
        let known = self.index.change(move |tables| {
            let known = tables.contents.get(text.as_str())?.is_some();
            tables.link(&name, &text, size, now)?;
            Ok(known)
        })?;
        if !known {
            reservation.become_content(size);
        }
        Ok(())
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

    fn linked_size(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<u64>, StorageError> {
        Ok(linked_size(&self.index.read()?, repository.as_str(), &digest.to_string())?)
    }

    /// The file is gone, or not what it was: nobody has the blob any more.
    pub(crate) fn forget_lost(&self, digest: &Digest) -> Result<(), StorageError> {
        if let Some(bucket) = &self.bucket {
            return self.forget_lost_object(bucket, digest);
        }
        let _placing = self.hold_content(digest);
        let text = digest.to_string();
        let expected = { content_row(&self.index.read()?, &text)? };
        let Some((size, _)) = expected else { return Ok(()) };
        if self.content_size(digest)? == Some(size) {
            return Ok(());
        }
        durable::remove(&self.layout.content(digest))?;
        self.index.change(move |tables| {
            let repositories: Vec<String> = tables
                .repositories
                .iter()?
                .map(|row| Ok(row?.0.value().to_owned()))
                .collect::<Result<_, IndexError>>()?;
            repositories.iter().try_for_each(|repository| tables.unlink(repository, &text).map(drop))?;
            tables.drop_content(&text)
        })?;
        self.space.release(size);
        Ok(())
    }
}

pub(super) fn linked_size(read: &ReadTransaction, repository: &str, digest: &str) -> Result<Option<u64>, IndexError> {
    if read.open_table(LINKS)?.get((repository, digest))?.is_none() {
        return Ok(None);
    }
    Ok(content_row(read, digest)?.map(|(size, _)| size))
}

/// Size and holders of a content.
pub(super) fn content_row(read: &ReadTransaction, digest: &str) -> Result<Option<(u64, u32)>, IndexError> {
    Ok(read.open_table(CONTENTS)?.get(digest)?.map(|row| row.value()))
}

fn open(path: &Path) -> Result<Option<(File, u64)>, StorageError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if durable::is_absent(&e) => return Ok(None),
        Err(e) => return Err(e).at("open", path),
    };
    let size = file.metadata().at("look at", path)?.len();
    Ok(Some((file, size)))
}
