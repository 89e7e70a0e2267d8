use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use redb::{Database, ReadableDatabase};

use super::journal::Journal;
use super::recorded::Recorder;
use super::replica::Copy;
use super::tables::FACTS;
use super::{IndexError, SEQUENCE, Tables};
use crate::storage::bucket::Checkpoint;

/// Changes that share a transaction at most.
const BATCH: usize = 512;

/// Says how a transaction ended.
pub(super) type Reply = Box<dyn FnOnce(Result<(), IndexError>) + Send>;
pub(super) type Job = Box<dyn FnMut(&mut Tables<'_>) -> Result<Reply, IndexError> + Send>;

/// What the thread is asked to do.
enum Request {
    Change(Job),
    CatchUp(CatchUp, Reply),
    WantsCheckpoint(std::sync::mpsc::SyncSender<bool>),
}

/// What has to do with the journal, and is no change.
pub(super) enum CatchUp {
    /// Learns what others did.
    Read,
    /// Puts a checkpoint into its place.
    Adopt(Checkpoint),
}

/// What changes go to besides the database.
pub(super) enum Keeper {
    /// A journal beside it.
    Local(Journal),
    /// The journal that the database is a copy of.
    Replica(Copy),
}

impl Keeper {
    fn copy(&mut self) -> Option<&mut Copy> {
        match self {
            Self::Local(_) => None,
            Self::Replica(copy) => Some(copy),
        }
    }
}

/// The one thread that changes the index.
#[derive(Debug)]
pub(super) struct Writer {
    requests: Mutex<Option<Sender<Request>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(database: Arc<Database>, keeper: Keeper) -> Self {
        let (requests, queue) = channel();
        let thread = std::thread::spawn(move || work_off(&database, keeper, &queue));
        Self { requests: Mutex::new(Some(requests)), thread: Some(thread) }
    }

    pub(super) fn change<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&mut Tables<'_>) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let (sender, receiver) = sync_channel(1);
        let job: Job = Box::new(move |tables| match work(tables) {
            Ok(value) => {
                let sender = sender.clone();
                Ok(Box::new(move |committed: Result<(), IndexError>| {
                    // Nobody waits for it any more: as good as told.
                    let _ = sender.send(committed.map(|()| value));
                }))
            }
            Err(error) => {
                let _ = sender.send(Err(error.clone()));
                Err(error)
            }
        });
        self.send(Request::Change(job))?;
        receiver.recv().map_err(|_| IndexError::Stopped)?
    }

    pub(super) fn catch_up(&self, wish: CatchUp) -> Result<(), IndexError> {
        let (sender, receiver) = sync_channel(1);
        let reply: Reply = Box::new(move |result| drop(sender.send(result)));
        self.send(Request::CatchUp(wish, reply))?;
        receiver.recv().map_err(|_| IndexError::Stopped)?
    }

    pub(super) fn wants_checkpoint(&self) -> Result<bool, IndexError> {
        let (sender, receiver) = sync_channel(1);
        self.send(Request::WantsCheckpoint(sender))?;
        receiver.recv().map_err(|_| IndexError::Stopped)
    }

    fn send(&self, request: Request) -> Result<(), IndexError> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        requests.ok_or(IndexError::Stopped)?.send(request).map_err(|_| IndexError::Stopped)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic was reported to whoever waited for the change.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn work_off(database: &Database, mut keeper: Keeper, queue: &Receiver<Request>) {
    while let Ok(first) = queue.recv() {
        let (mut jobs, mut readers) = (Vec::new(), Vec::new());
        for request in std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)) {
            match request {
                Request::Change(job) => jobs.push(job),
                Request::CatchUp(CatchUp::Read, reply) => readers.push(reply),
                Request::CatchUp(wish, reply) => reply(guarded(|| serve(keeper.copy(), wish))),
                // Nobody waits for it any more: as good as told.
                Request::WantsCheckpoint(sender) => {
                    let _ = sender.send(keeper.copy().is_some_and(|copy| copy.wants_checkpoint()));
                }
            }
        }
        if !readers.is_empty() {
            let result = guarded(|| serve(keeper.copy(), CatchUp::Read));
            readers.into_iter().for_each(|reply| reply(result.clone()));
        }
        if !jobs.is_empty() {
            let mut replies = Vec::with_capacity(jobs.len());
            let result = guarded(|| match &mut keeper {
                Keeper::Replica(copy) => copy.commit(&mut jobs, &mut replies),
                Keeper::Local(journal) => commit(database, journal, &mut jobs, &mut replies),
            });
            replies.into_iter().for_each(|reply| reply(result.clone()));
            if let Keeper::Local(journal) = &mut keeper {
                // Without one the journal is longer, and nothing else.
                let _ = guarded(|| shorten(database, journal));
            }
        }
    }
}

/// A change that panics must not take the others' thread with it.
fn guarded(work: impl FnOnce() -> Result<(), IndexError>) -> Result<(), IndexError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(IndexError::Stopped))
}

fn serve(copy: Option<&mut Copy>, wish: CatchUp) -> Result<(), IndexError> {
    copy.map_or(Ok(()), |copy| copy.serve(wish))
}

/// All or nothing: a change that fails in the middle takes those beside it along.
fn commit(
    database: &Database,
    journal: &mut Journal,
    jobs: &mut [Job],
    replies: &mut Vec<Reply>,
) -> Result<(), IndexError> {
    let mut transaction = database.begin_write()?;
    // Opening after a kill is then instant, however large the database is.
    transaction.set_quick_repair(true);
    let recorder = Recorder::only(FACTS);
    let mut tables = Tables::open(&transaction, &recorder)?;
    for job in jobs {
        replies.push(job(&mut tables)?);
    }
    let rows = recorder.take();
    if rows.is_empty() {
        drop(tables);
        return Ok(transaction.commit()?);
    }
    tables.totals.insert(SEQUENCE, journal.last() + 1)?;
    drop(tables);
    journal.append(&rows)?;
    transaction.commit().inspect_err(|_| journal.retract())?;
    Ok(())
}

fn shorten(database: &Database, journal: &mut Journal) -> Result<(), IndexError> {
    if journal.wants_snapshot() {
        journal.begin_snapshot(database.begin_read()?)?;
    }
    Ok(())
}
