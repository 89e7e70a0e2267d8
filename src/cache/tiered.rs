use std::collections::BTreeSet;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::registry::read_toc;
use super::{BackgroundSaver, CacheError, Hit, LayerCache, LocalCache, Record, RecordLayer, Trust};
use crate::causes::chain;
use crate::digest::{ContentHash, DiffId, Digest};
use crate::image::{Descriptor, media_type};
use crate::key::CacheKey;
use crate::report::{Event, Observer};

/// Threads that save into each remote cache, where it is near.
const SAVERS: usize = 2;

/// The local cache, then remote ones, which are asked at the same time: one that is slow delays nothing
/// that a preferred one has. What is saved into a remote cache never waits for another.
pub struct TieredCache {
    local: LocalCache,
    remotes: Vec<Remote>,
    observer: Arc<dyn Observer>,
    asked: Asked,
    trust: Arc<Trust>,
    promised: Mutex<Promised>,
}

/// The blobs that hits have named.
#[derive(Default)]
struct Promised {
    all: BTreeSet<Digest>,
    /// Those that could not be had, or were not what they should be.
    broken: BTreeSet<Digest>,
}

/// How often remote caches were waited for.
#[derive(Default)]
struct Asked {
    rounds: AtomicUsize,
    keys: AtomicUsize,
    found: AtomicUsize,
}

struct Remote {
    cache: Arc<dyn LayerCache>,
    /// None: it is only read.
    saver: Option<BackgroundSaver>,
}

impl TieredCache {
    /// Over the local cache alone.
    pub fn new(local: LocalCache, observer: Arc<dyn Observer>) -> Self {
        Self {
            local,
            remotes: Vec::new(),
            observer,
            asked: Asked::default(),
            trust: Arc::default(),
            promised: Mutex::default(),
        }
    }

    /// Signs what is saved as `trust` says. Who judges what is found are the caches themselves.
    #[must_use]
    pub fn with_trust(self, trust: Arc<Trust>) -> Self {
        Self { trust, ..self }
    }

    /// Adds a remote cache, asked after those before it. It is read only, or saved into in the
    /// background: see [`TieredCache::finish`].
    #[must_use]
    pub fn with_remote(mut self, cache: Arc<dyn LayerCache>, is_writable: bool) -> Self {
        let saver = || BackgroundSaver::new(Arc::clone(&cache), SAVERS, Arc::clone(&self.observer));
        let saver = is_writable.then(saver);
        self.remotes.push(Remote { cache, saver });
        self
    }

    /// As [`LayerCache::look_up`], in the local cache alone.
    pub fn look_up_local(&self, keys: &[CacheKey]) -> Vec<Option<Hit>> {
        self.promise(self.local.look_up(keys))
    }

    /// Takes note that a blob which a hit named cannot be had, or is not what it should be: records that
    /// name it are misses from now on, and may be saved again. False for a blob of which that is known,
    /// and for one that no hit has named.
    pub fn give_up(&self, blob: &Digest) -> bool {
        let mut promised = self.promised();
        let is_new = promised.all.contains(blob) && promised.broken.insert(blob.clone());
        drop(promised);
        if is_new {
            self.local.forget(blob);
            self.remotes.iter().for_each(|remote| remote.cache.forget(blob));
        }
        is_new
    }

    fn promised(&self) -> MutexGuard<'_, Promised> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hits whose blobs are not known to be broken.
    fn promise(&self, mut hits: Vec<Option<Hit>>) -> Vec<Option<Hit>> {
        let mut promised = self.promised();
        for found in &mut hits {
            found.take_if(|hit| hit.record.blobs().any(|blob| promised.broken.contains(&blob.digest)));
            let blobs = found.iter().flat_map(|hit| hit.record.blobs());
            promised.all.extend(blobs.map(|blob| blob.digest.clone()));
        }
        hits
    }

    /// Notes that the local records under `keys` were of use though nobody looked them up: a stage
    /// was found whole.
    pub fn note_uses(&self, keys: &[CacheKey]) {
        self.local.store().note_record_uses(keys);
    }

    /// Asks all remote caches at once for what they remember of a base image under `name`. Each answers when it can.
    pub fn ask_for_documents(&self, name: &ContentHash) -> Receiver<Vec<Vec<u8>>> {
        let (sender, receiver) = channel();
        for cache in self.remotes.iter().map(|remote| Arc::clone(&remote.cache)) {
            let (sender, name) = (sender.clone(), *name);
            // Nobody listens any more when the answer came too late.
            thread::spawn(move || drop(sender.send(cache.documents(&name))));
        }
        receiver
    }

