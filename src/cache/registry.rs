use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::gate::{Gate, advice, is_of_registry};
use super::manifest::{self, EMPTY_JSON, Form, Packed};
use super::options::RegistryCacheOptions;
use super::server::{CacheServer, Probe};
use super::uploads::Uploads;
use super::{CacheError, CacheRepository, Distrust, Hit, LayerCache, Record, RepositoryListing, is_expired};
use crate::causes::chain;
use crate::digest::{DiffId, Digest};
use crate::image::{Descriptor, Reference, media_type};
use crate::key::CacheKey;
use crate::parallel::in_parallel;
use crate::registry::{Client, Fault, Purpose, RegistryError};
use crate::report::{Direction, Event, Observer, Transfer};
use crate::store::{MAX_TOC_BYTES, Store};

/// After this many faults that are the registry's (not one record's), it is not asked again: a
/// cache that is down must not cost a time-out per step.
const MAX_FAULTS: usize = 3;

/// Records in a repository of a registry: `--cache-repo`.
pub struct RegistryCache {
    client: Client,
    repository: Reference,
    store: Arc<Store>,
    options: RegistryCacheOptions,
    observer: Arc<dyn Observer>,
    uploads: Uploads,
    faults: AtomicUsize,
    reading: Gate,
    writing: Gate,
    images_only: AtomicBool,
    /// Said already: that it answers otherwise than with 404, that tags cannot be moved.
    told_odd: AtomicBool,
    told_immutable: AtomicBool,
    gone: Mutex<BTreeSet<Digest>>,
    server: Probe,
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
            faults: AtomicUsize::new(0),
            reading: Gate::default(),
            writing: Gate::default(),
            images_only: AtomicBool::new(false),
            told_odd: AtomicBool::new(false),
            told_immutable: AtomicBool::new(false),
            gone: Mutex::default(),
            server: Probe::default(),
        }
    }

    fn look_up_one(&self, key: &CacheKey) -> Option<Record> {
        if self.cannot_read() {
            return None;
        }
        self.record(key).unwrap_or_else(|error| {
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
        let saved = save();
        let Err(CacheError::Registry(error)) = &saved else { return saved };
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

    fn record(&self, key: &CacheKey) -> Result<Option<Record>, CacheError> {
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
            Ok(record) => return Some(record),
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
        let fetched = self.ask(self.client.fetch_manifest(&self.repository.with_tag(tag), Purpose::Push))?;
        Ok(fetched.map(|fetched| fetched.bytes))
    }

    fn push_record(&self, record: &Record) -> Result<(), CacheError> {
        self.require_on()?;
        record.blobs().try_for_each(|blob| self.push_stored(blob))?;
        self.save_under(record, &record.key)?;
        record.content_key.iter().try_for_each(|key| self.save_under(record, key))
    }

    fn save_under(&self, record: &Record, key: &CacheKey) -> Result<(), CacheError> {
        // Where nothing can be read, a result that is there already is written again.
        if !self.reading.is_closed() && self.known(key)? {
            return Ok(());
        }
        let fence = self.server.found().and_then(|server| server.fence(key));
        match self.push_fenced(&key.to_string(), fence, |form| manifest::pack_record(record, form)) {
            Err(CacheError::Registry(error)) if fence.is_some() && is_overtaken(&error) => {
                self.debug(format!("record {key} is not saved: another build took over its step"));
                Ok(())
            }
            saved => saved,
        }
    }

    /// Whether a usable record is there. A registry that refuses to say so has none.
    fn known(&self, key: &CacheKey) -> Result<bool, CacheError> {
        match self.record(key) {
            Err(CacheError::Registry(error)) if matches!(*error.fault, Fault::Refused(_)) => Ok(false),
            Err(_) if self.reading.is_closed() => Ok(false),
            found => Ok(found?.is_some()),
        }
    }

    /// As [`RegistryCache::push_either`]; where tags cannot be moved, what stands there stays.
    pub(super) fn push_manifest(&self, tag: &str, pack: impl Fn(Form) -> Packed) -> Result<(), CacheError> {
        self.push_fenced(tag, None, pack)
    }

    fn push_fenced(&self, tag: &str, fence: Option<u64>, pack: impl Fn(Form) -> Packed) -> Result<(), CacheError> {
        match self.push_either(tag, fence, pack) {
            Err(CacheError::Registry(error)) if error.is_immutable_tag() => {
                if !self.told_immutable.swap(true, Ordering::Relaxed) {
                    let (name, reason) = (self.repository.name(), chain(&error));
                    let text =
                        format!("{name} has immutable tags, records that are old or damaged stay there: {reason}");
                    self.observer.event(Event::Info(text));
                }
                Ok(())
            }
            pushed => pushed,
        }
    }

    /// Pushes as an artifact; where that is refused, as an image, from then on.
    fn push_either(&self, tag: &str, fence: Option<u64>, pack: impl Fn(Form) -> Packed) -> Result<(), CacheError> {
        if !self.images_only.load(Ordering::Relaxed) {
            match self.push_packed(tag, fence, &pack(Form::Artifact)) {
                Err(CacheError::Registry(error)) if fence.is_some() && is_overtaken(&error) => return Err(error.into()),
                Err(CacheError::Registry(error))
                    if matches!(*error.fault, Fault::Refused(_)) && !error.is_immutable_tag() =>
                {
                    if !self.images_only.swap(true, Ordering::Relaxed) {
                        let (name, reason) = (self.repository.name(), chain(&error));
                        self.observer.event(Event::Info(format!("{name} takes no artifacts, saving images: {reason}")));
                    }
                }
                pushed => return pushed,
            }
        }
        self.push_packed(tag, fence, &pack(Form::Image))
    }

    fn push_packed(&self, tag: &str, fence: Option<u64>, packed: &Packed) -> Result<(), CacheError> {
        let manifest = &packed.manifest;
        self.push_bytes(&manifest.config, &packed.config)?;
        for layer in manifest.layers.iter().filter(|layer| layer.media_type == media_type::OCI_EMPTY) {
            self.push_bytes(layer, EMPTY_JSON)?;
        }
        let target = self.repository.with_tag(tag);
        let (media_type, bytes) = (manifest.media_type(), manifest.to_bytes());
        self.ask(match fence {
            Some(fence) => self.client.push_fenced_manifest(&target, media_type, &bytes, fence),
            None => self.client.push_manifest(&target, media_type, &bytes),
        })?;
        Ok(())
    }

    fn push_bytes(&self, blob: &Descriptor, bytes: &[u8]) -> Result<(), CacheError> {
        let bytes = bytes.to_vec();
        let open = move || Ok(Box::new(io::Cursor::new(bytes.clone())) as Box<dyn Read + Send>);
        self.push_absent(blob, || self.ask(self.client.push_blob(&self.repository, blob, &open, &|_| {})))
    }

    fn push_stored(&self, blob: &Descriptor) -> Result<(), CacheError> {
        let open = || {
            let reader = self.store.open_verified(blob).map_err(io::Error::other)?;
            let reader = reader.ok_or(io::ErrorKind::NotFound)?;
            Ok(Box::new(reader) as Box<dyn Read + Send>)
        };
        self.push_absent(blob, || {
            if !self.store.has(blob) {
                return self.mount_blob(blob);
            }
            self.upload(blob, &open)
        })
    }

    /// Uploads a blob that `path` holds.
    pub(super) fn push_file(&self, blob: &Descriptor, path: &Path) -> Result<(), CacheError> {
        let open = || Ok(Box::new(File::open(path)?) as Box<dyn Read + Send>);
        self.push_absent(blob, || self.upload(blob, &open))
    }

    fn upload(&self, blob: &Descriptor, open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>) -> Result<(), CacheError> {
        let progress = |done| {
            let (digest, total) = (blob.digest.clone(), blob.size);
            self.observer.event(Event::Transfer(Transfer { direction: Direction::Push, digest, done, total }));
        };
        self.ask(self.client.push_blob(&self.repository, blob, open, &progress))
    }

    /// The repository's name, for messages.
    pub(super) fn name(&self) -> String {
        self.repository.name()
    }

    /// Another cache has it that a hit came from.
    fn mount_blob(&self, blob: &Descriptor) -> Result<(), CacheError> {
        let (here, own) = (self.repository.registry(), self.repository.repository());
        let others = self.options.neighbours.iter().filter(|other| other.registry() == here);
        for other in others.map(Reference::repository).filter(|name| *name != own) {
            if self.ask(self.client.mount_blob(&self.repository, &blob.digest, other))? {
                return Ok(());
            }
        }
        Err(CacheError::NotStored(blob.digest.clone()))
    }

    /// Calls `push` unless the repository has the blob, which a hit of an earlier look-up may
    /// name without its ever having been in the local store.
    fn push_absent(&self, blob: &Descriptor, push: impl FnOnce() -> Result<(), CacheError>) -> Result<(), CacheError> {
        self.uploads.once(&blob.digest, || {
            if !self.ask(self.client.has_blob(&self.repository, &blob.digest))? {
                push()?;
            }
            self.gone().remove(&blob.digest);
            Ok(())
        })
    }

    /// Counts the faults of the registry as a whole; the first one is said, for all.
    fn ask<T>(&self, answer: Result<T, RegistryError>) -> Result<T, CacheError> {
        answer.map_err(|error| {
            if is_of_registry(&error.fault) && self.faults.fetch_add(1, Ordering::Relaxed) == 0 {
                let (name, reason) = (self.repository.name(), chain(&error));
                self.observer.event(Event::Warning(format!(
                    "cache repository {name} fails: steps may run again and not be saved, and it is off after {MAX_FAULTS} failures: {reason}"
                )));
            }
            CacheError::Registry(error)
        })
    }

    fn is_off(&self) -> bool {
        self.faults.load(Ordering::Relaxed) >= MAX_FAULTS
    }

    pub(super) fn require_on(&self) -> Result<(), CacheError> {
        if self.is_off() { Err(CacheError::Off(self.repository.name())) } else { Ok(()) }
    }

    fn toc(&self, layer: &DiffId) -> Result<Option<Vec<u8>>, CacheError> {
        let Some(toc) = self.toc_descriptor(layer)? else { return Ok(None) };
        self.open(&toc)?.map(|reader| read_toc(reader, &toc)).transpose()
    }

    fn toc_descriptor(&self, layer: &DiffId) -> Result<Option<Descriptor>, CacheError> {
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

    fn gone(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn debug(&self, text: String) {
        self.observer.event(Event::Debug(text));
    }

    fn warn(&self, what: &str, error: &CacheError) {
        self.observer.event(Event::Warning(format!("{what}: {}", chain(error))));
    }
}

/// A cache-server says so when somebody else has got the lease under which a record was made.
fn is_overtaken(error: &RegistryError) -> bool {
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
        in_parallel(keys, self.client.in_flight(self.options.threads), |key| {
            self.look_up_one(key).map(|record| Hit { record, tier })
        })
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
        let saved = self.write(|| self.push_record(record));
        self.end_turn(&record.key);
        saved
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
        if self.cannot_read() {
            return None;
        }
        self.toc(layer).unwrap_or_else(|error| {
            self.note_unread(&format!("look-up of the table of contents of {layer} failed"), &error);
            None
        })
    }

    fn save_layer_toc(&self, layer: &DiffId, toc: &Descriptor) -> Result<(), CacheError> {
        let Some(tag) = manifest::toc_tag(layer) else { return Ok(()) };
        self.write(|| {
            self.require_on()?;
            self.push_stored(toc)?;
            if self.toc_descriptor(layer).is_ok_and(|known| known.is_some()) {
                return Ok(());
            }
            let signature = self.options.trust.sign_toc(layer, toc);
            self.push_manifest(&tag, |form| manifest::pack_toc(layer, toc, signature.as_ref(), form))
        })
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
            error => self.ask(error).map(|reader| Some(Box::new(reader) as Box<dyn Read + Send>)),
        }
    }
}
