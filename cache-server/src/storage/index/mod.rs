//! What the store holds, as tables of one redb database: the truth about names, while the bytes
//! of blobs are files.
//!
//! redb commits are atomic and survive a kill at any moment. Changes are functions that run one
//! after the other on one thread; those that wait share a transaction and its sync to disk.

mod edit;
mod tables;
mod writer;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadTransaction, ReadableDatabase};

pub(crate) use edit::{NewRecord, Removal, on_disk};
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
    path: PathBuf,
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
        let writer = Writer::start(Arc::clone(&database));
        let index = Self { writer, database, path: path.to_owned() };
        // Makes all tables: a reader needs not think about absent ones.
        index.change(|_| Ok(()))?;
        Ok(index)
    }

    /// Runs `work` in a transaction; it is on disk when this returns.
    ///
    /// # Errors
    /// [`IndexError`]; nothing was changed then.
    pub(crate) fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        self.writer.change(work)
    }

    /// What the index holds now; changes made meanwhile are not seen.
    pub(crate) fn read(&self) -> Result<ReadTransaction, IndexError> {
        Ok(self.database.begin_read()?)
    }

    /// Bytes that the database takes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.blocks() * 512)
    }
}
