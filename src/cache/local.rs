use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use super::{CacheError, Hit, LayerCache, Record, Trust, is_expired};
use crate::causes::chain;
use crate::digest::{DiffId, Digest};
use crate::image::Descriptor;
use crate::key::CacheKey;
use crate::report::{CacheTier, Event, Observer};
use crate::store::{Store, StoreError};

/// The records of the local store. A hit is complete: all its blobs are in the store.
pub struct LocalCache {
    store: Arc<Store>,
    ttl: Option<Duration>,
    observer: Arc<dyn Observer>,
    trust: Arc<Trust>,
}

impl LocalCache {
    /// Over `store`; records older than `ttl` are misses.
    pub fn new(store: Arc<Store>, ttl: Option<Duration>, observer: Arc<dyn Observer>) -> Self {
        Self { store, ttl, observer, trust: Arc::default() }
    }

    /// Takes only records that `trust` takes. Tables of contents of base images, and extracted
    /// layers, are the directory's own: who can write it is believed.
    #[must_use]
    pub fn with_trust(self, trust: Arc<Trust>) -> Self {
        Self { trust, ..self }
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    fn judge(&self, key: &CacheKey, found: Result<Option<Record>, StoreError>) -> Option<Hit> {
        let record = found.unwrap_or_else(|error| {
            self.observer.event(Event::Warning(format!("cache record {key} is not used: {}", chain(&error))));
            None
        })?;
        if let Err(distrust) = self.trust.judge(&record) {
            let place = self.store.directory().display();
            self.observer.event(Event::Warning(format!("cache record {key} in {place} is not used: {distrust}")));
            return None;
        }
        let useless = if is_expired(&record, self.ttl) {
            "it is older than the cache's time to live"
        } else if !self.store.is_complete(&record) {
            "a blob of it is not in the store"
        } else {
            self.store.note_record_uses([*key].iter().chain(&record.content_key));
            return Some(Hit { record, tier: CacheTier::Local });
        };
        self.observer.event(Event::Debug(format!("local cache record {key} is not used: {useless}")));
        None
    }

    fn put(&self, key: &CacheKey, record: &Record) -> Result<(), CacheError> {
        let is_useless = |old: Record| is_expired(&old, self.ttl) || self.trust.judge(&old).is_err();
        if self.store.record(key)?.is_some_and(is_useless) {
            self.store.remove_record(key)?;
        }
        Ok(self.store.put_record(key, record)?)
    }

    fn pass_on_notices(&self) {
        self.store.take_notices().into_iter().for_each(|notice| self.observer.event(Event::Warning(notice)));
    }
}

impl LayerCache for LocalCache {
    fn look_up(&self, keys: &[CacheKey]) -> Vec<Option<Hit>> {
        let found = self.store.records(keys);
        let hits = keys.iter().zip(found).map(|(key, found)| self.judge(key, found)).collect();
        self.pass_on_notices();
        hits
    }

    fn forget(&self, blob: &Digest) {
        if self.store.is_writable()
            && let Err(error) = self.store.remove_blob(blob)
        {
            self.observer.event(Event::Warning(chain(&error)));
        }
    }

    fn all_records(&self, limit: usize) -> Vec<Record> {
        let mut all = Vec::new();
        let listed = self.store.for_each_record(&mut |record| {
            if all.len() < limit {
                all.push(record);
            }
        });
        if let Err(error) = listed {
            self.observer.event(Event::Warning(chain(&error)));
        }
        all
    }

    fn save(&self, record: &Record) -> Result<(), CacheError> {
        self.put(&record.key, record)?;
        record.content_key.iter().try_for_each(|key| self.put(key, record))
    }

    fn layer_toc(&self, layer: &DiffId) -> Option<Vec<u8>> {
        let found = self.store.toc(layer).unwrap_or_else(|error| {
            self.observer.event(Event::Warning(chain(&error)));
            None
        });
        self.pass_on_notices();
        found
    }

    fn save_layer_toc(&self, layer: &DiffId, toc: &Descriptor) -> Result<(), CacheError> {
        Ok(self.store.put_toc(layer, toc)?)
    }

    fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + Send>>, CacheError> {
        let reader = self.store.open_verified(blob)?;
        Ok(reader.map(|reader| Box::new(reader) as Box<dyn Read + Send>))
    }
}
