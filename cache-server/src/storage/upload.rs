//! Uploads, wherever their bytes go.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use yadokari::digest::{Algorithm, Digest};

use super::bucket::{ObjectAppending, ObjectHeld};
use super::uploads::{FileAppending, FileHeld, UploadId, UploadStatus};
use super::{Storage, StorageError};
use crate::name::RepositoryName;

/// A session that no other request can change.
#[derive(Debug)]
pub(crate) enum Held {
    File(FileHeld),
    Object(Box<ObjectHeld>),
}

/// One request's hold of a session, for adding bytes.
#[derive(Debug)]
pub(crate) enum Appending {
    File(Box<FileAppending>),
    Object(Box<ObjectAppending>),
}

impl Held {
    pub(crate) fn status(&self) -> UploadStatus {
        match self {
            Self::File(held) => held.status(),
            Self::Object(held) => held.status(),
        }
    }

    /// Opens the session for more bytes.
    pub(crate) fn append(self) -> Result<Appending, StorageError> {
        match self {
            Self::File(held) => Ok(Appending::File(Box::new(held.append()?))),
            Self::Object(held) => Ok(Appending::Object(Box::new(held.append()))),
        }
    }
}

impl Appending {
    pub(crate) fn status(&self) -> UploadStatus {
        match self {
            Self::File(upload) => upload.status(),
            Self::Object(upload) => upload.status(),
        }
    }

    /// A file with what comes from here on, for reading; good also when the upload has ended.
    pub(crate) fn reader(&mut self) -> io::Result<File> {
        match self {
            Self::File(upload) => upload.reader(),
            Self::Object(upload) => upload.reader(),
        }
    }

    /// Hashes with `algorithm` from the start, if nothing has come yet.
    pub(crate) fn prefer(&mut self, algorithm: Algorithm) {
        match self {
            Self::File(upload) => upload.prefer(algorithm),
            Self::Object(upload) => upload.prefer(algorithm),
        }
    }

    /// Adds bytes.
    pub(crate) fn write(&mut self, chunks: &[Bytes]) -> Result<(), StorageError> {
        match self {
            Self::File(upload) => upload.write(chunks),
            Self::Object(upload) => upload.write(chunks),
        }
    }

    /// Waits until what was written is hashed.
    pub(crate) fn settle(&mut self) {
        if let Self::File(upload) = self {
            upload.settle();
        }
    }

    /// Forgets what this request has added.
    pub(crate) fn roll_back(&mut self) -> Result<(), StorageError> {
        match self {
            Self::File(upload) => upload.roll_back(),
            Self::Object(upload) => {
                upload.roll_back();
                Ok(())
            }
        }
    }
}

impl Storage {
    /// Opens a session for a blob of `repository`.
    pub(crate) fn start_upload(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<UploadStatus, StorageError> {
        match &self.bucket {
            Some(_) => self.start_object(repository),
            None => self.start_file(repository, algorithm),
        }
    }

    /// Begins an upload that nobody else ever hears of.
    pub(crate) async fn begin_upload(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<Appending, StorageError> {
        if let Some(bucket) = &self.bucket {
            let upload = self.begin_object(bucket, repository, algorithm).await;
            return Ok(Appending::Object(Box::new(upload)));
        }
        // Two small files: as quick as handing it to another thread.
        Ok(Appending::File(Box::new(self.begin_file(repository, algorithm)?)))
    }

    /// Waits until no other request holds the session; `None` when there is none, or it ended.
    pub(crate) async fn hold_upload(
        self: &Arc<Self>,
        repository: &RepositoryName,
        id: UploadId,
    ) -> Result<Option<Held>, StorageError> {
        match &self.bucket {
            Some(bucket) => {
                let held = self.hold_object(bucket, repository, id).await?;
                Ok(held.map(|held| Held::Object(Box::new(held))))
            }
            None => Ok(self.hold_file(repository, id).await.map(Held::File)),
        }
    }

    /// Sets aside room for `more` bytes behind what an upload has; evicts for it if need be.
    pub(crate) fn reserve(&self, upload: &mut Appending, more: u64) -> Result<(), StorageError> {
        match upload {
            Appending::File(upload) => self.reserve_file(upload, more),
            Appending::Object(upload) => self.reserve_object(upload, more),
        }
    }

    /// Makes what a request has added part of its session; blocks when that takes a while.
    pub(crate) fn keep_upload(&self, upload: Appending) -> Result<UploadStatus, StorageError> {
        match upload {
            Appending::File(upload) => Ok(upload.status()),
            Appending::Object(upload) => self.keep_object(*upload),
        }
    }

    /// Ends an upload: what came must have the digest `expected`, and is then a blob of
    /// `repository`. Either way the session is gone. Returns the digest that it had.
    pub(crate) fn finish_upload(
        &self,
        upload: Appending,
        repository: &RepositoryName,
        expected: &Digest,
    ) -> Result<Digest, StorageError> {
        match upload {
            Appending::File(upload) => self.finish_file(*upload, repository, expected),
            Appending::Object(upload) => self.finish_object(*upload, repository, expected),
        }
    }

    /// Removes a session and its bytes.
    pub(crate) fn cancel_upload(&self, held: Held) -> Result<(), StorageError> {
        match held {
            Held::File(held) => self.cancel_file(held),
            Held::Object(held) => self.cancel_object(&held),
        }
    }

    /// Ends an upload that failed.
    pub(crate) fn abandon_upload(&self, upload: Appending) -> Result<(), StorageError> {
        match upload {
            Appending::File(upload) => self.abandon_file(*upload),
            Appending::Object(upload) => self.abandon_object(&upload),
        }
    }
}
