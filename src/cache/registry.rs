use std::collections::BTreeSet;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::gate::{Gate, advice, is_of_registry};
use super::manifest;
use super::options::RegistryCacheOptions;
use super::server::{CacheServer, Probe};
use super::uploads::Uploads;
use super::vacancy::Vacancy;
use super::{CacheError, CacheRepository, Distrust, Hit, LayerCache, Record, RepositoryListing, is_expired};
use crate::causes::chain;
use crate::digest::{ContentHash, DiffId, Digest};
use crate::image::{Descriptor, Reference};
use crate::key::CacheKey;
use crate::parallel::in_parallel;
use crate::registry::{Client, Fault, OpenUpload, Purpose, RegistryError};
use crate::report::{Event, Observer};
use crate::store::{MAX_TOC_BYTES, Store};

/// After this many faults that are the registry's (not one record's), it is not asked again: a
/// cache that is down must not cost a time-out per step.
const MAX_FAULTS: usize = 3;

/// Records that are saved side by side where the registry is far away: nearly all of that is waiting.
const FAR_SAVES: usize = 24;

/// Records in a repository of a registry: `--cache-repo`.
pub struct RegistryCache {
    pub(super) client: Client,
    pub(super) repository: Reference,
    pub(super) store: Arc<Store>,
    pub(super) options: RegistryCacheOptions,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) uploads: Uploads,
    /// Uploads that were opened for nothing.
    in_vain: Mutex<Vec<OpenUpload>>,
    faults: AtomicUsize,
    pub(super) reading: Gate,
    writing: Gate,
    pub(super) images_only: AtomicBool,
    /// Said already: that it answers otherwise than with 404, that tags cannot be moved.
    told_odd: AtomicBool,
    pub(super) told_immutable: AtomicBool,
    gone: Mutex<BTreeSet<Digest>>,
    pub(super) server: Probe,
    pub(super) vacancy: Vacancy,
}

