//! Uploads. Each body becomes an object of its own; what they are together, the index knows, so
//! that any replica can go on where another one stopped.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutMode, WriteMultipart};
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;
use uuid::Uuid;
use yadokari::digest::{Algorithm, Digest};

use super::rows::{Part, UploadRow, bytes_taken, parts_of, upload_row};
use super::{Bucket, BucketError};
use crate::hasher::Hasher;
use crate::name::RepositoryName;
use crate::storage::index::{IndexError, on_disk};
use crate::storage::manifests::millis_now;
use crate::storage::space::Shortage;
use crate::storage::uploads::{UploadId, UploadStatus};
use crate::storage::{Storage, StorageError};

/// What is longer goes to the store in pieces of this size in bytes; stores want 5 MiB at least.
const PIECE_BYTES: usize = 6 << 20;
/// Pieces on their way at the same time.
const PIECES: usize = 2;
/// Room is set aside in steps of this many bytes when nobody says how much will come.
const STEP_BYTES: u64 = 4 << 20;
/// An object must become part of something within this time: later it may have been cleaned away.
const COMMIT_TIME: Duration = Duration::from_secs(30 * 60);
/// Sessions remembered; more, and those that rest are forgotten.
const MAX_SESSIONS: usize = 10_000;

/// What this replica remembers of sessions: who holds them, and the hash of what has come.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<UploadId, Arc<AsyncMutex<Memory>>>>);

/// The hash of as many bytes from the start.
type Memory = Option<(u64, Hasher)>;

impl Sessions {
    fn get(&self, id: UploadId) -> Arc<AsyncMutex<Memory>> {
        let mut sessions = self.lock();
        if sessions.len() >= MAX_SESSIONS {
            sessions.retain(|_, session| Arc::strong_count(session) > 1);
        }
        Arc::clone(sessions.entry(id).or_default())
    }

    fn forget(&self, id: UploadId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Arc<AsyncMutex<Memory>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that no other request at this replica can change.
#[derive(Debug)]
pub(crate) struct ObjectHeld {
    bucket: Arc<Bucket>,
    memory: OwnedMutexGuard<Memory>,
    id: UploadId,
    row: UploadRow,
    /// Whether the row is in the index.
    is_known: bool,
}

/// One request's hold of a session, and the body that it adds.
#[derive(Debug)]
pub(crate) struct ObjectAppending {
    held: ObjectHeld,
    /// Of all that has come; `None` when it must be hashed again.
    hasher: Option<Hasher>,
    body: Body,
    /// For whoever reads it while it comes.
    spool: Option<File>,
}

/// A body on its way into the bucket.
#[derive(Debug)]
struct Body {
    runtime: Handle,
    name: String,
    size: u64,
    buffer: Vec<u8>,
    pieces: Option<WriteMultipart>,
}

impl ObjectHeld {
    pub(crate) fn status(&self) -> UploadStatus {
        UploadStatus { id: self.id, received: self.row.received }
    }

    pub(crate) fn append(self) -> ObjectAppending {
        let hasher = match &*self.memory {
            Some((length, hasher)) if *length == self.row.received => Some(hasher.clone()),
            _ if self.row.received == 0 => Some(Hasher::new(Algorithm::Sha256)),
            _ => None,
        };
        let body = Body::new(&self.bucket);
        ObjectAppending { held: self, hasher, body, spool: None }
    }
}

impl ObjectAppending {
    pub(crate) fn status(&self) -> UploadStatus {
        UploadStatus { id: self.held.id, received: self.received() }
    }

    fn received(&self) -> u64 {
        self.held.row.received + self.body.size
    }

    /// A file that what comes from here on is written to as well.
    pub(crate) fn reader(&mut self) -> io::Result<File> {
        let file = tempfile::tempfile()?;
        self.spool = Some(file.try_clone()?);
        Ok(file)
    }

    /// Hashes with `algorithm` from the start, if nothing has come yet.
    pub(crate) fn prefer(&mut self, algorithm: Algorithm) {
        if self.received() == 0 {
            self.hasher = Some(Hasher::new(algorithm));
        }
    }

    /// Adds bytes.
    pub(crate) fn write(&mut self, chunks: &[Bytes]) -> Result<(), StorageError> {
        let bucket = Arc::clone(&self.held.bucket);
        for chunk in chunks {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(chunk);
            }
            if let Some(spool) = &mut self.spool {
                spool.write_all(chunk).map_err(|cause| StorageError::File {
                    operation: "write",
                    path: std::env::temp_dir(),
                    cause,
                })?;
            }
            self.body.write(&bucket, chunk)?;
        }
        Ok(())
    }

    /// Forgets what this request has added.
    pub(crate) fn roll_back(&mut self) {
        self.body = Body::new(&self.held.bucket);
        self.hasher = match &*self.held.memory {
            Some((length, hasher)) if *length == self.held.row.received => Some(hasher.clone()),
            _ if self.held.row.received == 0 => Some(Hasher::new(Algorithm::Sha256)),
            _ => None,
        };
    }
}

impl Body {
    fn new(bucket: &Bucket) -> Self {
        let name = format!("blobs/{}", Uuid::new_v4());
        Self { runtime: bucket.runtime.handle(), name, size: 0, buffer: Vec::new(), pieces: None }
    }

