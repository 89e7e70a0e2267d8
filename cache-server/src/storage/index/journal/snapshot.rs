//! All facts at one moment, in place of the changes that led to them.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use redb::ReadTransaction;

use super::files::{Files, frame};
use super::{Sizes, at};
use crate::storage::index::{IndexError, dump_facts};

/// Writes a snapshot of what `read` sees as that after change `sequence`; returns its bytes.
pub(super) fn write(files: &Files, sequence: u64, read: &ReadTransaction) -> Result<u64, IndexError> {
    let temporary = files.temporary();
    let mut file = tempfile::NamedTempFile::new_in(temporary).map_err(at("create a file in", temporary))?;
    let mut bytes = 0;
    let mut put = |rows: &[u8]| {
        let entry = frame(sequence, rows)?;
        bytes += entry.len() as u64;
        Ok::<_, IndexError>(file.write_all(&entry).map_err(at("write", temporary))?)
    };
    dump_facts(read, &mut |piece| put(&piece))?;
    put(&[])?;
    file.as_file().sync_all().map_err(at("sync", temporary))?;
    let path = files.snapshot(sequence);
    file.persist(&path).map_err(|error| at("rename a file to", &path)(error.error))?;
    files.sync()?;
    Ok(bytes)
}

/// A snapshot in the making, beside changes.
#[derive(Debug)]
pub(super) struct Compaction(Option<JoinHandle<bool>>);

impl Compaction {
    pub(super) fn start(files: Files, sequence: u64, read: ReadTransaction, sizes: Arc<Sizes>) -> Self {
        Self(Some(std::thread::spawn(move || compact(&files, sequence, &read, &sizes).is_ok())))
    }

    pub(super) fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end; false when it failed.
    pub(super) fn finish(mut self) -> bool {
        self.0.take().is_some_and(|thread| thread.join().unwrap_or(false))
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        // Whether it worked counts for those only who go on.
        let _ = self.0.take().map(JoinHandle::join);
    }
}

fn compact(files: &Files, sequence: u64, read: &ReadTransaction, sizes: &Sizes) -> Result<(), IndexError> {
    let bytes = write(files, sequence, read)?;
    let removed = files.remove_before(sequence)?;
    sizes.snapshot.store(bytes, Ordering::Relaxed);
    sizes.logs.fetch_sub(removed, Ordering::Relaxed);
    Ok(())
}
