use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use yadokari::digest::Digest;

use super::{Storage, StorageError};
use crate::name::RepositoryName;

/// Uses remembered at most until they are written down; more are forgotten.
const CAPACITY: usize = 100_000;

type Uses = HashMap<(String, String), u64>;

/// What was asked for lately, by repository and digest, with the last time in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Recency {
    manifests: Mutex<Uses>,
    blobs: Mutex<Uses>,
    /// Those of the blobs that other replicas have not been told of.
    new_promises: Mutex<Uses>,
}

impl Recency {
    pub(super) fn manifest_used(&self, repository: &RepositoryName, digest: &Digest, now: u64) {
        note(&self.manifests, repository, digest, now);
    }

    /// A client was told that a blob is here: it may build on that.
    pub(super) fn blob_promised(&self, repository: &RepositoryName, digest: &Digest, now: u64) {
        note(&self.blobs, repository, digest, now);
    }

    /// Blobs that were promised at `since` or later.
    pub(super) fn promised(&self, since: u64) -> HashSet<(String, String)> {
        let blobs = lock(&self.blobs);
        blobs.iter().filter(|(_, at)| **at >= since).map(|(blob, _)| blob.clone()).collect()
    }

    /// The same, where other replicas must hear of it.
    pub(super) fn blob_promised_to_all(&self, repository: &RepositoryName, digest: &Digest, now: u64) {
        self.blob_promised(repository, digest, now);
        note(&self.new_promises, repository, digest, now);
    }

    /// Blobs that other replicas have not heard of since the last call.
    pub(super) fn take_new_promises(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *lock(&self.new_promises)).into_keys().collect()
    }

    fn forget_promises_before(&self, since: u64) {
        lock(&self.blobs).retain(|_, at| *at >= since);
    }
}

fn note(uses: &Mutex<Uses>, repository: &RepositoryName, digest: &Digest, now: u64) {
    let mut uses = lock(uses);
    if uses.len() < CAPACITY {
        uses.insert((repository.to_string(), digest.to_string()), now);
    }
}

fn lock(uses: &Mutex<Uses>) -> MutexGuard<'_, Uses> {
    uses.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Storage {
    /// Writes down when manifests were used, and forgets promises made before `since`.
    pub(crate) fn write_uses(&self, since: u64) -> Result<(), StorageError> {
        self.recency.forget_promises_before(since);
        let uses = std::mem::take(&mut *lock(&self.recency.manifests));
        if uses.is_empty() {
            return Ok(());
        }
        Ok(self.index.change(move |tables| {
            uses.iter().try_for_each(|((repository, digest), at)| tables.touch(repository, digest, *at))
        })?)
    }
}
