//! The index as a copy of what the journal of an object store says.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, StorageBackend};

use super::recorded::{Recorder, Rows};
use super::writer::{CatchUp, Job, Keeper, Reply, Writer};
use super::{CACHE_BYTES, Index, IndexError, SEQUENCE, Size, TOTALS, Tables, dump_all};
use crate::storage::bucket::{Appended, Bucket, BucketError, Journal, pause};

/// What is read is never older than this: the journal is looked at more often.
const RECENT: Duration = Duration::from_secs(3);
/// How often a change is made again after others were faster, and a checkpoint that is gone is
/// looked for again.
const ATTEMPTS: usize = 1000;
const READ_ATTEMPTS: usize = 5;

/// How up to date the copy is.
#[derive(Debug, Clone)]
pub(super) struct Replica {
    checked: Arc<Mutex<Instant>>,
    news: Arc<AtomicU64>,
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

impl Index {
    /// Makes a copy of what `journal` says in `file`, which is empty, and keeps it up to date.
    pub(in crate::storage) fn replica(file: File, journal: Journal) -> Result<Self, IndexError> {
        let backend = Scratch(FileBackend::new(file)?);
        let database = Arc::new(Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?);
        let transaction = database.begin_write()?;
        Tables::open(&transaction, &Recorder::default()).map(drop)?;
        transaction.commit()?;
        let replica = Replica { checked: Arc::new(Mutex::new(Instant::now())), news: Arc::default() };
        let size = Size::Journal(journal.bytes());
        let copy = Copy { database: Arc::clone(&database), journal, replica: replica.clone() };
        let writer = Writer::start(Arc::clone(&database), Keeper::Replica(copy));
        let index = Self { writer, database, size, replica: Some(replica), local: None };
        index.catch_up()?;
        Ok(index)
    }

    /// Learns all that other replicas have done until now; true when there was anything. An index
    /// that is no copy always knows everything.
    pub(crate) fn catch_up(&self) -> Result<bool, IndexError> {
        let Some(replica) = &self.replica else { return Ok(false) };
        let before = replica.news.load(Ordering::Acquire);
        self.writer.catch_up(CatchUp::Read)?;
        Ok(replica.news.load(Ordering::Acquire) != before)
    }

    /// Grows with everything that comes from other replicas.
    pub(crate) fn news(&self) -> Arc<AtomicU64> {
        self.replica.as_ref().map(|replica| Arc::clone(&replica.news)).unwrap_or_default()
    }

    /// Writes a checkpoint of the copy into the bucket, if it is time.
    pub(crate) fn checkpoint(&self, bucket: &Bucket) -> Result<(), IndexError> {
        if !self.writer.wants_checkpoint()? {
            return Ok(());
        }
        let read = self.database.begin_read()?;
        let sequence = read.open_table(TOTALS)?.get(SEQUENCE)?.map_or(0, |row| row.value());
        let mut writer = bucket.checkpoint_writer(sequence);
        dump_all(&read, &mut |piece| Ok(writer.write(piece)?))?;
        self.writer.catch_up(CatchUp::Adopt(writer.finish()))
    }
}

impl Replica {
    /// Catches up if that was not done for a while.
    pub(super) fn be_recent(&self, writer: &Writer) -> Result<(), IndexError> {
        let checked = *self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.elapsed() < RECENT { Ok(()) } else { writer.catch_up(CatchUp::Read) }
    }

    fn note_checked(&self, at: Instant) {
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn note_news(&self) {
        self.news.fetch_add(1, Ordering::AcqRel);
    }
}

/// The copy and the journal, on the thread that changes both.
pub(super) struct Copy {
    database: Arc<Database>,
    journal: Journal,
    replica: Replica,
}

impl Copy {
    pub(super) fn wants_checkpoint(&self) -> bool {
        self.journal.wants_checkpoint()
    }

    pub(super) fn serve(&mut self, wish: CatchUp) -> Result<(), IndexError> {
        match wish {
            CatchUp::Read => self.catch_up().map(drop),
            CatchUp::Adopt(checkpoint) => Ok(self.journal.adopt(checkpoint)?),
        }
    }

    /// Reads the journal and does what it says; false when there was nothing new.
    pub(super) fn catch_up(&mut self) -> Result<bool, IndexError> {
        let now = Instant::now();
        let refreshed = self.journal.refresh();
        if refreshed.is_err() {
            // What is in memory can no longer be vouched for.
            self.replica.note_news();
        }
        refreshed?;
        let news = self.take_over()?;
        self.replica.note_checked(now);
        Ok(news)
    }

    fn take_over(&mut self) -> Result<bool, IndexError> {
        if !self.journal.has_news() {
            return Ok(false);
        }
        for attempt in 0..READ_ATTEMPTS {
            match self.replay() {
                Err(IndexError::Bucket(error)) if error.is_absence() => {
                    // A newer checkpoint took the place of what the head spoke of.
                    pause(attempt);
                    self.journal.refresh()?;
                }
                Ok(position) => {
                    self.journal.set_position(position);
                    self.replica.note_news();
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
        Err(BucketError::Contended("the journal".to_owned()).into())
    }

    fn replay(&self) -> Result<u64, IndexError> {
        let transaction = self.database.begin_write()?;
        let tables = std::cell::RefCell::new(Tables::open(&transaction, &Recorder::default())?);
        let position = self.journal.replay(&mut || tables.borrow_mut().clear(), &mut |rows| {
            Rows(rows).try_for_each(|row| tables.borrow_mut().apply(&row?))
        })?;
        drop(tables);
        transaction.commit()?;
        Ok(position)
    }

    /// Makes changes on top of all others, in the copy and in the journal; or none of them.
    pub(super) fn commit(&mut self, jobs: &mut [Job], replies: &mut Vec<Reply>) -> Result<(), IndexError> {
        for attempt in 0..ATTEMPTS {
            replies.clear();
            let transaction = self.database.begin_write()?;
            let recorder = Recorder::new();
            let mut tables = Tables::open(&transaction, &recorder)?;
            for job in jobs.iter_mut() {
                replies.push(job(&mut tables)?);
            }
            let position = self.journal.position() + 1;
            let rows = recorder.take();
            if rows.is_empty() {
                // Nothing to do: true only if that was decided on the latest state.
                drop(tables);
                transaction.abort()?;
                if self.catch_up()? { continue } else { return Ok(()) }
            }
            tables.totals.insert(SEQUENCE, position)?;
            drop(tables);
            let rows = [rows, recorder.take()].concat();
            if self.journal.append(rows)? == Appended::Done {
                transaction.commit()?;
                self.journal.set_position(position);
                return self.take_over().map(drop);
            }
            transaction.abort()?;
            pause(attempt);
            self.catch_up()?;
        }
        Err(BucketError::Contended("the journal".to_owned()).into())
    }
}
