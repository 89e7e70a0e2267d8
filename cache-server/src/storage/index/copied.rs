//! The file of a replica's copy, and what fills it.

use std::fs;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, StorageBackend};

use super::journal::JournalError;
use super::recorded::{Recorder, Rows, last_of_each};
use super::{IndexError, Tables};
use crate::storage::bucket::Replayed;

/// So many bytes of changes are put into order before they are made.
const PENDING_BYTES: usize = 16 << 20;

/// Where a copy is.
#[derive(Debug)]
pub(in crate::storage) struct CopyFile {
    path: PathBuf,
    survives: bool,
}

/// A file that needs not survive a crash: the journal is the truth.
#[derive(Debug)]
struct Scratch(FileBackend);

impl StorageBackend for Scratch {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

impl CopyFile {
    /// One that ends with this process.
    pub(in crate::storage) fn scratch(path: PathBuf) -> Self {
        Self { path, survives: false }
    }

    /// One that the next process goes on from; it may be there already.
    pub(in crate::storage) fn kept(path: PathBuf) -> Self {
        Self { path, survives: true }
    }

    pub(super) fn survives(&self) -> bool {
        self.survives
    }

    /// The database with all its tables; made if absent.
    pub(super) fn open(&self, cache_bytes: usize) -> Result<Database, IndexError> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&self.path);
        let backend = FileBackend::new(file.map_err(at("open", &self.path))?)?;
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        let database = match self.survives {
            true => builder.create_with_backend(backend)?,
            false => builder.create_with_backend(Scratch(backend))?,
        };
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(self.survives);
        Tables::open(&transaction, &Recorder::default()).map(drop)?;
        transaction.commit()?;
        Ok(database)
    }

    /// The same in place of what is there.
    pub(super) fn begin_anew(&self, cache_bytes: usize) -> Result<Database, IndexError> {
        fs::remove_file(&self.path).map_err(at("remove", &self.path))?;
        self.open(cache_bytes)
    }
}

fn at<'a>(operation: &'static str, path: &'a Path) -> impl Fn(io::Error) -> JournalError + 'a {
    move |cause| JournalError::File { operation, path: path.display().to_string(), cause: Arc::new(cause) }
}

/// Tables on their way to what a journal says. Changes wait until there are many: then each row is written once, and
/// pages in the order of their keys.
pub(super) struct Pending<'t> {
    tables: Tables<'t>,
    changes: Vec<u8>,
}

impl<'t> Pending<'t> {
    pub(super) fn new(tables: Tables<'t>) -> Self {
        Self { tables, changes: Vec::new() }
    }

    pub(super) fn take(&mut self, part: Replayed<'_>) -> Result<(), IndexError> {
        match part {
            Replayed::Clear => {
                self.changes.clear();
                self.tables.clear()
            }
            Replayed::Checkpoint(rows) => self.tables.append(Rows(rows)),
            Replayed::Changes(rows) => {
                self.changes.extend_from_slice(rows);
                if self.changes.len() < PENDING_BYTES { Ok(()) } else { self.make_changes() }
            }
        }
    }

    pub(super) fn finish(mut self) -> Result<(), IndexError> {
        self.make_changes()
    }

    fn make_changes(&mut self) -> Result<(), IndexError> {
        let changes = std::mem::take(&mut self.changes);
        last_of_each(Rows(&changes))?.iter().try_for_each(|row| self.tables.apply(row))
    }
}