    fn write(&mut self, bucket: &Bucket, chunk: &Bytes) -> Result<(), BucketError> {
        self.size += chunk.len() as u64;
        let failed = bucket.failed("write", &self.name);
        if let Some(pieces) = &mut self.pieces {
            let sent = async {
                pieces.wait_for_capacity(PIECES).await?;
                pieces.put(chunk.clone());
                Ok(())
            };
            return bucket.wait(sent).map_err(failed);
        }
        self.buffer.extend_from_slice(chunk);
        if self.buffer.len() <= PIECE_BYTES {
            return Ok(());
        }
        let path = bucket.path(&self.name);
        let buffer = Bytes::from(std::mem::take(&mut self.buffer));
        let begun = async {
            let upload = bucket.store.put_multipart(&path).await?;
            let mut pieces = WriteMultipart::new_with_chunk_size(upload, PIECE_BYTES);
            pieces.put(buffer);
            Ok(pieces)
        };
        self.pieces = Some(bucket.wait(begun).map_err(failed)?);
        Ok(())
    }

    /// The object that it became; `None` for an empty one.
    fn finish(&mut self, bucket: &Bucket) -> Result<Option<Part>, BucketError> {
        match self.pieces.take() {
            Some(pieces) => {
                bucket.wait(pieces.finish()).map_err(bucket.failed("write", &self.name))?;
            }
            None if self.size == 0 => return Ok(None),
            None => {
                bucket.put(&self.name, std::mem::take(&mut self.buffer), PutMode::Overwrite)?;
            }
        }
        Ok(Some(Part { name: self.name.clone(), size: self.size }))
    }
}

impl Drop for Body {
    /// Pieces that become nothing take space all the same.
    fn drop(&mut self) {
        if let Some(pieces) = self.pieces.take() {
            self.runtime.spawn(pieces.abort());
        }
    }
}

/// An object that is to become part of something, at once.
struct Fresh {
    part: Option<Part>,
    written: Instant,
}

impl Fresh {
    /// # Errors
    /// [`StorageError::Overtaken`] when it took so long that the object may have been cleaned away.
    fn check(&self) -> Result<(), StorageError> {
        if self.written.elapsed() < COMMIT_TIME { Ok(()) } else { Err(StorageError::Overtaken) }
    }

    fn discard(&self, bucket: &Bucket) -> Result<(), BucketError> {
        self.part.as_ref().map_or(Ok(()), |part| bucket.delete(std::slice::from_ref(&part.name)))
    }
}

impl Storage {
    /// Opens a session that any replica can go on with.
    pub(in crate::storage) fn start_object(&self, repository: &RepositoryName) -> Result<UploadStatus, StorageError> {
        let id = UploadId::random();
        let (name, row) = (id.to_string(), UploadRow::new(repository.as_str(), millis_now()));
        self.index.change(move |tables| tables.put_upload(&name, &row))?;
        Ok(UploadStatus { id, received: 0 })
    }

