//! Upload sessions: bytes that come in pieces and become a blob at the end.
//!
//! A session is a directory; its bytes are hashed as they come, beside the writing when there are
//! many. The hash state lives in memory only: after a restart the bytes on disk are hashed again
//! when the upload ends.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use uuid::Uuid;
use yadokari::digest::{Algorithm, Digest};

use super::blobs::content_row;
use super::error::At;
use super::hashing::Hashing;
use super::space::Reservation;
use super::verify::hash_file;
use super::{Storage, StorageError, durable};
use crate::hasher::Hasher;
use crate::name::RepositoryName;

const MAX_SESSION_FILE_BYTES: u64 = 4096;
/// So many bytes at once are worth a thread that hashes.
const MANY_BYTES: usize = 512 << 10;

/// Names an upload session; random, so that nobody finds another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct UploadId(Uuid);

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UploadStatus {
    pub(crate) id: UploadId,
    /// Bytes stored so far.
    pub(crate) received: u64,
}

/// All sessions, those of earlier runs too.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<UploadId, Known>>);

/// A session, and the repository that it is for.
type Known = (RepositoryName, Arc<AsyncMutex<Session>>);

#[derive(Debug)]
struct Session {
    id: UploadId,
    directory: PathBuf,
    received: u64,
    /// Of the bytes received; `None` while another thread hashes them, and when they must be
    /// hashed again.
    hasher: Option<Hasher>,
    reservation: Reservation,
    /// Finished or cancelled while someone waited for it.
    closed: bool,
}

/// `session.json`.
#[derive(Debug, Serialize, Deserialize)]
struct SessionFile {
    repository: String,
}

/// One request's hold of a session. Nobody else can change it meanwhile.
#[derive(Debug)]
pub(crate) struct FileAppending {
    session: OwnedMutexGuard<Session>,
    file: File,
    /// Has the session's hasher until this settles.
    hashing: Option<Hashing>,
    start: u64,
    start_hasher: Option<Hasher>,
}

