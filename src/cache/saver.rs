use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::{CacheError, LayerCache, Record, chain};
use crate::digest::{DiffId, Digest};
use crate::image::Descriptor;
use crate::report::{Event, Observer};

/// Jobs that may wait; their bytes are on disk, so one is small.
const QUEUE: usize = 256;

/// Saves into a slow cache while the build goes on.
pub struct BackgroundSaver {
    queue: Mutex<Option<SyncSender<Job>>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    outcome: Arc<Mutex<Outcome>>,
    observer: Arc<dyn Observer>,
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
    /// Starts `workers` threads (at least one) that save into `cache`.
    pub fn new(cache: Arc<dyn LayerCache>, workers: usize, observer: Arc<dyn Observer>) -> Self {
        let (queue, jobs) = sync_channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let outcome = Arc::<Mutex<Outcome>>::default();
        let start = |_| {
            let (cache, jobs, outcome) = (Arc::clone(&cache), Arc::clone(&jobs), Arc::clone(&outcome));
            std::thread::spawn(move || work(&*cache, &jobs, &outcome))
        };
        let workers = (0..workers.max(1)).map(start).collect();
        Self { queue: Mutex::new(Some(queue)), workers: Mutex::new(workers), outcome, observer }
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
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Fails only when every worker has panicked, which `finish` reports.
        let _ = queue.map(|queue| queue.send(job));
    }

    /// Waits until all is saved; takes nothing more from then on. What failed is one warning; the
    /// number of failures is returned. A second call finds nothing to do.
    pub fn finish(&self) -> usize {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
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
            // A hit of another cache, whose layers were never needed here.
            Err(CacheError::NotStored(digest)) => outcome.unneeded.push(digest),
            Err(error) => outcome.failures.push(error),
        }
    }
}
