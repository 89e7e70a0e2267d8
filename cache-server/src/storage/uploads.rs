//! Upload sessions: bytes that come in pieces and become a blob at the end.
//!
//! A session is a directory; its bytes are hashed as they come. The hash state lives in
//! memory only: after a restart the bytes on disk are hashed again when the upload ends.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
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

use super::error::At;
use super::{Storage, StorageError, durable};
use crate::hasher::Hasher;
use crate::name::RepositoryName;

const MAX_SESSION_FILE_BYTES: u64 = 4096;
const REHASH_BUFFER_BYTES: usize = 256 << 10;

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

/// The sessions that this process has seen.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<UploadId, Arc<AsyncMutex<Session>>>>);

#[derive(Debug)]
struct Session {
    id: UploadId,
    directory: PathBuf,
    received: u64,
    /// Of the bytes received; `None` when they must be hashed again.
    hasher: Option<Hasher>,
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
pub(crate) struct Appending {
    session: OwnedMutexGuard<Session>,
    file: File,
    start: u64,
    start_hasher: Option<Hasher>,
}

/// A session that was found and is waited for.
#[derive(Debug)]
pub(crate) struct Found(Arc<AsyncMutex<Session>>);

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
    pub(crate) fn start_upload(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<UploadStatus, StorageError> {
        let id = UploadId(Uuid::new_v4());
        let directory = self.layout.upload(id.0);
        fs::create_dir(&directory).at("create the directory", &directory)?;
        let data = data_path(&directory);
        File::create_new(&data).at("create", &data)?;
        // Strings only: nothing can fail.
        let file = serde_json::to_vec(&SessionFile { repository: repository.to_string() }).unwrap_or_default();
        let path = session_path(&directory);
        fs::write(&path, file).at("write", &path)?;
        let session = Session { id, directory, received: 0, hasher: Some(Hasher::new(algorithm)), closed: false };
        self.sessions.add(session);
        Ok(UploadStatus { id, received: 0 })
    }

    /// Finds a session of `repository`, also one of an earlier run of the server.
    pub(crate) fn find_upload(&self, repository: &RepositoryName, id: UploadId) -> Result<Option<Found>, StorageError> {
        let directory = self.layout.upload(id.0);
        let bytes = durable::read(&session_path(&directory), MAX_SESSION_FILE_BYTES)?;
        let file: Option<SessionFile> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if file.is_none_or(|file| file.repository != repository.as_str()) {
            return Ok(None);
        }
        if let Some(known) = self.sessions.get(id) {
            return Ok(Some(Found(known)));
        }
        let data = data_path(&directory);
        let received = match fs::metadata(&data) {
            Ok(metadata) => metadata.len(),
            Err(e) if durable::is_absent(&e) => return Ok(None),
            Err(e) => return Err(e).at("look at", &data),
        };
        let session = Session { id, directory, received, hasher: None, closed: false };
        Ok(Some(Found(self.sessions.add(session))))
    }

    /// Ends an upload: what came must have the digest `expected`, and is then a blob of
    /// `repository`. Either way the session is gone. Returns the digest that it had.
    pub(crate) fn finish_upload(
        &self,
        mut upload: Appending,
        repository: &RepositoryName,
        expected: &Digest,
    ) -> Result<Digest, StorageError> {
        let actual = upload.digest(expected.algorithm())?;
        let data = data_path(&upload.session.directory);
        if actual == *expected {
            upload.file.sync_all().at("sync", &data)?;
            self.adopt_blob(repository, expected, &data)?;
        }
        self.close(&mut upload.session)?;
        Ok(actual)
    }

    /// Removes a session and its bytes.
    pub(crate) fn cancel_upload(&self, mut upload: Held) -> Result<(), StorageError> {
        self.close(&mut upload.0)
    }

    /// Removes the sessions that nobody has written to for `age`; returns how many.
    pub(crate) fn remove_stale_uploads(&self, age: Duration) -> Result<usize, StorageError> {
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
        let Some(known) = known else { return remove_directory(directory).map(|()| true) };
        // Whoever holds it is using it.
        let Ok(mut session) = known.try_lock_owned() else { return Ok(false) };
        self.close(&mut session).map(|()| true)
    }

    /// The directory goes first: a request that then finds no known session finds no directory either.
    fn close(&self, session: &mut Session) -> Result<(), StorageError> {
        session.closed = true;
        remove_directory(&session.directory)?;
        self.sessions.forget(session.id);
        Ok(())
    }
}

impl Sessions {
    fn get(&self, id: UploadId) -> Option<Arc<AsyncMutex<Session>>> {
        self.map().get(&id).cloned()
    }

    /// Adds a session, unless another request added it first; returns the one that counts.
    fn add(&self, session: Session) -> Arc<AsyncMutex<Session>> {
        let id = session.id;
        Arc::clone(self.map().entry(id).or_insert_with(|| Arc::new(AsyncMutex::new(session))))
    }

    fn forget(&self, id: UploadId) {
        self.map().remove(&id);
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<UploadId, Arc<AsyncMutex<Session>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    /// Waits until no other request holds the session; `None` when it ended meanwhile.
    pub(crate) async fn hold(self) -> Option<Held> {
        let session = self.0.lock_owned().await;
        (!session.closed).then_some(Held(session))
    }
}

/// A session that no other request can change.
#[derive(Debug)]
pub(crate) struct Held(OwnedMutexGuard<Session>);

impl Held {
    pub(crate) fn status(&self) -> UploadStatus {
        UploadStatus { id: self.0.id, received: self.0.received }
    }

    /// Opens the session's file for more bytes.
    pub(crate) fn append(self) -> Result<Appending, StorageError> {
        let path = data_path(&self.0.directory);
        let file = File::options().read(true).write(true).open(&path).at("open", &path)?;
        let (start, start_hasher) = (self.0.received, self.0.hasher.clone());
        Ok(Appending { session: self.0, file, start, start_hasher })
    }
}

impl Appending {
    pub(crate) fn status(&self) -> UploadStatus {
        UploadStatus { id: self.session.id, received: self.session.received }
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
        let end = self.write_behind(chunks).or_else(|failure| {
            self.drop_surplus()?;
            Err(failure)
        })?;
        if let Some(hasher) = &mut self.session.hasher {
            chunks.iter().for_each(|chunk| hasher.update(chunk));
        }
        self.session.received = end;
        Ok(())
    }

    /// Forgets what this request has added.
    pub(crate) fn roll_back(&mut self) -> Result<(), StorageError> {
        self.session.received = self.start;
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
    fn digest(&self, algorithm: Algorithm) -> Result<Digest, StorageError> {
        let path = data_path(&self.session.directory);
        match &self.session.hasher {
            Some(hasher) if hasher.algorithm() == algorithm => Ok(hasher.clone().finish()),
            _ => hash_file(&path, algorithm).at("read", &path),
        }
    }
}

fn hash_file(path: &Path, algorithm: Algorithm) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; REHASH_BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn data_path(directory: &Path) -> PathBuf {
    directory.join("data")
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