    /// Queues documents for the remote caches, as [`LayerCache::save_documents`].
    pub fn remember_documents(&self, name: &ContentHash, documents: &[Vec<u8>]) {
        let savers = self.remotes.iter().filter_map(|remote| remote.saver.as_ref());
        savers.for_each(|saver| saver.save_documents(name, documents));
    }

    /// Waits until a blob that was saved here is in the remote caches, and so can be mounted from there, or is known not
    /// to get there.
    pub fn await_blob(&self, blob: &Digest) {
        self.remotes.iter().filter_map(|remote| remote.saver.as_ref()).for_each(|saver| saver.await_blob(blob));
    }

    /// Waits until all that was saved is in the remote caches. What failed is a warning; the
    /// number of failures is returned.
    pub fn finish(&self) -> usize {
        self.report();
        self.remotes.iter().filter_map(|remote| remote.saver.as_ref()).map(BackgroundSaver::finish).sum()
    }

    /// Tells how often remote caches were waited for since it was told last.
    fn report(&self) {
        let take = |counter: &AtomicUsize| counter.swap(0, Ordering::Relaxed);
        let Asked { rounds, keys, found } = &self.asked;
        let (rounds, keys, found) = (take(rounds), take(keys), take(found));
        if keys > 0 {
            self.observer.event(Event::RemoteLookUps { rounds, keys, found });
        }
    }

    /// The table of contents of a hit's layer, compressed; kept in the local store.
    ///
    /// # Errors
    /// [`CacheError::Absent`] when no cache has it (the hit is none), else the last fault.
    pub fn fetch_toc(&self, layer: &RecordLayer) -> Result<Vec<u8>, CacheError> {
        if let Ok(Some(bytes)) = self.local.store().read_blob(&layer.toc.digest, layer.toc.size) {
            return Ok(bytes);
        }
        let reader = self.open_remote(&layer.toc)?.ok_or_else(|| CacheError::Absent(layer.toc.digest.clone()))?;
        let bytes = read_toc(reader, &layer.toc)?;
        self.keep_blob(&bytes);
        Ok(bytes)
    }

    /// The bytes of a hit's layer, compressed, from whoever has them. Reading ends with an error
    /// when they are not what the record says.
    ///
    /// # Errors
    /// [`CacheError::Absent`] when no cache has it (the hit is none), else the last fault.
    pub fn fetch_layer(&self, layer: &RecordLayer) -> Result<Box<dyn Read + Send>, CacheError> {
        self.open(&layer.blob)?.ok_or_else(|| CacheError::Absent(layer.blob.digest.clone()))
    }

    fn open_remote(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + Send>>, CacheError> {
        let mut fault = None;
        for remote in &self.remotes {
            self.asked.rounds.fetch_add(1, Ordering::Relaxed);
            match remote.cache.open(blob) {
                Ok(Some(reader)) => return Ok(Some(reader)),
                Ok(None) => {}
                Err(error) => fault = Some(error),
            }
        }
        fault.map_or(Ok(None), Err)
    }

    /// Asks all remote caches at once for the same `count` things. Of several answers the one of the
    /// cache that comes first counts, and nobody waits for those behind it.
    fn ask_all<T: Send + 'static>(
        &self,
        count: usize,
        ask: impl Fn(&dyn LayerCache) -> Vec<Option<T>> + Clone + Send + 'static,
    ) -> Vec<Option<T>> {
        if let [only] = self.remotes.as_slice() {
            return ask(only.cache.as_ref());
        }
        let (sender, receiver) = channel();
        for (rank, remote) in self.remotes.iter().enumerate() {
            let (cache, ask, sender) = (Arc::clone(&remote.cache), ask.clone(), sender.clone());
            thread::spawn(move || {
                // Nobody listens any more when the answer came too late.
                let _ = sender.send((rank, ask(cache.as_ref())));
            });
        }
        drop(sender);
        let mut answers: Vec<Option<Vec<Option<T>>>> = self.remotes.iter().map(|_| None).collect();
        for (rank, answer) in receiver {
            answers[rank] = Some(answer);
            if (0..count).all(|number| is_decided(&answers, number)) {
                break;
            }
        }
        let mut found: Vec<Option<T>> = (0..count).map(|_| None).collect();
        for answer in answers.into_iter().flatten() {
            found.iter_mut().zip(answer).for_each(|(found, one)| *found = found.take().or(one));
        }
        found
    }

    /// Keeps a copy for the next time; the build goes on without.
    fn keep_blob(&self, toc: &[u8]) -> Option<Descriptor> {
        let store = self.local.store();
        if !store.is_writable() {
            return None;
        }
        let kept = store.put_blob(media_type::TOC, toc);
        kept.inspect_err(|error| self.observer.event(Event::Warning(chain(error)))).ok()
    }

