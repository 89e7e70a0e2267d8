use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::{CacheError, LayerCache, Record};
use crate::causes::chain;
use crate::digest::{DiffId, Digest};
use crate::image::Descriptor;
use crate::report::{Event, Observer};

/// Jobs that may wait; their bytes are on disk, so one is small.
const QUEUE: usize = 256;

/// Saves into a slow cache while the build goes on. Threads are there only while there is something to save.
pub struct BackgroundSaver {
    cache: Arc<dyn LayerCache>,
    workers: usize,
    running: Mutex<Option<Running>>,
    outcome: Arc<Mutex<Outcome>>,
    observer: Arc<dyn Observer>,
}

struct Running {
    queue: SyncSender<Job>,
    workers: Vec<JoinHandle<()>>,
}

enum Job {
    Record(Box<Record>),
    Toc(Box<(DiffId, Descriptor)>),
}

#[derive(Default)]
struct Outcome {
    saved: usize,
    unneeded: Vec<Digest>,
    failures: Vec<CacheError>,
}

impl BackgroundSaver {
    /// Up to `workers` threads (at least one) save into `cache`.
    pub fn new(cache: Arc<dyn LayerCache>, workers: usize, observer: Arc<dyn Observer>) -> Self {
        Self { cache, workers: workers.max(1), running: Mutex::default(), outcome: Arc::default(), observer }
    }

    fn start(&self) -> Running {
        let (queue, jobs) = sync_channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let start = |_| {
            let (cache, jobs, outcome) = (Arc::clone(&self.cache), Arc::clone(&jobs), Arc::clone(&self.outcome));
            std::thread::spawn(move || work(&*cache, &jobs, &outcome))
        };
        Running { queue, workers: (0..self.workers).map(start).collect() }
    }

    /// Queues a record; its blobs are in the local store. Waits while the queue is full.
    pub fn save(&self, record: &Record) {
        self.submit(Job::Record(Box::new(record.clone())));
    }

    /// Queues a table of contents of a layer that no record names.
    pub fn save_layer_toc(&self, layer: &DiffId, toc: &Descriptor) {
        self.submit(Job::Toc(Box::new((layer.clone(), toc.clone()))));
    }

    fn submit(&self, job: Job) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = running.get_or_insert_with(|| self.start()).queue.clone();
        drop(running);
        // Fails only when every worker has panicked, which `finish` reports.
        let _ = queue.send(job);
    }

    /// Waits until all that was queued is saved. What failed is one warning; the number of failures is
    /// returned.
    pub fn finish(&self) -> usize {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without their queue the workers end when it is empty.
        let workers = running.map(|Running { queue: _, workers }| workers).unwrap_or_default();
        let panicked = workers.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
        let outcome = std::mem::take(&mut *self.outcome.lock().unwrap_or_else(PoisonError::into_inner));
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

fn work(cache: &dyn LayerCache, jobs: &Mutex<Receiver<Job>>, outcome: &Mutex<Outcome>) {
    loop {
        // The lock is held while waiting: exactly one worker waits, the others wait for it.
        let received = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = received else { return };
        let saved = match job {
            Job::Record(record) => cache.save(&record),
            Job::Toc(toc) => cache.save_layer_toc(&toc.0, &toc.1),
        };
        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match saved {
            Ok(()) => outcome.saved += 1,
            // Told already.
            Err(CacheError::Closed(_) | CacheError::Off(_)) => {}
            // A hit of another cache, whose layers were never needed here.
            Err(CacheError::NotStored(digest)) => outcome.unneeded.push(digest),
            Err(error) => outcome.failures.push(error),
        }
    }
}