    /// Begins an upload that nobody else ever hears of.
    pub(in crate::storage) async fn begin_object(
        &self,
        bucket: &Arc<Bucket>,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> ObjectAppending {
        let id = UploadId::random();
        let memory = bucket.sessions.get(id).lock_owned().await;
        let row = UploadRow::new(repository.as_str(), millis_now());
        let held = ObjectHeld { bucket: Arc::clone(bucket), memory, id, row, is_known: false };
        let mut upload = held.append();
        upload.prefer(algorithm);
        upload
    }

    /// Waits for a session of `repository`; `None` when there is none.
    pub(in crate::storage) async fn hold_object(
        self: &Arc<Self>,
        bucket: &Arc<Bucket>,
        repository: &RepositoryName,
        id: UploadId,
    ) -> Result<Option<ObjectHeld>, StorageError> {
        let memory = bucket.sessions.get(id).lock_owned().await;
        let storage = Arc::clone(self);
        let found = spawn_blocking(move || {
            // Another replica may have taken the last bytes.
            storage.index.catch_up()?;
            upload_row(&storage.index.read()?, &id.to_string())
        });
        let row = found.await.map_err(|_| IndexError::Stopped)??;
        let Some(row) = row.filter(|row| row.repository == repository.as_str()) else {
            bucket.sessions.forget(id);
            return Ok(None);
        };
        Ok(Some(ObjectHeld { bucket: Arc::clone(bucket), memory, id, row, is_known: true }))
    }

    /// Sets aside room for `more` bytes behind what an upload has; evicts for it if need be.
    pub(in crate::storage) fn reserve_object(
        &self,
        upload: &mut ObjectAppending,
        more: u64,
    ) -> Result<(), StorageError> {
        let (Some(limit), total) = (self.policy.max_bytes, upload.received().saturating_add(more)) else {
            return Ok(());
        };
        let exact = on_disk(total);
        if exact <= upload.held.row.reserved {
            return Ok(());
        }
        let unknown = upload.body.size > 0 || upload.held.row.reserved > 0;
        if unknown && exact + STEP_BYTES <= limit && self.try_reserve(upload, exact + STEP_BYTES, limit)?.is_ok() {
            return Ok(());
        }
        self.with_room_in_bucket(total, || self.try_reserve(upload, exact, limit))
    }

    fn try_reserve(
        &self,
        upload: &mut ObjectAppending,
        bytes: u64,
        limit: u64,
    ) -> Result<Result<(), Shortage>, StorageError> {
        let (id, journal) = (upload.held.id.to_string(), self.index.disk_bytes());
        let row = UploadRow { reserved: bytes, touched: millis_now(), ..upload.held.row.clone() };
        let (wanted, before, is_known) = (row.clone(), upload.held.row.clone(), upload.held.is_known);
        let reserved = self.index.change(move |tables| {
            if is_known && tables.upload(&id)?.as_ref() != Some(&before) {
                return Ok(None);
            }
            let taken = bytes_taken(&*tables.totals)?.saturating_add(journal).saturating_sub(before.reserved);
            let missing = taken.saturating_add(bytes).saturating_sub(limit);
            if missing == 0 {
                tables.put_upload(&id, &wanted)?;
            }
            Ok(Some(missing))
        })?;
        match reserved {
            None => Err(StorageError::Overtaken),
            Some(0) => {
                (upload.held.row, upload.held.is_known) = (row, true);
                Ok(Ok(()))
            }
            Some(missing) => Ok(Err(Shortage { missing, limit })),
        }
    }

    /// Makes what this request has added part of the session.
    ///
    /// # Errors
    /// [`StorageError::Overtaken`] when another replica changed the session meanwhile.
    pub(in crate::storage) fn keep_object(&self, mut upload: ObjectAppending) -> Result<UploadStatus, StorageError> {
        let status = upload.status();
        if !upload.held.is_known {
            // Nobody could go on with it.
            return Ok(status);
        }
        let fresh = Fresh { part: upload.body.finish(&upload.held.bucket)?, written: Instant::now() };
        fresh.check()?;
        let (id, before, now) = (upload.held.id.to_string(), upload.held.row.clone(), millis_now());
        let mut row = UploadRow { received: status.received, touched: now, ..before.clone() };
        row.parts.extend(fresh.part.clone());
        row.reserved = row.reserved.max(on_disk(row.received));
        let kept = self.index.change(move |tables| {
            let is_ours = tables.upload(&id)?.as_ref() == Some(&before);
            if is_ours { tables.put_upload(&id, &row).map(|()| true) } else { Ok(false) }
        })?;
        if !kept {
            fresh.discard(&upload.held.bucket)?;
            return Err(StorageError::Overtaken);
        }
        *upload.held.memory = upload.hasher.take().map(|hasher| (status.received, hasher));
        Ok(status)
    }

    /// Ends an upload: what came must have the digest `expected`, and is then a blob of `repository`.
    /// Either way the session is gone. Returns the digest that it had.
    pub(in crate::storage) fn finish_object(
        &self,
        mut upload: ObjectAppending,
        repository: &RepositoryName,
        expected: &Digest,
    ) -> Result<Digest, StorageError> {
        let bucket = Arc::clone(&upload.held.bucket);
        let size = upload.received();
        let fresh = Fresh { part: upload.body.finish(&bucket)?, written: Instant::now() };
        let mut parts = upload.held.row.parts.clone();
        parts.extend(fresh.part.clone());
        let actual = match upload.hasher.take() {
            Some(hasher) if hasher.algorithm() == expected.algorithm() => hasher.finish(),
            _ => bucket.hash(&parts, expected.algorithm())?,
        };
        let fits = if actual == *expected { self.fit_quota(repository, size) } else { Ok(()) };
        if fits.is_err() || actual != *expected {
            fresh.discard(&bucket)?;
            self.drop_session(&upload.held)?;
            return fits.map(|()| actual);
        }
        let lost = self.lost_parts(&bucket, expected)?;
        fresh.check()?;
        let (id, before, is_known) = (upload.held.id.to_string(), upload.held.row.clone(), upload.held.is_known);
        let (name, digest, now) = (repository.to_string(), expected.to_string(), millis_now());
        let finished = self.index.change(move |tables| {
            if is_known && tables.upload(&id)?.as_ref() != Some(&before) {
                return Ok(false);
            }
            tables.take_upload(&id)?;
            tables.put_content((&name, &digest), &parts, lost.as_deref(), now)?;
            Ok(true)
        })?;
        bucket.sessions.forget(upload.held.id);
        if !finished {
            fresh.discard(&bucket)?;
            return Err(StorageError::Overtaken);
        }
        Ok(actual)
    }

    /// The objects of a content that are not all there any more.
    fn lost_parts(&self, bucket: &Bucket, digest: &Digest) -> Result<Option<Vec<Part>>, StorageError> {
        let parts = { parts_of(&self.index.read()?, digest)? };
        match parts {
            Some(parts) if !bucket.has_all(&parts)? => Ok(Some(parts)),
            _ => Ok(None),
        }
    }

    /// Removes a session and its bytes.
    pub(in crate::storage) fn cancel_object(&self, held: &ObjectHeld) -> Result<(), StorageError> {
        self.drop_session(held)
    }

    /// Ends an upload that failed.
    pub(in crate::storage) fn abandon_object(&self, upload: &ObjectAppending) -> Result<(), StorageError> {
        self.drop_session(&upload.held)
    }

    fn drop_session(&self, held: &ObjectHeld) -> Result<(), StorageError> {
        held.bucket.sessions.forget(held.id);
        if !held.is_known {
            return Ok(());
        }
        let (id, now) = (held.id.to_string(), millis_now());
        Ok(self.index.change(move |tables| {
            let parts = tables.take_upload(&id)?.map(|row| row.parts).unwrap_or_default();
            tables.doom(&parts, now)
        })?)
    }
}
