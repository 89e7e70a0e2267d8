use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redb::{Database, ReadableDatabase, TableDefinition, TableError};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::key::CacheKey;

/// Key to the bytes of its record file.
const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

/// redb's default is a gigabyte.
const CACHE_BYTES: usize = 8 << 20;

/// Larger records are read from their files.
const MAX_VALUE_BYTES: usize = 16 << 10;

/// Queue length at which it is time to write.
const QUEUE: usize = 256;

/// How often, and how far apart, a writer tries to get the lock.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// Copies of the record files in one redb database, which is opened for a moment at a time.
///
/// redb panics on many damaged files, and a panic may abort the process. So a file is opened
/// only when `index.stamp` says that it is as the last of us left it: a file that was cut off,
/// copied, restored or half written is never given to redb, but made anew. The stamp file is
/// also the lock.
#[derive(Debug)]
pub(super) struct RecordIndex {
    database: PathBuf,
    stamp: PathBuf,
    queue: Mutex<Vec<(CacheKey, Vec<u8>)>>,
}

/// Why the index could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexFault {
    #[error("another process has it open")]
    Locked,
    #[error("it was changed or left unfinished")]
    Untrusted,
    #[error("it is damaged")]
    Panicked,
    #[error("failed to open {}", .0.display())]
    Open(PathBuf, #[source] io::Error),
    #[error("the database failed")]
    Database(#[source] Box<redb::Error>),
}

impl<E: Into<redb::Error>> From<E> for IndexFault {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::Locked,
            error => Self::Database(Box::new(error)),
        }
    }
}

impl RecordIndex {
    pub(super) fn new(directory: &Path) -> Self {
        Self { database: directory.join("index.redb"), stamp: directory.join("index.stamp"), queue: Mutex::default() }
    }

    /// What the index has, in the order of `keys`; `None` when there is no index yet.
    pub(super) fn get(&self, keys: &[CacheKey]) -> Result<Option<Vec<Option<Vec<u8>>>>, IndexFault> {
        if !self.database.exists() {
            return Ok(None);
        }
        let opened = File::open(&self.stamp);
        let mut stamp = opened.map_err(|_| IndexFault::Untrusted)?;
        lock(&stamp, FlockOperation::NonBlockingLockShared)?;
        if !self.is_as_stamped(&mut stamp) {
            return Err(IndexFault::Untrusted);
        }
        contain(|| read(&self.database, keys)).map(Some)
    }

    /// Queues a record; true when it is time to flush.
    pub(super) fn queue(&self, key: &CacheKey, bytes: Vec<u8>) -> bool {
        let mut queue = self.queued();
        if bytes.len() <= MAX_VALUE_BYTES {
            queue.push((*key, bytes));
        }
        queue.len() >= QUEUE
    }

    /// Writes the queued records in one transaction. What cannot be written is dropped: a later
    /// look-up finds the files and queues them again.
    pub(super) fn flush(&self) -> Result<(), IndexFault> {
        let queue = std::mem::take(&mut *self.queued());
        if queue.is_empty() {
            return Ok(());
        }
        let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&self.stamp);
        let mut stamp = opened.map_err(|e| IndexFault::Open(self.stamp.clone(), e))?;
        lock_patiently(&stamp)?;
        if !self.is_as_stamped(&mut stamp) {
            let _ = fs::remove_file(&self.database);
        }
        // From here to the new stamp, a kill leaves an index that nobody opens.
        let cleared = stamp.set_len(0).and_then(|()| stamp.rewind());
        cleared.map_err(|e| IndexFault::Open(self.stamp.clone(), e))?;
        contain(|| write(&self.database, &queue))?;
        let stamped = self.current_stamp().and_then(|text| stamp.write_all(text.as_bytes()));
        stamped.map_err(|e| IndexFault::Open(self.stamp.clone(), e))
    }

    fn is_as_stamped(&self, stamp: &mut File) -> bool {
        let mut text = String::new();
        let read = stamp.take(256).read_to_string(&mut text);
        read.is_ok() && self.current_stamp().is_ok_and(|current| current == text)
    }

    fn current_stamp(&self) -> io::Result<String> {
        let m = fs::metadata(&self.database)?;
        Ok(format!("{} {} {}.{:09} {}.{:09}", m.ino(), m.size(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))
    }

    fn queued(&self) -> MutexGuard<'_, Vec<(CacheKey, Vec<u8>)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(file: &File, operation: FlockOperation) -> Result<(), IndexFault> {
    flock(file, operation).map_err(|_| IndexFault::Locked)
}

fn lock_patiently(file: &File) -> Result<(), IndexFault> {
    for _ in 1..ATTEMPTS {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            locked => return locked.map_err(|_| IndexFault::Locked),
        }
    }
    lock(file, FlockOperation::NonBlockingLockExclusive)
}

/// Where panics unwind, one inside redb is a fault like others.
fn contain<T>(work: impl FnOnce() -> Result<T, IndexFault>) -> Result<T, IndexFault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(IndexFault::Panicked))
}

fn read(path: &Path, keys: &[CacheKey]) -> Result<Vec<Option<Vec<u8>>>, IndexFault> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).open_read_only(path)?;
    let table = match database.begin_read()?.open_table(RECORDS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(vec![None; keys.len()]),
        table => table?,
    };
    let get = |key: &CacheKey| Ok(table.get(&key.0.0[..])?.map(|value| value.value().to_vec()));
    keys.iter().map(get).collect()
}

fn write(path: &Path, records: &[(CacheKey, Vec<u8>)]) -> Result<(), IndexFault> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    let transaction = database.begin_write()?;
    let mut table = transaction.open_table(RECORDS)?;
    for (key, bytes) in records {
        table.insert(&key.0.0[..], bytes.as_slice())?;
    }
    drop(table);
    Ok(transaction.commit()?)
}
