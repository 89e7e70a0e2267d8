//! The builder's own cache code against the server: look-ups in one request, and turns.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

#[path = "../../tests/support/docker_registry.rs"]
mod docker_registry;
#[path = "../../tests/support/port.rs"]
mod port;
mod registry;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use registry::{Registry, store};
use yadokari::cache::{LayerCache, Record, RecordLayer, RegistryCache, RegistryCacheOptions};
use yadokari::digest::{ContentHash, DiffId, Digest};
use yadokari::image::media_type;
use yadokari::key::CacheKey;
use yadokari::registry::{Client, ClientOptions, Credentials};
use yadokari::report::{Event, Observer};
use yadokari::store::{Access, Durability, Store};

/// Takes no events.
struct Deaf;

impl Observer for Deaf {
    fn event(&self, _: Event) {}
}

/// A builder with a local store of its own.
struct Builder {
    cache: RegistryCache,
    store: Arc<Store>,
    _directory: tempfile::TempDir,
}

impl Builder {
    fn new(address: &str) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = Store::open_with(directory.path(), Access::ReadWrite, Durability::None).expect("a store");
        let store = Arc::new(store);
        let options = ClientOptions { retries: 0, ..ClientOptions::default() };
        let client = Client::new(options, Credentials::none()).expect("a client");
        let repository = format!("{address}/cache").parse().expect("a reference");
        let options = RegistryCacheOptions::default();
        let cache = RegistryCache::new(client, repository, Arc::clone(&store), options, Arc::new(Deaf));
        Self { cache, store, _directory: directory }
    }

    fn save(&self, name: &str) {
        let blob = self.store.put_blob(media_type::OCI_LAYER_GZIP, name.as_bytes()).expect("stored");
        let toc = self.store.put_blob(media_type::TOC, format!("toc of {name}").as_bytes()).expect("stored");
        let diff_id = DiffId(Digest::sha256(name.as_bytes()));
        let layer = RecordLayer { blob, diff_id, uncompressed_size: 1, toc, created: 5 };
        let record = Record {
            version: Record::VERSION,
            key: key(name),
            content_key: None,
            instruction: Default::default(),
            signature: None,
            parts: BTreeMap::new(),
            layers: vec![layer],
            state: None,
            created: i64::MAX,
            duration_ms: 12,
            executor: "test".into(),
        };
        self.cache.save(&record).expect("saved");
    }

    fn has(&self, names: &[&str]) -> Vec<bool> {
        let keys: Vec<CacheKey> = names.iter().map(|name| key(name)).collect();
        self.cache.look_up(&keys).iter().map(Option::is_some).collect()
    }
}

fn key(name: &str) -> CacheKey {
    CacheKey(ContentHash::of(name.as_bytes()))
}

#[test]
fn keys_are_looked_up_in_one_request() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let log = directory.path().join("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache-server"));
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(store::place(&directory.path().join("data")));
    command.stderr(std::fs::File::create(&log).expect("made"));
    let mut registry = Registry::start_command(command, directory.path());
    let builder = Builder::new(registry.address());
    builder.save("a");
    builder.save("b");
    let other = Builder::new(registry.address());
    assert_eq!(other.has(&["x", "b", "y", "a"]), [false, true, false, true]);
    assert_eq!(other.has(&["x", "y"]), [false, false]);
    registry.signal("TERM");
    registry.wait();
    let text = std::fs::read_to_string(&log).expect("a log");
    assert_eq!(text.matches("path=\"/v2/cache/_yadokari/lookup\"").count(), 2, "{text}");
    // Once for each builder at most.
    assert_eq!(text.matches("/_oci/ext/discover").count(), 1, "{text}");
}

#[test]
fn one_of_many_builders_makes_a_step() {
    let registry = Registry::start();
    let made = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let builder = Builder::new(registry.address());
                if !builder.cache.await_turn(&key("step"), Duration::from_secs(60)) {
                    std::thread::sleep(Duration::from_millis(400));
                    builder.save("step");
                    made.fetch_add(1, Ordering::SeqCst);
                }
                assert_eq!(builder.has(&["step"]), [true]);
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
}

#[test]
fn a_builder_that_gives_up_lets_the_next_one_try() {
    let registry = Registry::start();
    let (first, second) = (Builder::new(registry.address()), Builder::new(registry.address()));
    assert!(!first.cache.await_turn(&key("step"), Duration::ZERO));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| second.cache.await_turn(&key("step"), Duration::from_secs(60)));
        std::thread::sleep(Duration::from_millis(200));
        first.cache.end_turn(&key("step"));
        assert!(!waiting.join().expect("no panic"));
    });
    second.save("step");
    // Saved: the turn is over, and there is nothing to wait for.
    assert!(first.cache.await_turn(&key("step"), Duration::from_secs(60)));
}

#[test]
fn a_builder_that_lost_its_turn_saves_nothing_and_goes_on() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let start = |address: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cache-server"));
        command.args(["serve", "--listen", address, "--quiet", "--data"]).arg(&data);
        Registry::start_command(command, &data)
    };
    let mut registry = start("127.0.0.1:0");
    let address = registry.address().to_owned();
    let (late, next) = (Builder::new(&address), Builder::new(&address));
    assert!(!late.cache.await_turn(&key("step"), Duration::ZERO));
    // Leases do not outlive the server, and the next one to ask gets it.
    registry.signal("KILL");
    registry.wait();
    let _registry = start(&address);
    assert!(!next.cache.await_turn(&key("step"), Duration::ZERO));
    late.save("step");
    assert_eq!(late.has(&["step"]), [false]);
    next.save("step");
    assert_eq!(late.has(&["step"]), [true]);
}

#[test]
fn without_a_server_nobody_waits() {
    // Nobody listens on it: it is bound and closed again.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    let builder = Builder::new(&free.to_string());
    assert!(!builder.cache.await_turn(&key("step"), Duration::from_secs(60)));
    assert_eq!(builder.has(&["a", "b"]), [false, false]);
}

#[test]
fn a_plain_registry_is_asked_key_by_key() {
    let upstream = docker_registry::DockerRegistry::start(docker_registry::plain);
    let builder = Builder::new(&upstream.address);
    builder.save("a");
    assert!(!builder.cache.await_turn(&key("b"), Duration::from_secs(60)));
    assert_eq!(builder.has(&["x", "a"]), [false, true]);
}
