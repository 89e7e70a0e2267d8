//! The facts of the index once more, as files that are only appended to: what a lost or damaged index is
//! made of again.
//!
//! ```text
//! DIR/journal/<sequence>.snapshot   all facts after that change
//! DIR/journal/<sequence>.log        changes from that one on
//! ```
//!
//! Both are entries: the length of the rows (u32), the number of the change (u64), the first eight bytes of
//! the SHA-256 of number and rows, and the rows as a [`Recorder`](super::recorded::Recorder) notes them; all
//! numbers little-endian. A snapshot ends with an entry without rows. An entry is synced before its
//! change is committed, so the journal is at most one change ahead, and never behind.

mod files;
mod snapshot;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::ReadTransaction;

use super::IndexError;
pub(super) use files::Replayed;
use files::{Files, frame, scan};
use snapshot::Compaction;

/// Logs have about this size: the last one is read at every start.
const LOG_BYTES: u64 = 16 << 20;
/// Logs of fewer bytes are not worth a snapshot.
const MIN_COMPACTION_BYTES: u64 = 1 << 20;

/// Why the journal cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("failed to {operation} {path}")]
    File {
        operation: &'static str,
        path: String,
        #[source]
        cause: Arc<io::Error>,
    },
    /// Bytes that were never written so.
    #[error("the journal {0} is damaged")]
    Damaged(String),
}

fn at<'a>(operation: &'static str, path: &'a Path) -> impl Fn(io::Error) -> JournalError + 'a {
    move |cause| JournalError::File { operation, path: path.display().to_string(), cause: Arc::new(cause) }
}

/// Bytes in the files.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    snapshot: AtomicU64,
    logs: AtomicU64,
}

impl Sizes {
    pub(super) fn total(&self) -> u64 {
        self.snapshot.load(Ordering::Relaxed) + self.logs.load(Ordering::Relaxed)
    }
}

/// The journal of a data directory, open for more.
#[derive(Debug)]
pub(super) struct Journal {
    files: Files,
    log: File,
    log_path: PathBuf,
    log_bytes: u64,
    /// Number of the last change.
    last: u64,
    /// Where the last entry begins.
    last_start: u64,
    sizes: Arc<Sizes>,
    compaction: Option<Compaction>,
    /// Logs that would not become a snapshot were so large.
    failed_at: u64,
    /// It could not be brought back to what it was, so nothing may follow.
    broken: bool,
}

impl Journal {
    /// Whether there is any in `directory`.
    pub(super) fn exists(directory: &Path) -> Result<bool, JournalError> {
        Ok(!Files::new(directory, directory).is_empty()?)
    }

    /// Opens the journal below `directory`; what a kill left of an entry is cut off. `None` when there is none.
    pub(super) fn open(directory: &Path, temporary: &Path) -> Result<Option<Self>, JournalError> {
        let files = Files::new(directory, temporary);
        let (snapshot, logs) = files.list()?;
        let Some(&first) = logs.last() else { return Ok(None) };
        let path = files.log(first);
        let log = File::options().read(true).write(true).open(&path).map_err(at("open", &path))?;
        let end = scan(&log, &path, first)?;
        log.set_len(end.bytes).map_err(at("cut off", &path))?;
        let sizes = Arc::new(Sizes::default());
        let older = &logs[..logs.len() - 1];
        sizes.logs.store(files.log_bytes(older)? + end.bytes, Ordering::Relaxed);
        sizes.snapshot.store(snapshot.map_or(Ok(0), |sequence| files.snapshot_bytes(sequence))?, Ordering::Relaxed);
        Ok(Some(Self::with_log(files, (log, path, end.bytes), end.last, sizes)))
    }