    /// True when the local store is the place for it: a read-only volume takes nothing, and a
    /// record whose layers were never fetched would be useless there.
    fn belongs_here<'a>(&self, mut blobs: impl Iterator<Item = &'a Descriptor>) -> bool {
        let store = self.local.store();
        store.is_writable() && blobs.all(|blob| store.has(blob))
    }
}

/// Whether the answers that are still out could not change what is found for `number`.
fn is_decided<T>(answers: &[Option<Vec<Option<T>>>], number: usize) -> bool {
    let in_order =
        answers.iter().map(|answer| answer.as_ref().map(|found| found.get(number).is_some_and(Option::is_some)));
    // Up to the first that found it, all must have answered.
    in_order.take_while(|has| *has != Some(true)).all(|has| has.is_some())
}

impl LayerCache for TieredCache {
    /// Of the remote caches, behind the back of the caller: whoever needs it first waits for it.
    fn prepare(&self) {
        for cache in self.remotes.iter().map(|remote| Arc::clone(&remote.cache)) {
            thread::spawn(move || cache.prepare());
        }
    }

    fn look_up(&self, keys: &[CacheKey]) -> Vec<Option<Hit>> {
        let mut hits = self.look_up_local(keys);
        let left: Vec<usize> = (0..keys.len()).filter(|number| hits[*number].is_none()).collect();
        if left.is_empty() {
            return hits;
        }
        let wanted: Vec<CacheKey> = left.iter().map(|number| keys[*number]).collect();
        self.asked.rounds.fetch_add(usize::from(!self.remotes.is_empty()), Ordering::Relaxed);
        self.asked.keys.fetch_add(wanted.len(), Ordering::Relaxed);
        let count = wanted.len();
        let found = self.ask_all(count, move |cache| cache.look_up(&wanted));
        for (number, hit) in left.iter().zip(self.promise(found)) {
            hits[*number] = hit;
        }
        let found = left.iter().filter(|number| hits[**number].is_some()).count();
        self.asked.found.fetch_add(found, Ordering::Relaxed);
        hits
    }

    /// Of the remote caches.
    fn all_records(&self, limit: usize) -> Vec<Record> {
        self.remotes.iter().flat_map(|remote| remote.cache.all_records(limit)).take(limit).collect()
    }

    /// Saves into the local store, where it belongs there, and queues it for the remote caches.
    fn save(&self, record: &Record) -> Result<(), CacheError> {
        let record = &self.trust.signed(record);
        self.remotes.iter().filter_map(|remote| remote.saver.as_ref()).for_each(|saver| saver.save(record));
        if self.belongs_here(record.blobs()) { self.local.save(record) } else { Ok(()) }
    }

    /// In the first cache that is written: one turn is enough.
    fn await_turn(&self, key: &CacheKey, patience: Duration) -> bool {
        let mut written = self.remotes.iter().filter(|remote| remote.saver.is_some());
        written.next().is_some_and(|remote| remote.cache.await_turn(key, patience))
    }

    fn end_turn(&self, key: &CacheKey) {
        self.remotes.iter().filter(|remote| remote.saver.is_some()).for_each(|remote| remote.cache.end_turn(key));
    }

    fn layer_toc(&self, layer: &DiffId) -> Option<Vec<u8>> {
        if let Some(toc) = self.local.layer_toc(layer) {
            return Some(toc);
        }
        self.asked.rounds.fetch_add(usize::from(!self.remotes.is_empty()), Ordering::Relaxed);
        let wanted = layer.clone();
        let toc = self.ask_all(1, move |cache| vec![cache.layer_toc(&wanted)]).pop().flatten()?;
        let kept = self.keep_blob(&toc).map(|descriptor| self.local.save_layer_toc(layer, &descriptor));
        if let Some(Err(error)) = kept {
            self.observer.event(Event::Warning(chain(&error)));
        }
        Some(toc)
    }

    /// As [`TieredCache::save`].
    fn save_layer_toc(&self, layer: &DiffId, toc: &Descriptor) -> Result<(), CacheError> {
        let savers = self.remotes.iter().filter_map(|remote| remote.saver.as_ref());
        savers.for_each(|saver| saver.save_layer_toc(layer, toc));
        if self.belongs_here([toc].into_iter()) { self.local.save_layer_toc(layer, toc) } else { Ok(()) }
    }

    fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + Send>>, CacheError> {
        // A blob that is damaged in size is not here.
        if self.local.store().has(blob)
            && let Some(reader) = self.local.open(blob)?
        {
            return Ok(Some(reader));
        }
        self.open_remote(blob)
    }
}
