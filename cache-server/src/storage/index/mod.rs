//! What the store holds, as tables of one redb database: the truth about names, while the bytes
//! of blobs are files.
//!
//! redb commits are atomic and survive a kill at any moment. Changes are functions that run one
//! after the other on one thread; those that wait share a transaction and its sync to disk.

mod copied;
mod edit;
mod journal;
mod local;
mod recorded;
mod redo;
mod replica;
mod tables;
mod writer;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, ReadTransaction, ReadableDatabase};

use super::bucket::BucketError;
pub(super) use copied::CopyFile;
pub(crate) use edit::{NewRecord, Removal, on_disk};
pub(crate) use journal::JournalError;
use journal::Sizes;
pub(super) use local::{Local, Opened};
use replica::Replica;
pub(crate) use tables::Tables;
pub(super) use tables::*;
use writer::Writer;

/// redb's default is a gigabyte. Pages beyond it are read from the system's cache.
const CACHE_BYTES: usize = 12 << 20;
/// Name of the number of the last change in `TOTALS`.
const SEQUENCE: &str = "sequence";

/// The open index of a data directory.
#[derive(Debug)]
pub(crate) struct Index {
    // Before the database: its thread ends first.
    writer: Writer,
    database: Arc<Database>,
    size: Size,
    replica: Option<Replica>,
    local: Option<Local>,
}

/// How many bytes it takes.
#[derive(Debug)]
enum Size {
    /// Of a file, and of the journal beside it.
    Local(PathBuf, Arc<Sizes>),
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
    /// The journal beside the index failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
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
    /// The bytes of the file make no index, or one of a program that is not this one.
    pub(super) fn is_damage(&self) -> bool {
        use redb::Error::{
            Corrupted, Io, RepairAborted, TableIsMultimap, TableTypeMismatch, TypeDefinitionChanged, UpgradeRequired,
        };
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        match self {
            Self::Damaged(_) => true,
            Self::Database(error) => match &**error {
                Corrupted(_) | RepairAborted | UpgradeRequired(_) => true,
                TableTypeMismatch { .. } | TableIsMultimap(_) | TypeDefinitionChanged { .. } => true,
                Io(error) => matches!(error.kind(), InvalidData | UnexpectedEof),
                _ => false,
            },
            _ => false,
        }
    }

    /// No space or no quota left.
    pub(super) fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let kind = match self {
            Self::Database(error) => match &**error {
                redb::Error::Io(error) => error.kind(),
                _ => return false,
            },
            Self::Journal(JournalError::File { cause, .. }) => cause.kind(),
            _ => return false,
        };
        matches!(kind, StorageFull | QuotaExceeded)
    }
}

impl Index {
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
            Size::Local(path, journal) => {
                fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512) + on_disk(journal.total())
            }
            Size::Journal(bytes) => bytes.load(Ordering::Relaxed),
        }
    }
}
