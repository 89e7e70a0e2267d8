use std::sync::Arc;
use std::time::Instant;

use tokio::task::spawn_blocking;
use yadokari::digest::Digest;
use yadokari::image::Reference as ImageReference;
use yadokari::registry::{Client, Fault, Purpose};

use super::{FetchError, Mirrors, Place, Watch, lock};
use crate::document::Document;
use crate::name::{Reference, Tag};
use crate::storage::{NewManifest, PutIf, Storage};

/// Tags whose time is remembered; beyond, all are asked for again.
const MAX_VALIDATED: usize = 100_000;

/// Where copies come from.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(super) client: Client,
    /// The repository.
    pub(super) reference: ImageReference,
    pub(super) watch: Watch,
}

/// How a manifest came to be here, or did not.
#[derive(Debug)]
pub(crate) enum Freshness {
    /// It is what the registry has, as far as one can know; or nobody has it.
    Fresh,
    /// The registry could not be asked; what is here is from an earlier time.
    Stale(FetchError),
}

impl Mirrors {
    /// Sees to it that the manifest `reference` of `place` is here, and is what the registry has.
    ///
    /// # Errors
    /// [`FetchError`] when it is neither here nor to be had.
    pub(crate) async fn refresh(
        &self,
        storage: &Arc<Storage>,
        place: &Place,
        reference: &Reference,
    ) -> Result<Freshness, FetchError> {
        let key = (place.repository.clone(), reference.to_string());
        let turn = Arc::clone(lock(&self.fetching).entry(key.clone()).or_default());
        let held = turn.lock().await;
        let refreshed = self.refresh_now(storage, place, reference).await;
        drop(held);
        let mut fetching = lock(&self.fetching);
        if Arc::strong_count(&turn) <= 2 {
            fetching.remove(&key);
        }
        refreshed
    }

    async fn refresh_now(
        &self,
        storage: &Arc<Storage>,
        place: &Place,
        reference: &Reference,
    ) -> Result<Freshness, FetchError> {
        let (here, name, wanted) = (Arc::clone(storage), place.repository.clone(), reference.clone());
        let known =
            spawn_blocking(move || here.manifest_head(&name, &wanted)).await.map_err(std::io::Error::other)??;
        let known = known.map(|head| head.digest);
        if known.is_some() && self.is_current(place, reference) {
            return Ok(Freshness::Fresh);
        }
        let (storage, here, wanted) = (Arc::clone(storage), place.clone(), reference.clone());
        let (asked, had) = (known.clone(), known.is_some());
        let fetched = spawn_blocking(move || fetch(&storage, &here, &wanted, asked.as_ref())).await;
        let fetched = fetched.unwrap_or_else(|error| Err(std::io::Error::other(error).into()));
        place.source.watch.note(&fetched, 0);
        match fetched {
            Ok(()) => {
                self.note_current(place, reference);
                Ok(Freshness::Fresh)
            }
            Err(error) if had => Ok(Freshness::Stale(error)),
            Err(error) => Err(error),
        }
    }

    /// What a digest names never changes.
    fn is_current(&self, place: &Place, reference: &Reference) -> bool {
        let Reference::Tag(tag) = reference else { return true };
        let key = (place.repository.clone(), tag.to_string());
        lock(&self.validated).get(&key).is_some_and(|at| at.elapsed() < self.tag_ttl)
    }

    fn note_current(&self, place: &Place, reference: &Reference) {
        let mut validated = lock(&self.validated);
        if validated.len() >= MAX_VALIDATED {
            validated.clear();
        }
        validated.insert((place.repository.clone(), reference.to_string()), Instant::now());
    }
}

/// Asks the registry; stores what it has unless that is `known`, and forgets a tag that it has no more.
fn fetch(storage: &Storage, place: &Place, reference: &Reference, known: Option<&Digest>) -> Result<(), FetchError> {
    let Source { client, reference: repository, .. } = &place.source;
    let (wanted, tags): (ImageReference, Vec<Tag>) = match reference {
        Reference::Tag(tag) => (repository.with_tag(tag.as_str()), vec![tag.clone()]),
        Reference::Digest(digest) => (repository.with_digest(digest.clone()), Vec::new()),
    };
    // Registries with a limit count what is fetched, not what is asked about.
    if let Some(known) = known {
        match client.head_manifest(&wanted, Purpose::Pull)? {
            Some(there) if there.digest == *known => return Ok(()),
            Some(_) => {}
            None => return forget(storage, place, &tags),
        }
    }
    let Some(fetched) = client.fetch_manifest(&wanted, Purpose::Pull)? else {
        return forget(storage, place, &tags);
    };
    let document = Document::parse(&fetched.bytes, Some(&fetched.descriptor.media_type))?;
    let manifest = NewManifest { digest: fetched.descriptor.digest, bytes: fetched.bytes, document };
    storage.put_manifest(&place.repository, &manifest, &tags, PutIf::Always)?;
    Ok(())
}

fn forget(storage: &Storage, place: &Place, tags: &[Tag]) -> Result<(), FetchError> {
    for tag in tags {
        storage.delete_tag(&place.repository, tag)?;
    }
    Ok(())
}

impl FetchError {
    /// The registry has no such thing.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Upstream(error) if matches!(*error.fault, Fault::NotFound(_)))
    }
}
