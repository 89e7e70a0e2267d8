//! One contract for every layer cache, and cache repositories in a real registry
//! (Debian's `docker-registry`).

#![allow(clippy::expect_used, reason = "what a test's helper cannot do fails the test")]

#[path = "../support/docker_registry.rs"]
mod docker_registry;
#[path = "../support/port.rs"]
mod port;

mod contract;
mod layout;
mod raced;
mod refusal;
mod repository;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use docker_registry::DockerRegistry;
use tempfile::TempDir;
use yadokari::cache::{LayerCache, LocalCache, Record, RecordLayer, RegistryCache, RegistryCacheOptions};
use yadokari::digest::{ContentHash, DiffId, Digest};
use yadokari::image::{Descriptor, Reference, media_type};
use yadokari::key::CacheKey;
use yadokari::registry::{Client, ClientOptions, Credentials};
use yadokari::report::{Event, Observer};
use yadokari::store::{Access, Durability, Store};

/// Keeps what it is told.
#[derive(Default)]
struct Listener(Mutex<Vec<Event>>);

impl Observer for Listener {
    fn event(&self, event: Event) {
        self.0.lock().expect("lock").push(event);
    }
}

impl Listener {
    fn warnings(&self) -> Vec<String> {
        let events = self.0.lock().expect("lock");
        events.iter().filter_map(|e| if let Event::Warning(text) = e { Some(text.clone()) } else { None }).collect()
    }

    fn debugs(&self) -> String {
        let events = self.0.lock().expect("lock");
        events.iter().filter_map(|e| if let Event::Debug(text) = e { Some(text.as_str()) } else { None }).collect()
    }
}

/// A registry on a free port of this machine; gone when dropped.
struct Registry(DockerRegistry);

impl Registry {
    fn start() -> Self {
        Self(DockerRegistry::start(docker_registry::plain))
    }

    fn log(&self) -> String {
        self.0.log()
    }

    fn repository(&self, name: &str) -> Reference {
        format!("{}/{name}", self.0.address).parse().expect("reference")
    }
}

/// Every fault shows at once.
fn client() -> Client {
    client_with(0)
}

fn client_with(retries: u32) -> Client {
    let options = ClientOptions { retries, ..ClientOptions::default() };
    Client::new(options, Credentials::none()).expect("client")
}

/// A store of its own and what belongs to it.
struct Place {
    _directory: TempDir,
    store: Arc<Store>,
    listener: Arc<Listener>,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open_with(directory.path(), Access::ReadWrite, Durability::None).expect("store");
        Self { _directory: directory, store: Arc::new(store), listener: Arc::default() }
    }

    fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.listener) as Arc<dyn Observer>
    }

    fn local(&self, ttl: Option<Duration>) -> LocalCache {
        LocalCache::new(Arc::clone(&self.store), ttl, self.observer())
    }

    fn registry(&self, repository: &Reference, ttl: Option<Duration>) -> RegistryCache {
        self.registry_by(client(), repository, ttl)
    }

    fn registry_by(&self, client: Client, repository: &Reference, ttl: Option<Duration>) -> RegistryCache {
        let options = RegistryCacheOptions { ttl, ..RegistryCacheOptions::default() };
        RegistryCache::new(client, repository.clone(), Arc::clone(&self.store), options, self.observer())
    }

    /// A record of one layer whose blobs are in the store.
    fn record(&self, seed: &str) -> Record {
        let bytes = layer_bytes(seed);
        let blob = self.store.put_blob(media_type::OCI_LAYER_GZIP, &bytes).expect("layer");
        let toc = self.store.put_blob(media_type::TOC, format!("toc of {seed}").as_bytes()).expect("toc");
        let diff_id = DiffId(Digest::sha256(format!("tar of {seed}").as_bytes()));
        let layer = RecordLayer { blob, diff_id, uncompressed_size: 1 << 20, toc, created: 5 };
        Record { layers: vec![layer], ..empty_record(seed) }
    }
}

fn layer_bytes(seed: &str) -> Vec<u8> {
    seed.bytes().cycle().take(100_000).collect()
}

fn key(seed: &str) -> CacheKey {
    CacheKey(ContentHash::of(seed.as_bytes()))
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("clock").as_secs().try_into().expect("seconds")
}

/// "No change".
fn empty_record(seed: &str) -> Record {
    Record {
        version: Record::VERSION,
        key: key(seed),
        content_key: None,
        parts: BTreeMap::from([("command".into(), format!("echo \"{seed}\" <&> ✓"))]),
        instruction: format!("RUN echo {seed}"),
        layers: Vec::new(),
        state: Some(ContentHash::of(b"state")),
        created: now(),
        duration_ms: 12,
        executor: "yadokari test".into(),
        signature: None,
    }
}

fn found(cache: &dyn LayerCache, key: &CacheKey) -> Option<Record> {
    let hits = cache.look_up(&[*key]);
    assert_eq!(hits.len(), 1);
    hits.into_iter().next().flatten().map(|hit| hit.record)
}

fn read(cache: &dyn LayerCache, blob: &Descriptor) -> Option<Vec<u8>> {
    let reader = cache.open(blob).expect("open")?;
    let mut bytes = Vec::new();
    let mut reader = reader;
    reader.read_to_end(&mut bytes).expect("read");
    Some(bytes)
}
