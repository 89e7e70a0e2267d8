use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::image::Reference;
use crate::key::CacheKey;
use crate::registry::{Action, Client, RegistryError};

/// What the server calls its extension of the registry's API.
const EXTENSION: &str = "_yadokari";
const LOOK_UP: &str = "_yadokari/lookup";
/// A server cuts its answers at about 16 MiB and one record.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
const MAX_LEASE_BYTES: u64 = 64 << 10;

/// A lease lasts so long unless it is renewed, which is done three times as often.
const LEASE: Duration = Duration::from_secs(15);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// One request waits no longer.
const LONG_POLL: Duration = Duration::from_secs(20);

/// The cache API of a cache-server, over one repository: `docs/cache-server.md`.
///
/// A turn is a lease of a key, kept alive by a thread of its own until it is ended, or until this
/// value is dropped.
#[derive(Debug)]
pub(super) struct CacheServer {
    client: Client,
    repository: Reference,
    turns: Mutex<BTreeMap<CacheKey, Turn>>,
}

/// A lease that is kept alive until this goes.
#[derive(Debug)]
struct Turn {
    _end: Sender<()>,
    /// Tells the server which of several holders saves: those before the last one come too late.
    fence: u64,
}

/// Finds out once whether a registry is a cache-server.
#[derive(Debug, Default)]
pub(super) struct Probe(OnceLock<Option<CacheServer>>);

#[derive(Serialize)]
struct Keys {
    keys: Vec<String>,
}

#[derive(Deserialize)]
struct LookedUp {
    #[serde(default)]
    records: Vec<Entry>,
    /// Left out for now.
    #[serde(default)]
    rest: Vec<String>,
}

#[derive(Deserialize)]
struct Entry {
    key: String,
    manifest: Box<RawValue>,
}

#[derive(Serialize)]
struct Wanted {
    wait_ms: u64,
    ttl_ms: u64,
}

#[derive(Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum Answer {
    /// It is there.
    Present,
    /// It is ours to make.
    Granted { lease: String, fence: u64 },
    /// Somebody else is still at it.
    Held,
}

impl Probe {
    /// The server of `repository`; the first call asks it, and a fault counts as none.
    pub(super) fn get(&self, client: &Client, repository: &Reference) -> Option<&CacheServer> {
        let probe = || {
            let is_one = client.has_extension(repository, EXTENSION).unwrap_or(false);
            is_one.then(|| CacheServer {
                client: client.clone(),
                repository: repository.clone(),
                turns: Mutex::default(),
            })
        };
        self.0.get_or_init(probe).as_ref()
    }

    /// The server, if it was found already.
    pub(super) fn found(&self) -> Option<&CacheServer> {
        self.0.get()?.as_ref()
    }
}

impl CacheServer {
    /// The manifests of the records under `keys`, as they were pushed. Every one is complete.
    pub(super) fn look_up(&self, keys: &[CacheKey]) -> Result<BTreeMap<CacheKey, Box<RawValue>>, RegistryError> {
        let known: BTreeMap<String, CacheKey> = keys.iter().map(|key| (key.to_string(), *key)).collect();
        let (mut found, mut left) = (BTreeMap::new(), known.keys().cloned().collect::<Vec<_>>());
        while !left.is_empty() {
            let asked = left.len();
            // Strings only: nothing can fail.
            let body = serde_json::to_vec(&Keys { keys: left }).unwrap_or_default();
            let repository = (&self.repository, "pull");
            let answer = self.client.call_extension(repository, Action::Post, LOOK_UP, &body, MAX_ANSWER_BYTES)?;
            let answer = answer.and_then(|bytes| serde_json::from_slice::<LookedUp>(&bytes).ok());
            let Some(answer) = answer else { break };
            let entries = answer.records.into_iter();
            found.extend(entries.filter_map(|entry| known.get(&entry.key).map(|key| (*key, entry.manifest))));
            // A server that makes no headway is not asked for ever.
            left = answer.rest;
            if left.len() >= asked {
                break;
            }
        }
        Ok(found)
    }

    /// As [`super::LayerCache::await_turn`].
    pub(super) fn await_turn(&self, key: &CacheKey, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            let wait = end.saturating_duration_since(Instant::now()).min(LONG_POLL);
            match self.ask(key, wait) {
                Some(Answer::Present) => return true,
                Some(Answer::Granted { lease, fence }) => {
                    self.begin_turn(key, &lease, fence);
                    return false;
                }
                Some(Answer::Held) if Instant::now() < end => {}
                // Waited long enough, or nobody to wait with.
                Some(Answer::Held) | None => return false,
            }
        }
    }

    /// As [`super::LayerCache::end_turn`].
    pub(super) fn end_turn(&self, key: &CacheKey) {
        self.turns().remove(key);
    }

    /// The fencing token of the turn that was had last for `key`, if any.
    pub(super) fn fence(&self, key: &CacheKey) -> Option<u64> {
        self.turns().get(key).map(|turn| turn.fence)
    }

    fn ask(&self, key: &CacheKey, wait: Duration) -> Option<Answer> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        // Numbers only: nothing can fail.
        let body = serde_json::to_vec(&Wanted { wait_ms: millis(wait), ttl_ms: millis(LEASE) }).unwrap_or_default();
        let path = format!("_yadokari/leases/{key}");
        let repository = (&self.repository, "pull,push");
        let answer = self.client.call_extension(repository, Action::Post, &path, &body, MAX_LEASE_BYTES);
        serde_json::from_slice(&answer.ok()??).ok()
    }

    /// Renews the lease until the turn ends, and gives it back then.
    fn begin_turn(&self, key: &CacheKey, lease: &str, fence: u64) {
        let (client, repository) = (self.client.clone(), self.repository.clone());
        let path = format!("_yadokari/leases/{key}?lease={lease}&ttl_ms={}", LEASE.as_millis());
        let (end, ended) = channel();
        self.turns().insert(*key, Turn { _end: end, fence });
        thread::spawn(move || {
            let call = |action| client.call_extension((&repository, "pull,push"), action, &path, b"", MAX_LEASE_BYTES);
            while ended.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                // Lost: somebody else may be at it as well by now, which does no harm.
                if matches!(call(Action::Put), Ok(None)) {
                    return;
                }
            }
            // Mostly the record has ended it already. If this fails, it runs out.
            let _ = call(Action::Delete);
        });
    }

    fn turns(&self) -> MutexGuard<'_, BTreeMap<CacheKey, Turn>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