impl RegistryCache {
    /// Over `repository` (its tag is not used). Blobs to save are read from `store`.
    pub fn new(
        client: Client,
        repository: Reference,
        store: Arc<Store>,
        options: RegistryCacheOptions,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            client,
            repository,
            store,
            options,
            observer,
            uploads: Uploads::default(),
            in_vain: Mutex::default(),
            faults: AtomicUsize::new(0),
            reading: Gate::default(),
            writing: Gate::default(),
            images_only: AtomicBool::new(false),
            told_odd: AtomicBool::new(false),
            told_immutable: AtomicBool::new(false),
            gone: Mutex::default(),
            server: Probe::default(),
            vacancy: Vacancy::default(),
        }
    }

    fn look_up_one(&self, key: &CacheKey) -> Option<Record> {
        if self.cannot_read() {
            return None;
        }
        self.counted(self.record(key)).unwrap_or_else(|error| {
            self.note_unread(&format!("cache look-up of {key} failed, taken as a miss"), &error);
            None
        })
    }

    /// Says what is new in a failure to read.
    fn note_unread(&self, what: &str, error: &CacheError) {
        let name = self.repository.name();
        let fault = if let CacheError::Registry(error) = error { Some(error) } else { None };
        let is_odd = fault.is_some_and(|error| matches!(*error.fault, Fault::Refused(_)));
        let is_told = is_odd || fault.is_some_and(|error| is_of_registry(&error.fault));
        if fault.is_some_and(|error| self.reading.closes(error)) {
            self.warn(&format!("cache repository {name} cannot be read, nothing of it is used"), error);
        } else if is_odd && !self.told_odd.swap(true, Ordering::Relaxed) {
            let text = format!("cache repository {name} refuses look-ups, these are misses: {}", chain(error));
            self.observer.event(Event::Info(text));
        } else if is_told || self.reading.is_closed() {
            self.debug(format!("{what}: {}", chain(error)));
        } else {
            self.warn(what, error);
        }
    }

    fn cannot_read(&self) -> bool {
        self.is_off() || self.reading.is_closed()
    }

    /// Saves, until the repository turns out to take nothing; that is said once.
    fn write(&self, save: impl FnOnce() -> Result<(), CacheError>) -> Result<(), CacheError> {
        let closed = || CacheError::Closed(self.repository.name());
        if self.writing.is_closed() {
            return Err(closed());
        }
        let before = self.faults.load(Ordering::Relaxed);
        let saved = save();
        // Nobody has to wait for what is left to take back.
        drop(std::mem::take(&mut *self.in_vain()));
        let Err(CacheError::Registry(error)) = &saved else { return saved };
        // Of what fails side by side one is enough.
        let count = || self.faults.compare_exchange(before, before + 1, Ordering::Relaxed, Ordering::Relaxed);
        self.note_fault(error, || count().is_ok_and(|before| before == 0));
        if self.writing.closes(error) {
            let (name, advice) = (self.repository.name(), advice(&error.fault));
            let text =
                format!("cache repository {name} takes nothing, results are not saved there: {}{advice}", chain(error));
            self.observer.event(Event::Warning(text));
        }
        if self.writing.is_closed() {
            Err(closed())
        } else if is_of_registry(&error.fault) {
            Err(CacheError::Off(self.repository.name()))
        } else {
            saved
        }
    }

    pub(super) fn record(&self, key: &CacheKey) -> Result<Option<Record>, CacheError> {
        let bytes = self.manifest(&key.to_string())?;
        Ok(bytes.and_then(|bytes| self.usable(key, &bytes)))
    }

    /// The record in a manifest that was found under `key`, when it counts.
    fn usable(&self, key: &CacheKey, bytes: &[u8]) -> Option<Record> {
        let useless = match manifest::unpack_record(bytes, key) {
            Ok(record) if self.distrusts(&format!("record {key}"), self.options.trust.judge(&record)) => {
                return None;
            }
            Ok(record) if is_expired(&record, self.options.ttl) => "it is older than the cache's time to live".into(),
            Ok(record) if record.blobs().any(|blob| self.gone().contains(&blob.digest)) => {
                "a blob of it is not in the repository".into()
            }
            Ok(record) => {
                self.uploads.note(record.blobs().map(|blob| &blob.digest));
                return Some(record);
            }
            Err(error) => chain(&error),
        };
        self.debug(format!("record {key} in {} is not used: {useless}", self.repository.name()));
        None
    }

    /// The cache-server, when there is one and it works.
    fn server(&self) -> Option<&CacheServer> {
        (!self.cannot_read()).then(|| self.server.get(&self.client, &self.repository)).flatten()
    }

    /// All keys in one request; `None` when the registry has no such request, or it failed.
    fn look_up_batch(&self, keys: &[CacheKey]) -> Option<Vec<Option<Record>>> {
        let found = match self.server()?.look_up(keys) {
            Ok(found) => found,
            Err(error) => {
                self.debug(format!("batch look-up failed, asking key by key: {}", chain(&error)));
                return None;
            }
        };
        let record = |key| found.get(key).and_then(|manifest| self.usable(key, manifest.get().as_bytes()));
        Some(keys.iter().map(record).collect())
    }

    pub(super) fn manifest(&self, tag: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let fetched = self.client.fetch_manifest(&self.repository.with_tag(tag), Purpose::Push)?;
        Ok(fetched.map(|fetched| fetched.bytes))
    }

    /// The repository's name, for messages.
    pub(super) fn name(&self) -> String {
        self.repository.name()
    }

    /// Counts the faults of the registry as a whole; the first one is said, for all.
    pub(super) fn counted<T>(&self, answer: Result<T, CacheError>) -> Result<T, CacheError> {
        if let Err(CacheError::Registry(error)) = &answer {
            self.note_fault(error, || self.faults.fetch_add(1, Ordering::Relaxed) == 0);
        }
        answer
    }

    /// `count` says whether it is the first one.
    fn note_fault(&self, error: &RegistryError, count: impl FnOnce() -> bool) {
        if is_of_registry(&error.fault) && count() {
            let (name, reason) = (self.repository.name(), chain(error));
            self.observer.event(Event::Warning(format!(
                "cache repository {name} fails: steps may run again and not be saved, and it is off after {MAX_FAULTS} failures: {reason}"
            )));
        }
    }

    fn is_off(&self) -> bool {
        self.faults.load(Ordering::Relaxed) >= MAX_FAULTS
    }

    pub(super) fn require_on(&self) -> Result<(), CacheError> {
        if self.is_off() { Err(CacheError::Off(self.repository.name())) } else { Ok(()) }
    }

    fn toc(&self, layer: &DiffId) -> Result<Option<Vec<u8>>, CacheError> {
        let Some(toc) = self.counted(self.toc_descriptor(layer))? else { return Ok(None) };
        self.open(&toc)?.map(|reader| read_toc(reader, &toc)).transpose()
    }

    pub(super) fn toc_descriptor(&self, layer: &DiffId) -> Result<Option<Descriptor>, CacheError> {
        let Some(tag) = manifest::toc_tag(layer) else { return Ok(None) };
        let Some(bytes) = self.manifest(&tag)? else { return Ok(None) };
        let unpacked = manifest::unpack_toc(&bytes, layer);
        let usable = unpacked.map_err(|error| {
            self.debug(format!("table of contents {tag} in {} is not used: {}", self.repository.name(), chain(&error)));
        });
        let Ok((toc, signature)) = usable else { return Ok(None) };
        let judged = self.options.trust.judge_toc(layer, &toc, signature.as_ref());
        if self.distrusts(&format!("table of contents {tag}"), judged) {
            return Ok(None);
        }
        Ok(Some(toc).filter(|toc| !self.gone().contains(&toc.digest)))
    }

    /// Somebody may be at work there: it is said, not just noted.
    fn distrusts(&self, what: &str, judged: Result<(), Distrust>) -> bool {
        let text = |distrust: &Distrust| format!("{what} in {} is not used: {distrust}", self.repository.name());
        judged.inspect_err(|distrust| self.observer.event(Event::Warning(text(distrust)))).is_err()
    }

    pub(super) fn gone(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn in_vain(&self) -> MutexGuard<'_, Vec<OpenUpload>> {
        self.in_vain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn debug(&self, text: String) {
        self.observer.event(Event::Debug(text));
    }

    fn warn(&self, what: &str, error: &CacheError) {
        self.observer.event(Event::Warning(format!("{what}: {}", chain(error))));
    }
}