impl UploadId {
    pub(super) fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl FromStr for UploadId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

impl std::fmt::Display for UploadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl Storage {
    /// Opens a session for a blob of `repository`.
    pub(super) fn start_file(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<UploadStatus, StorageError> {
        let id = UploadId::random();
        let directory = self.layout.upload(id.0);
        fs::create_dir(&directory).at("create the directory", &directory)?;
        let data = data_path(&directory);
        File::create_new(&data).at("create", &data)?;
        // Strings only: nothing can fail.
        let file = serde_json::to_vec(&SessionFile { repository: repository.to_string() }).unwrap_or_default();
        let path = session_path(&directory);
        fs::write(&path, file).at("write", &path)?;
        let (hasher, reservation) = (Some(Hasher::new(algorithm)), self.space.reservation());
        let session = Session { id, directory, received: 0, hasher, reservation, closed: false };
        self.sessions.add(repository.clone(), session);
        Ok(UploadStatus { id, received: 0 })
    }

    /// Opens a session that nobody else ever hears of.
    pub(super) fn begin_file(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<FileAppending, StorageError> {
        let id = self.start_file(repository, algorithm)?.id;
        let session = self.sessions.get(id).and_then(|(_, session)| session.try_lock_owned().ok());
        session.map(FileHeld).ok_or(StorageError::Overtaken)?.append()
    }

    /// Waits for a session of `repository`, also one of an earlier run of the server, until no
    /// other request holds it; `None` when there is none, or it ended meanwhile.
    pub(super) async fn hold_file(&self, repository: &RepositoryName, id: UploadId) -> Option<FileHeld> {
        let (owner, session) = self.sessions.get(id)?;
        if owner != *repository {
            return None;
        }
        let session = session.lock_owned().await;
        (!session.closed).then_some(FileHeld(session))
    }

    /// Takes up the sessions that an earlier run left, and undoes what it left half-done.
    pub(super) fn recover_uploads(&self) -> Result<(), StorageError> {
        for name in durable::names(&self.layout.uploads())? {
            let directory = self.layout.uploads().join(&name);
            let file = durable::read(&session_path(&directory), MAX_SESSION_FILE_BYTES)?;
            let file: Option<SessionFile> = file.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let repository = file.and_then(|file| file.repository.parse().ok());
            match (name.parse(), repository, fs::metadata(data_path(&directory))) {
                (Ok(id), Some(repository), Ok(data)) => self.take_up(id, repository, directory, data.len()),
                _ => self.undo_upload(&directory)?,
            }
        }
        Ok(())
    }

    fn take_up(&self, id: UploadId, repository: RepositoryName, directory: PathBuf, received: u64) {
        let mut reservation = self.space.reservation();
        reservation.admit(received);
        let session = Session { id, directory, received, hasher: None, reservation, closed: false };
        self.sessions.add(repository, session);
    }

    /// Killed while its bytes were put in their place: they are there, but nobody knows of them.
    fn undo_upload(&self, directory: &Path) -> Result<(), StorageError> {
        let target = durable::read(&target_path(directory), MAX_SESSION_FILE_BYTES)?;
        let target: Option<Digest> = target.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
        if let Some(digest) = target
            && content_row(&self.index.read()?, &digest.to_string())?.is_none()
        {
            durable::remove(&self.layout.content(&digest))?;
        }
        remove_directory(directory)
    }

    /// Sets aside room for `more` bytes behind what an upload has; evicts for it if need be.
    pub(super) fn reserve_file(&self, upload: &mut FileAppending, more: u64) -> Result<(), StorageError> {
        let total = upload.session.received.saturating_add(more);
        self.with_room(total, || upload.session.reservation.grow_to(total))
    }

    /// Ends an upload: what came must have the digest `expected`, and is then a blob of
    /// `repository`. Either way the session is gone. Returns the digest that it had.
    pub(super) fn finish_file(
        &self,
        mut upload: FileAppending,
        repository: &RepositoryName,
        expected: &Digest,
    ) -> Result<Digest, StorageError> {
        let actual = upload.digest(expected.algorithm())?;
        let adopted = if actual == *expected { self.adopt(&mut upload, repository, expected) } else { Ok(()) };
        self.close(&mut upload.session)?;
        adopted.map(|()| actual)
    }

    fn adopt(
        &self,
        upload: &mut FileAppending,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StorageError> {
        let (data, size) = (data_path(&upload.session.directory), upload.session.received);
        self.fit_quota(repository, size)?;
        upload.file.sync_all().at("sync", &data)?;
        let target = target_path(&upload.session.directory);
        fs::write(&target, digest.to_string()).at("write", &target)?;
        let empty = self.space.reservation();
        let reservation = std::mem::replace(&mut upload.session.reservation, empty);
        self.adopt_blob(repository, digest, (&data, size), reservation)
    }

    /// Removes a session and its bytes.
    pub(super) fn cancel_file(&self, mut upload: FileHeld) -> Result<(), StorageError> {
        self.close(&mut upload.0)
    }

    /// Ends an upload that failed.
    pub(super) fn abandon_file(&self, mut upload: FileAppending) -> Result<(), StorageError> {
        self.close(&mut upload.session)
    }

    /// Removes the sessions that nobody has written to for `age`; returns how many.
    pub(crate) fn remove_stale_uploads(&self, age: Duration) -> Result<usize, StorageError> {
        if self.bucket.is_some() {
            return self.remove_stale_objects(age);
        }
        let mut removed = 0;
        for name in durable::names(&self.layout.uploads())? {
            let directory = self.layout.uploads().join(&name);
            if last_activity(&directory).is_some_and(|at| is_older(at, age)) {
                removed += usize::from(self.remove_stale_upload(&name, &directory)?);
            }
        }
        Ok(removed)
    }

    fn remove_stale_upload(&self, name: &str, directory: &Path) -> Result<bool, StorageError> {
        let known = name.parse().ok().and_then(|id| self.sessions.get(id));
        let Some((_, known)) = known else { return remove_directory(directory).map(|()| true) };
        // Whoever holds it is using it.
        let Ok(mut session) = known.try_lock_owned() else { return Ok(false) };
        self.close(&mut session).map(|()| true)
    }

    /// The directory goes first: a request that then finds no known session finds no directory either.
    fn close(&self, session: &mut Session) -> Result<(), StorageError> {
        session.closed = true;
        remove_directory(&session.directory)?;
        session.reservation.shrink_to(0);
        self.sessions.forget(session.id);
        Ok(())
    }
}

impl Sessions {
    fn get(&self, id: UploadId) -> Option<Known> {
        self.map().get(&id).cloned()
    }

    fn add(&self, repository: RepositoryName, session: Session) {
        self.map().insert(session.id, (repository, Arc::new(AsyncMutex::new(session))));
    }

    fn forget(&self, id: UploadId) {
        self.map().remove(&id);
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<UploadId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that no other request can change.
#[derive(Debug)]
pub(crate) struct FileHeld(OwnedMutexGuard<Session>);

impl FileHeld {
    pub(crate) fn status(&self) -> UploadStatus {
        UploadStatus { id: self.0.id, received: self.0.received }
    }

    /// Opens the session's file for more bytes.
    pub(crate) fn append(self) -> Result<FileAppending, StorageError> {
        let path = data_path(&self.0.directory);
        let file = File::options().read(true).write(true).open(&path).at("open", &path)?;
        let (start, start_hasher) = (self.0.received, self.0.hasher.clone());
        Ok(FileAppending { session: self.0, file, hashing: None, start, start_hasher })
    }
}

impl FileAppending {
    pub(crate) fn status(&self) -> UploadStatus {
        UploadStatus { id: self.session.id, received: self.session.received }
    }

    /// The session's file, for reading what has come; good also when the upload has ended.
    pub(crate) fn reader(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Hashes with `algorithm` from the start, if nothing has come yet.
    pub(crate) fn prefer(&mut self, algorithm: Algorithm) {
        if self.session.received == 0 {
            self.session.hasher = Some(Hasher::new(algorithm));
            self.start_hasher.clone_from(&self.session.hasher);
        }
    }

    /// Adds bytes. After a failure the session holds what it held before this call.
    pub(crate) fn write(&mut self, chunks: &[Bytes]) -> Result<(), StorageError> {
        self.hash(chunks);
        match self.write_behind(chunks) {
            Ok(end) => {
                self.session.received = end;
                Ok(())
            }
            Err(failure) => {
                // More was hashed than is kept.
                (self.hashing, self.session.hasher) = (None, None);
                self.drop_surplus()?;
                Err(failure)
            }
        }
    }

    fn hash(&mut self, chunks: &[Bytes]) {
        let many = chunks.iter().map(Bytes::len).sum::<usize>() >= MANY_BYTES;
        if many && let Some(hasher) = self.session.hasher.take_if(|_| self.hashing.is_none()) {
            self.hashing = Hashing::start(hasher);
        }
        if let Some(hashing) = &self.hashing {
            hashing.update(chunks);
        } else if let Some(hasher) = &mut self.session.hasher {
            chunks.iter().for_each(|chunk| hasher.update(chunk));
        }
    }

    /// Waits until what was written is hashed. Bytes of an upload that is dropped without that are
    /// hashed again when the session ends.
    pub(crate) fn settle(&mut self) {
        if let Some(hashing) = self.hashing.take() {
            self.session.hasher = hashing.finish();
        }
    }

    /// Forgets what this request has added.
    pub(crate) fn roll_back(&mut self) -> Result<(), StorageError> {
        self.hashing = None;
        self.session.received = self.start;
        self.session.reservation.shrink_to(self.start);
        self.session.hasher.clone_from(&self.start_hasher);
        self.drop_surplus()
    }

    fn write_behind(&self, chunks: &[Bytes]) -> Result<u64, StorageError> {
        let path = data_path(&self.session.directory);
        let mut end = self.session.received;
        for chunk in chunks {
            self.file.write_all_at(chunk, end).at("write", &path)?;
            end += chunk.len() as u64;
        }
        Ok(end)
    }

    /// The file's length is what a restarted server takes for the bytes received.
    fn drop_surplus(&self) -> Result<(), StorageError> {
        self.file.set_len(self.session.received).at("shorten", &data_path(&self.session.directory))
    }

    /// Digest of all bytes of the session; reads them again when they were hashed otherwise.
    fn digest(&mut self, algorithm: Algorithm) -> Result<Digest, StorageError> {
        self.settle();
        let path = data_path(&self.session.directory);
        match &self.session.hasher {
            Some(hasher) if hasher.algorithm() == algorithm => Ok(hasher.clone().finish()),
            _ => hash_file(&path, algorithm).at("read", &path),
        }
    }
}

fn data_path(directory: &Path) -> PathBuf {
    directory.join("data")
}

/// Holds the digest of an upload whose bytes are being put in their place.
fn target_path(directory: &Path) -> PathBuf {
    directory.join("target")
}

fn session_path(directory: &Path) -> PathBuf {
    directory.join("session.json")
}

fn remove_directory(directory: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(directory) {
        Err(e) if !durable::is_absent(&e) => Err(e).at("remove the directory", directory),
        _ => Ok(()),
    }
}

/// When bytes last came; a session without a data file counts from its making.
fn last_activity(directory: &Path) -> Option<SystemTime> {
    let metadata = fs::metadata(data_path(directory)).or_else(|_| fs::metadata(directory));
    metadata.and_then(|metadata| metadata.modified()).ok()
}

/// A time in the future, from a clock that was set back, is not old.
fn is_older(at: SystemTime, age: Duration) -> bool {
    SystemTime::now().duration_since(at).is_ok_and(|passed| passed >= age)
}
