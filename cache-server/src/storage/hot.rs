//! Manifests that are asked for again and again, in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use moka::sync::Cache;

use super::ManifestHead;
use crate::name::{Reference, RepositoryName};

/// Bytes of all manifests kept.
const MAX_BYTES: u64 = 32 << 20;
/// What an entry takes besides the manifest.
const ENTRY_BYTES: usize = 512;

/// A cache that one counter keeps honest: any change to any manifest or tag makes it forget all
/// that was read before. Changes are rare beside reads, and so nothing stale is ever served.
#[derive(Debug)]
pub(super) struct HotManifests {
    entries: Cache<String, Entry>,
    changes: AtomicU64,
    /// Grows with the changes of other replicas.
    news: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Changes that had happened before it was read.
    changes: u64,
    head: ManifestHead,
    bytes: Bytes,
}

/// The number of changes at a moment before a manifest is read from disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(u64);

/// Something about to change; what was read until it is dropped is forgotten.
#[derive(Debug)]
pub(super) struct Changing<'a>(&'a HotManifests);

impl HotManifests {
    pub(super) fn new(news: Arc<AtomicU64>) -> Self {
        let weight = |key: &str, entry: &Entry| u32::try_from(ENTRY_BYTES + key.len() + entry.bytes.len());
        let weigher = move |key: &String, entry: &Entry| weight(key, entry).unwrap_or(u32::MAX);
        let entries = Cache::builder().max_capacity(MAX_BYTES).weigher(weigher).build();
        Self { entries, changes: AtomicU64::new(0), news }
    }

    /// To be held while manifests or tags change.
    pub(super) fn changing(&self) -> Changing<'_> {
        Changing(self)
    }

    /// To be taken before reading what is then kept.
    pub(super) fn now(&self) -> Moment {
        // Both only grow, so no two moments with a change between them are the same.
        Moment(self.changes.load(Ordering::Acquire) + self.news.load(Ordering::Acquire))
    }

    pub(super) fn get(&self, repository: &RepositoryName, reference: &Reference) -> Option<(ManifestHead, Bytes)> {
        let entry = self.entries.get(&key(repository, reference))?;
        (entry.changes == self.now().0).then_some((entry.head, entry.bytes))
    }

    /// Keeps what was read after `moment`.
    pub(super) fn keep(
        &self,
        moment: Moment,
        (repository, reference): (&RepositoryName, &Reference),
        (head, bytes): (&ManifestHead, &Bytes),
    ) {
        let entry = Entry { changes: moment.0, head: head.clone(), bytes: bytes.clone() };
        self.entries.insert(key(repository, reference), entry);
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.changes.fetch_add(1, Ordering::Release);
    }
}

/// No name holds a zero byte.
fn key(repository: &RepositoryName, reference: &Reference) -> String {
    format!("{repository}\0{reference}")
}
