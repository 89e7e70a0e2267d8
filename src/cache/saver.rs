use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{CacheError, LayerCache, Record};
use crate::causes::chain;
use crate::digest::{ContentHash, DiffId, Digest};
use crate::image::Descriptor;
use crate::report::{Event, Observer};

/// Jobs that may wait; their bytes are on disk, so one is small.
const QUEUE: usize = 256;

/// Saves into a slow cache while the build goes on. Threads are there only while there is something to save, and only
/// as many as have something to do.
pub struct BackgroundSaver {
    cache: Arc<dyn LayerCache>,
    workers: usize,
    running: Mutex<Option<Running>>,
    board: Arc<Board>,
    observer: Arc<dyn Observer>,
}

struct Running {
    queue: SyncSender<Job>,
    jobs: Arc<Mutex<Receiver<Job>>>,
    workers: Vec<JoinHandle<()>>,
}

enum Job {
    Record(Box<Record>),
    Toc(Box<(DiffId, Descriptor)>),
    Documents(Box<(ContentHash, Vec<Vec<u8>>)>),
}

/// What is under way, and what came of the rest.
#[derive(Default)]
struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Jobs that are not done.
    jobs: usize,
    /// Blobs that are on their way, and how many jobs have them.
    blobs: BTreeMap<Digest, usize>,
    outcome: Outcome,
}

#[derive(Default)]
struct Outcome {
    saved: usize,
    unneeded: Vec<Digest>,
    failures: Vec<CacheError>,
}

impl BackgroundSaver {
    /// Up to `workers` threads (at least one) save into `cache`, more where [`LayerCache::at_once`] says so.
    pub fn new(cache: Arc<dyn LayerCache>, workers: usize, observer: Arc<dyn Observer>) -> Self {
        Self { cache, workers: workers.max(1), running: Mutex::default(), board: Arc::default(), observer }
    }

    /// Queues a record; its blobs are in the local store. Waits while the queue is full.
    pub fn save(&self, record: &Record) {
        self.submit(Job::Record(Box::new(record.clone())));
    }

    /// Queues a table of contents of a layer that no record names.
    pub fn save_layer_toc(&self, layer: &DiffId, toc: &Descriptor) {
        self.submit(Job::Toc(Box::new((layer.clone(), toc.clone()))));
    }

    /// Queues what is to be remembered of a base image.
    pub fn save_documents(&self, name: &ContentHash, documents: &[Vec<u8>]) {
        self.submit(Job::Documents(Box::new((*name, documents.to_vec()))));
    }

    fn submit(&self, job: Job) {
        let jobs = self.board.begin(&job);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running_now = running.get_or_insert_with(Running::new);
        if running_now.workers.len() < jobs.min(self.cache.at_once(self.workers)) {
            running_now.workers.push(self.worker(&running_now.jobs));
        }
        let queue = running_now.queue.clone();
        drop(running);
        // Fails only when every worker has panicked, which `finish` reports.
        let _ = queue.send(job);
    }

    fn worker(&self, jobs: &Arc<Mutex<Receiver<Job>>>) -> JoinHandle<()> {
        let (cache, jobs, board) = (Arc::clone(&self.cache), Arc::clone(jobs), Arc::clone(&self.board));
        std::thread::spawn(move || work(&*cache, &jobs, &board))
    }

    /// Waits until a blob that a queued record names is in the cache, or will not get there by it.
    pub fn await_blob(&self, blob: &Digest) {
        let is_on_its_way = |state: &mut State| state.blobs.contains_key(blob);
        drop(self.board.changed.wait_while(self.board.lock(), is_on_its_way));
    }

    /// Waits until all that was queued is saved. What failed is one warning; the number of failures is
    /// returned.
    pub fn finish(&self) -> usize {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without their queue the workers end when it is empty.
        let workers = running.map(|Running { workers, .. }| workers).unwrap_or_default();
        let panicked = workers.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
        let outcome = std::mem::take(&mut self.board.lock().outcome);
        for digest in outcome.unneeded {
            self.observer.event(Event::Debug(format!("not saved in every cache: {digest} was found elsewhere")));
        }
        let failed = outcome.failures.len() + panicked;
        let text = match outcome.failures.first() {
            Some(first) => chain(first),
            None => "a thread that saves panicked".to_owned(),
        };
        if failed > 0 {
            let all = outcome.saved + failed;
            self.observer
                .event(Event::Warning(format!("{failed} of {all} results were not saved in the cache: {text}")));
        }
        failed
    }
}

impl Running {
    fn new() -> Self {
        let (queue, jobs) = sync_channel(QUEUE);
        Self { queue, jobs: Arc::new(Mutex::new(jobs)), workers: Vec::new() }
    }
}

impl Board {
    /// The number of jobs with this one.
    fn begin(&self, job: &Job) -> usize {
        let mut state = self.lock();
        job.blobs().for_each(|blob| *state.blobs.entry(blob.digest.clone()).or_default() += 1);
        state.jobs += 1;
        state.jobs
    }

    /// The blobs of a job are there, or will not be.
    fn settle(&self, job: &Job) {
        let mut state = self.lock();
        for Descriptor { digest, .. } in job.blobs() {
            match state.blobs.get_mut(digest) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(state.blobs.remove(digest)),
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    fn end(&self, saved: Result<(), CacheError>) {
        let mut state = self.lock();
        state.jobs = state.jobs.saturating_sub(1);
        let outcome = &mut state.outcome;
        match saved {
            Ok(()) => outcome.saved += 1,
            // Told already.
            Err(CacheError::Closed(_) | CacheError::Off(_)) => {}
            // A hit of another cache, whose layers were never needed here.
            Err(CacheError::NotStored(digest)) => outcome.unneeded.push(digest),
            Err(error) => outcome.failures.push(error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn blobs(&self) -> Box<dyn Iterator<Item = &Descriptor> + '_> {
        match self {
            Self::Record(record) => Box::new(record.blobs()),
            Self::Toc(toc) => Box::new([&toc.1].into_iter()),
            Self::Documents(_) => Box::new([].into_iter()),
        }
    }
}

/// Settles a job's blobs once: when they are there, else when it ends, however that is.
struct Settling<'a> {
    board: &'a Board,
    job: &'a Job,
    done: AtomicBool,
}

impl Settling<'_> {
    fn settle(&self) {
        if !self.done.swap(true, Ordering::Relaxed) {
            self.board.settle(self.job);
        }
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

fn work(cache: &dyn LayerCache, jobs: &Mutex<Receiver<Job>>, board: &Board) {
    loop {
        // The lock is held while waiting: exactly one worker waits, the others wait for it.
        let received = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = received else { return };
        let settling = Settling { board, job: &job, done: AtomicBool::new(false) };
        let saved = match &job {
            Job::Record(record) => cache.save_telling(record, &|| settling.settle()),
            Job::Toc(toc) => cache.save_layer_toc(&toc.0, &toc.1),
            Job::Documents(named) => cache.save_documents(&named.0, &named.1),
        };
        drop(settling);
        board.end(saved);
    }
}
