//! `--hot`: what the runners of a cache-server ask for most.

use std::collections::BTreeSet;
use std::sync::Arc;

use yadokari::cache::{HotSet, LayerCache, LocalCache, Record, RegistryCache, RegistryCacheOptions};
use yadokari::causes::chain;
use yadokari::image::Reference;
use yadokari::key::CacheKey;
use yadokari::parallel::in_parallel;
use yadokari::registry::{Client, ClientOptions};
use yadokari::report::{Event, Observer};
use yadokari::store::Store;

use crate::blobs::Blobs;
use crate::command_line::cache_server;
use crate::command_line::settings::{credentials, env};
use crate::failure::Failure;
use crate::flags::CommandLine;
use crate::warm::WarmError;

/// Records that are fetched side by side; their blobs take turns with all others.
const RECORDS: usize = 6;

/// What is wanted, and the repository of the records.
pub(crate) struct Hot {
    repository: Reference,
    set: HotSet,
}

impl Hot {
    /// Asks the server. From then on `options` make pulls of what it mirrors go through it first.
    ///
    /// # Errors
    /// Wrong usage; [`Failure::Registry`] when the server cannot be asked.
    pub(crate) fn find(line: &CommandLine, options: &mut ClientOptions) -> Result<Option<Self>, Failure> {
        let (Some(count), Some(text)) = (line.hot, line.cache_server.as_deref()) else { return Ok(None) };
        let server = cache_server::read(text)?;
        if server.is_plain {
            options.insecure_registries.insert(server.repository.registry().to_owned());
        }
        let client = Client::new(options.clone(), credentials(env)?)?;
        let set = HotSet::fetch(&client, &server.repository, count)?;
        let set = set.ok_or_else(|| Failure::NoHotSet(server.repository.registry().to_owned()))?;
        for (registry, copy) in set.images.iter().filter_map(|image| image.mirrored.clone()) {
            let places = options.maps.entry(registry).or_default();
            if !places.contains(&copy) {
                places.insert(0, copy);
            }
        }
        Ok(Some(Self { repository: server.repository, set }))
    }

    pub(crate) fn images(&self) -> BTreeSet<Reference> {
        self.set.images.iter().map(|image| image.reference.clone()).collect()
    }

    /// Fetches the records that the store lacks, with all their blobs. Failures are warnings.
    pub(crate) fn fetch_records(&self, blobs: &Blobs<'_>, store: &Arc<Store>, observer: &Arc<dyn Observer>) {
        let local = LocalCache::new(Arc::clone(store), None, Arc::clone(observer));
        let is_missing = |(key, hit): (&CacheKey, Option<_>)| hit.is_none().then_some(*key);
        let there = local.look_up(&self.set.records);
        let missing: Vec<CacheKey> = self.set.records.iter().zip(there).filter_map(is_missing).collect();
        let remote = RegistryCache::new(
            blobs.client.clone(),
            self.repository.clone(),
            Arc::clone(store),
            RegistryCacheOptions::default(),
            Arc::clone(observer),
        );
        let records: Vec<Record> = remote.look_up(&missing).into_iter().flatten().map(|hit| hit.record).collect();
        let stored = in_parallel(&records, RECORDS, |record| self.fetch_record(record, blobs, &local));
        for (record, failure) in records.iter().zip(stored).filter_map(|(record, result)| Some((record, result.err()?)))
        {
            if !matches!(failure, WarmError::Stopped) {
                observer.event(Event::Warning(format!("record {}: {}", record.key, chain(&failure))));
            }
        }
        let wanted = self.set.records.len();
        if wanted > 0 {
            let there = local.look_up(&self.set.records).iter().flatten().count();
            observer.event(Event::Info(format!("{there} of {wanted} wanted records are in the cache directory")));
        }
    }

    /// The record comes last, so that nobody finds one without its blobs.
    fn fetch_record(&self, record: &Record, blobs: &Blobs<'_>, local: &LocalCache) -> Result<(), WarmError> {
        record.blobs().try_for_each(|blob| blobs.ensure(&self.repository, blob))?;
        Ok(local.save(record)?)
    }
}
