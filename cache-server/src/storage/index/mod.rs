//! What the store holds, as tables of one redb database: the truth about names, while the bytes
//! of blobs are files.
//!
//! redb commits are atomic and survive a kill at any moment. Changes are functions that run one
//! after the other on one thread; those that wait share a transaction and its sync to disk.

mod edit;
mod recorded;
mod replica;
mod tables;
mod writer;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, ReadTransaction, ReadableDatabase};

use super::bucket::BucketError;
pub(crate) use edit::{NewRecord, Removal, on_disk};
use replica::Replica;
pub(crate) use tables::Tables;
pub(super) use tables::*;
use writer::Writer;

/// redb's default is a gigabyte. Pages beyond it are read from the system's cache.
const CACHE_BYTES: usize = 12 << 20;

/// The open index of a data directory.
#[derive(Debug)]
pub(crate) struct Index {
    // Before the database: its thread ends first.
    writer: Writer,
    database: Arc<Database>,
    size: Size,
    replica: Option<Replica>,
}

/// How many bytes it takes.
#[derive(Debug)]
enum Size {
    /// Of a file.
    File(PathBuf),
    /// Of a journal that somebody else looks after.
    Journal(Arc<AtomicU64>),
}

/// A fault of the database.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum IndexError {
    /// What redb said.
    #[error("the index failed")]
    Database(#[source] Arc<redb::Error>),
    /// A change panicked; the process must be restarted.
    #[error("the index takes no more changes")]
    Stopped,
    /// The object store that holds the journal failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The file was not made by this program, or was damaged.
    #[error("{0} is damaged: an entry cannot be read; `cache-server verify` tells more")]
    Damaged(&'static str),
}

impl<E: Into<redb::Error>> From<E> for IndexError {
    fn from(error: E) -> Self {
        Self::Database(Arc::new(error.into()))
    }
}

impl IndexError {
    /// No space or no quota left.
    pub(super) fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Database(e) if matches!(&**e, redb::Error::Io(e) if matches!(e.kind(), StorageFull | QuotaExceeded)))
    }
}

impl Index {
    /// Opens or makes the database at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, IndexError> {
        let database = Arc::new(Database::builder().set_cache_size(CACHE_BYTES).create(path)?);
        let writer = Writer::start(Arc::clone(&database), None);
        let index = Self { writer, database, size: Size::File(path.to_owned()), replica: None };
        // Makes all tables: a reader needs not think about absent ones.
        index.change(|_| Ok(()))?;
        Ok(index)
    }

    /// Runs `work` in a transaction; it is on disk, or in the bucket, when this returns. Runs it again
    /// when another replica changed something at the same time.
    ///
    /// # Errors
    /// [`IndexError`]; nothing was changed then.
    pub(crate) fn change<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Tables<'_>) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        self.writer.change(work)
    }

    /// What the index holds now; changes made meanwhile are not seen. A replica's copy may lack
    /// what others did within the last moments.
    pub(crate) fn read(&self) -> Result<ReadTransaction, IndexError> {
        if let Some(replica) = &self.replica {
            replica.be_recent(&self.writer)?;
        }
        Ok(self.database.begin_read()?)
    }

    /// Bytes that it takes: the file on disk, or the journal in the bucket.
    pub(super) fn disk_bytes(&self) -> u64 {
        match &self.size {
            Size::File(path) => fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512),
            Size::Journal(bytes) => bytes.load(Ordering::Relaxed),
        }
    }
}