    /// Begins a journal with a snapshot of what `read` sees, which is how it is after change `sequence`, in
    /// place of whatever is there.
    pub(super) fn begin(
        directory: &Path,
        temporary: &Path,
        sequence: u64,
        read: &ReadTransaction,
    ) -> Result<Self, IndexError> {
        let files = Files::new(directory, temporary);
        files.clear()?;
        let bytes = snapshot::write(&files, sequence, read)?;
        let (log, log_path) = files.create_log(sequence + 1)?;
        let sizes = Arc::new(Sizes::default());
        sizes.snapshot.store(bytes, Ordering::Relaxed);
        Ok(Self::with_log(files, (log, log_path, 0), sequence, sizes))
    }

    /// Goes on in a log of so many bytes, behind change `last`.
    fn with_log(files: Files, (log, log_path, log_bytes): (File, PathBuf, u64), last: u64, sizes: Arc<Sizes>) -> Self {
        Self {
            files,
            log,
            log_path,
            log_bytes,
            last,
            last_start: log_bytes,
            sizes,
            compaction: None,
            failed_at: 0,
            broken: false,
        }
    }

    /// Number of the last change.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn sizes(&self) -> Arc<Sizes> {
        Arc::clone(&self.sizes)
    }

    /// Hands out all changes after `after`; see [`Files::replay`].
    pub(super) fn replay(
        &self,
        after: u64,
        take: &mut dyn FnMut(Replayed<'_>) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        self.files.replay(after, take)
    }

    /// Adds the change after the last one; it is on disk when this returns.
    pub(super) fn append(&mut self, rows: &[u8]) -> Result<(), IndexError> {
        if self.broken {
            return Err(IndexError::Stopped);
        }
        if self.log_bytes >= LOG_BYTES {
            self.rotate()?;
        }
        let entry = frame(self.last + 1, rows)?;
        let start = self.log_bytes;
        let written = self.log.write_all_at(&entry, start).and_then(|()| self.log.sync_data());
        if let Err(cause) = written {
            self.cut_off(start);
            return Err(at("write", &self.log_path)(cause).into());
        }
        self.last += 1;
        self.last_start = start;
        self.log_bytes += entry.len() as u64;
        self.sizes.logs.fetch_add(entry.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Takes back the last change, which the index did not take.
    pub(super) fn retract(&mut self) {
        let removed = self.log_bytes - self.last_start;
        self.cut_off(self.last_start);
        self.log_bytes = self.last_start;
        self.last -= 1;
        self.sizes.logs.fetch_sub(removed, Ordering::Relaxed);
    }

    fn cut_off(&mut self, bytes: u64) {
        let cut = self.log.set_len(bytes).and_then(|()| self.log.sync_all());
        self.broken |= cut.is_err();
    }

    fn rotate(&mut self) -> Result<(), JournalError> {
        (self.log, self.log_path) = self.files.create_log(self.last + 1)?;
        (self.log_bytes, self.last_start) = (0, 0);
        Ok(())
    }

    /// Whether the logs say so much more than the facts that it is time for a snapshot.
    pub(super) fn wants_snapshot(&mut self) -> bool {
        if self.compaction.as_ref().is_some_and(|compaction| !compaction.is_finished()) {
            return false;
        }
        let logs = self.sizes.logs.load(Ordering::Relaxed);
        if let Some(compaction) = self.compaction.take() {
            // Room may come; until the logs have doubled the old ones do.
            self.failed_at = if compaction.finish() { 0 } else { logs };
        }
        let snapshot = self.sizes.snapshot.load(Ordering::Relaxed);
        logs > self.failed_at + snapshot.max(MIN_COMPACTION_BYTES)
    }

    /// Begins to write a snapshot of what `read` sees, which is how it is after the last change, and to remove
    /// what that replaces.
    pub(super) fn begin_snapshot(&mut self, read: ReadTransaction) -> Result<(), JournalError> {
        if self.log_bytes > 0 {
            self.rotate()?;
        }
        self.compaction = Some(Compaction::start(self.files.clone(), self.last, read, self.sizes()));
        Ok(())
    }
}
