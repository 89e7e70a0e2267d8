use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use redb::Database;

use super::{IndexError, Tables};

/// Changes that share a transaction at most.
const BATCH: usize = 512;

/// Says how a transaction ended.
type Reply = Box<dyn FnOnce(Result<(), IndexError>) + Send>;
type Job = Box<dyn FnOnce(&mut Tables<'_>) -> Result<Reply, IndexError> + Send>;

/// The one thread that changes the index.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(database: Arc<Database>) -> Self {
        let (jobs, queue) = channel();
        let thread = std::thread::spawn(move || work_off(&database, &queue));
        Self { jobs: Mutex::new(Some(jobs)), thread: Some(thread) }
    }

    pub(super) fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let (sender, receiver) = sync_channel(1);
        let job: Job = Box::new(move |tables| match work(tables) {
            Ok(value) => Ok(Box::new(move |committed: Result<(), IndexError>| {
                // Nobody waits for it any more: as good as told.
                let _ = sender.send(committed.map(|()| value));
            })),
            Err(error) => {
                let _ = sender.send(Err(error.clone()));
                Err(error)
            }
        });
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        jobs.ok_or(IndexError::Stopped)?.send(job).map_err(|_| IndexError::Stopped)?;
        receiver.recv().map_err(|_| IndexError::Stopped)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic was reported to whoever waited for the change.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn work_off(database: &Database, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let batch: Vec<Job> = std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect();
        let mut replies = Vec::with_capacity(batch.len());
        // A change that panics must not take the others' thread with it.
        let result = catch_unwind(AssertUnwindSafe(|| commit(database, batch, &mut replies)));
        let result = result.unwrap_or(Err(IndexError::Stopped));
        for reply in replies {
            reply(result.clone());
        }
    }
}

/// All or nothing: a change that fails in the middle takes those beside it along.
fn commit(database: &Database, batch: Vec<Job>, replies: &mut Vec<Reply>) -> Result<(), IndexError> {
    let mut transaction = database.begin_write()?;
    // Opening after a kill is then instant, however large the database is.
    transaction.set_quick_repair(true);
    let mut tables = Tables::open(&transaction)?;
    for job in batch {
        replies.push(job(&mut tables)?);
    }
    drop(tables);
    transaction.commit()?;
    Ok(())
}