/// A cache-server says so when somebody else has got the lease under which a record was made.
pub(super) fn is_overtaken(error: &RegistryError) -> bool {
    matches!(&*error.fault, Fault::Refused(answer) if answer.status == 409)
}

/// Reads a table of contents of bounded size.
pub(super) fn read_toc(mut reader: Box<dyn Read + Send>, toc: &Descriptor) -> Result<Vec<u8>, CacheError> {
    let (digest, size, limit) = (toc.digest.clone(), toc.size, MAX_TOC_BYTES);
    if size > limit {
        return Err(CacheError::TooLarge { digest, size, limit });
    }
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(|source| CacheError::Read { digest, source })?;
    Ok(bytes)
}

impl LayerCache for RegistryCache {
    /// Also finds out whether batches of keys can be asked for at once.
    fn prepare(&self) {
        let _ = self.server();
    }

    fn look_up(&self, keys: &[CacheKey]) -> Vec<Option<Hit>> {
        let tier = self.options.tier;
        // One key is one request either way.
        if keys.len() > 1
            && let Some(records) = self.look_up_batch(keys)
        {
            return records.into_iter().map(|record| record.map(|record| Hit { record, tier })).collect();
        }
        if self.vacancy.is_known() {
            return keys.iter().map(|_| None).collect();
        }
        let found = in_parallel(keys, self.client.in_flight(self.options.threads), |key| self.look_up_one(key));
        // With a cache-server others' results are waited for, and found as soon as they are there.
        if !self.cannot_read() && self.server.found().is_none() {
            self.vacancy.note(found.iter().any(Option::is_some), &self.client, &self.repository);
        }
        found.into_iter().map(|record| record.map(|record| Hit { record, tier })).collect()
    }

    /// Records that name it are misses from now on.
    fn forget(&self, blob: &Digest) {
        self.gone().insert(blob.clone());
        self.uploads.forget(blob);
    }

    fn all_records(&self, limit: usize) -> Vec<Record> {
        if self.cannot_read() {
            return Vec::new();
        }
        let listed = CacheRepository::new(self.client.clone(), self.repository.clone()).list(limit);
        let listing = listed.unwrap_or_else(|error| {
            self.warn("the records cannot be listed, so misses are explained without them", &error);
            RepositoryListing::default()
        });
        listing.records.into_iter().map(|remote| remote.record).collect()
    }

    fn save(&self, record: &Record) -> Result<(), CacheError> {
        self.save_telling(record, &|| ())
    }

    fn save_telling(&self, record: &Record, uploaded: &(dyn Fn() + Sync)) -> Result<(), CacheError> {
        let saved = self.write(|| self.push_record(record, uploaded));
        self.end_turn(&record.key);
        saved
    }

    fn at_once(&self, usual: usize) -> usize {
        if self.client.in_flight(1) > 1 { FAR_SAVES } else { usual }
    }

    fn await_turn(&self, key: &CacheKey, patience: Duration) -> bool {
        self.server().is_some_and(|server| server.await_turn(key, patience))
    }

    fn end_turn(&self, key: &CacheKey) {
        if let Some(server) = self.server.found() {
            server.end_turn(key);
        }
    }

    fn layer_toc(&self, layer: &DiffId) -> Option<Vec<u8>> {
        if self.cannot_read() || self.vacancy.is_known() {
            return None;
        }
        self.toc(layer).unwrap_or_else(|error| {
            self.note_unread(&format!("look-up of the table of contents of {layer} failed"), &error);
            None
        })
    }

    fn documents(&self, name: &ContentHash) -> Vec<Vec<u8>> {
        if self.cannot_read() {
            return Vec::new();
        }
        self.counted(self.fetch_documents(name)).unwrap_or_else(|error| {
            self.note_unread("look-up of what is remembered of a base image failed", &error);
            Vec::new()
        })
    }

    fn save_documents(&self, name: &ContentHash, documents: &[Vec<u8>]) -> Result<(), CacheError> {
        self.write(|| self.push_documents(name, documents))
    }

    fn save_layer_toc(&self, layer: &DiffId, toc: &Descriptor) -> Result<(), CacheError> {
        let Some(tag) = manifest::toc_tag(layer) else { return Ok(()) };
        self.write(|| self.push_toc(layer, toc, &tag))
    }

    fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + Send>>, CacheError> {
        self.require_on()?;
        match self.client.fetch_blob(&self.repository, blob, Purpose::Push) {
            Ok(reader) => Ok(Some(Box::new(reader))),
            Err(error) if matches!(*error.fault, Fault::NotFound(_)) => {
                // Garbage collection took it.
                self.forget(&blob.digest);
                Ok(None)
            }
            opened => self
                .counted(opened.map_err(CacheError::from))
                .map(|reader| Some(Box::new(reader) as Box<dyn Read + Send>)),
        }
    }
}
