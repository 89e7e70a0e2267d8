//! The index as a copy of what the journal of an object store says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};
use uuid::Uuid;

use super::copied::{CopyFile, Pending};
use super::recorded::Recorder;
use super::writer::{CatchUp, Job, Keeper, Reply, Writer};
use super::{CACHE_BYTES, Index, IndexError, SEQUENCE, Size, TOTALS, Tables, dump_all};
use crate::storage::bucket::{Appended, Bucket, BucketError, Journal, pause, short};

/// What is read is never older than this: the journal is looked at more often.
const RECENT: Duration = Duration::from_secs(3);
/// How often a change is made again after others were faster, and a checkpoint that is gone is
/// looked for again.
const ATTEMPTS: usize = 1000;
const READ_ATTEMPTS: usize = 5;
/// While a copy is made nobody reads it, and all of its pages are written.
const FILLING_BYTES: usize = 32 << 20;
/// Name, in `TOTALS`, of what the author of the last change knew it by.
const CHANGE: &str = "change";

/// How up to date the copy is.
#[derive(Debug, Clone)]
pub(super) struct Replica {
    checked: Arc<Mutex<Instant>>,
    news: Arc<AtomicU64>,
}

impl Index {
    /// Makes `file` a copy of what `journal` says, going on from what it holds if that can be, and keeps it up to date.
    pub(in crate::storage) fn replica(file: &CopyFile, mut journal: Journal) -> Result<Self, IndexError> {
        let mut database = file.open(FILLING_BYTES)?;
        let (position, change) = moment(&database.begin_read()?)?;
        if position > 0 && !journal.resume(position, change)? {
            drop(database);
            database = file.begin_anew(FILLING_BYTES)?;
        }
        let replica = Replica { checked: Arc::new(Mutex::new(Instant::now())), news: Arc::default() };
        let size = Size::Journal(journal.bytes());
        let copy = |database: Database, journal| {
            let (database, replica) = (Arc::new(database), replica.clone());
            Copy { database, journal, replica, survives: file.survives() }
        };
        let mut filling = copy(database, journal);
        filling.take_over()?;
        let Copy { database, journal, .. } = filling;
        // It can be open once only.
        drop(database);
        let copy = copy(file.open(CACHE_BYTES)?, journal);
        let database = Arc::clone(&copy.database);
        let writer = Writer::start(Arc::clone(&database), Keeper::Replica(copy));
        Ok(Self { writer, database, size, replica: Some(replica), local: None })
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
        let (sequence, change) = moment(&read)?;
        let mut writer = bucket.checkpoint_writer(sequence, change);
        dump_all(&read, &mut |piece| Ok(writer.write(piece)?))?;
        self.writer.catch_up(CatchUp::Adopt(writer.finish()))
    }
}

/// The last change that a copy has: its number, and by what its author knew it.
fn moment(read: &ReadTransaction) -> Result<(u64, Option<u64>), IndexError> {
    let totals = read.open_table(TOTALS)?;
    let row = |name| Ok::<_, IndexError>(totals.get(name)?.map(|row| row.value()));
    Ok((row(SEQUENCE)?.unwrap_or(0), row(CHANGE)?))
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
    /// Whether another process goes on from it.
    survives: bool,
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

    fn begin(&self) -> Result<WriteTransaction, IndexError> {
        let mut transaction = self.database.begin_write()?;
        // Opening after a kill is then instant, however large the database is.
        transaction.set_quick_repair(self.survives);
        Ok(transaction)
    }

    fn replay(&self) -> Result<u64, IndexError> {
        let transaction = self.begin()?;
        let mut pending = Pending::new(Tables::open(&transaction, &Recorder::default())?);
        let position = self.journal.replay(&mut |part| pending.take(part))?;
        pending.finish()?;
        transaction.commit()?;
        Ok(position)
    }

    /// Makes changes on top of all others, in the copy and in the journal; or none of them.
    pub(super) fn commit(&mut self, jobs: &mut [Job], replies: &mut Vec<Reply>) -> Result<(), IndexError> {
        for attempt in 0..ATTEMPTS {
            replies.clear();
            let transaction = self.begin()?;
            let recorder = Recorder::new();
            let mut tables = Tables::open(&transaction, &recorder)?;
            for job in jobs.iter_mut() {
                replies.push(job(&mut tables)?);
            }
            let (position, id) = (self.journal.position() + 1, Uuid::new_v4());
            let rows = recorder.take();
            if rows.is_empty() {
                // Nothing to do: true only if that was decided on the latest state.
                drop(tables);
                transaction.abort()?;
                if self.catch_up()? { continue } else { return Ok(()) }
            }
            tables.totals.insert(SEQUENCE, position)?;
            tables.totals.insert(CHANGE, short(id))?;
            drop(tables);
            let rows = [rows, recorder.take()].concat();
            if self.journal.append(id, rows)? == Appended::Done {
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
