//! One image, from its registry into the store.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use yadokari::cache::CacheError;
use yadokari::digest::{DiffId, Digest};
use yadokari::extract::ExtractError;
use yadokari::image::{Descriptor, Document, ImageConfig, Manifest, Reference};
use yadokari::layer::DecodeError;
use yadokari::parallel::in_parallel;
use yadokari::plan::ImageRef;
use yadokari::registry::{Client, Purpose, RegistryError, ResolvedImage};
use yadokari::report::{Event, Observer, human_bytes};
use yadokari::store::{SOURCE, Store, StoreError};

use crate::blobs::Blobs;

/// Larger manifests and configurations are not read, in bytes: the executor's limit.
const MAX_DOCUMENT: u64 = 16 << 20;

/// Layers of an image that are fetched at a time, when no other image has its turn.
const PARALLEL: usize = 6;

/// What it takes to fetch images.
pub(crate) struct Warmer<'a> {
    pub(crate) client: &'a Client,
    pub(crate) store: &'a Store,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) blobs: Blobs<'a>,
    /// Age from which on executors do not take an image.
    pub(crate) ttl: Duration,
    /// Trust no stored byte.
    pub(crate) force: bool,
}

/// An image that is in the store.
pub(crate) struct Warmed {
    /// Of its manifest.
    pub(crate) digest: Digest,
    pub(crate) config: ImageConfig,
    /// The blobs of its layers, base first, and what they hold.
    pub(crate) layers: Vec<(Descriptor, DiffId)>,
    pub(crate) outcome: Outcome,
}

/// What had to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing: it was there, and is what the registry has.
    AlreadyCached,
    /// It is what the registry has, and got a new time.
    Renewed,
    /// It was fetched, or what was missing of it.
    Stored,
}

/// Why an image is not in the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WarmError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("failed to store {document} {digest}")]
    Write { document: &'static str, digest: Digest, source: std::io::Error },
    #[error("failed to fetch blob {digest}")]
    Blob { digest: Digest, source: std::io::Error },
    #[error("failed to read layer {layer}")]
    Layer { layer: Digest, source: DecodeError },
    #[error("failed to extract layer {layer}")]
    Extract { layer: Digest, source: ExtractError },
    #[error("layer {layer} holds {found}, but the configuration says {expected}")]
    DiffId { layer: Digest, found: DiffId, expected: DiffId },
    /// By a signal.
    #[error("interrupted")]
    Stopped,
}

impl Warmer<'_> {
    /// Puts the image into the store; its name comes last, so that nobody finds half an image.
    pub(crate) fn warm(&self, image: &ImageRef) -> Result<Warmed, WarmError> {
        let pinned = self.pin(&image.reference)?;
        match self.stored(image, &pinned)? {
            Some(stored) if !self.force => self.renew(image, stored),
            _ => self.fetch(image, &pinned),
        }
    }

    /// The reference with the digest that the registry has for it now. A missing image is left to
    /// whoever resolves it.
    fn pin(&self, reference: &Reference) -> Result<Reference, RegistryError> {
        if reference.digest().is_some() {
            return Ok(reference.clone());
        }
        let found = self.client.head_manifest(reference, Purpose::Pull)?;
        Ok(found.map_or_else(|| reference.clone(), |found| reference.with_digest(found.digest)))
    }

    /// The image that was made from what `pinned` names, when all of it is there.
    fn stored(&self, image: &ImageRef, pinned: &Reference) -> Result<Option<Stored>, StoreError> {
        let named = self.store.named_image(&image.reference.to_string(), Some(&image.platform))?;
        let Some((descriptor, since)) = named else { return Ok(None) };
        let source = descriptor.annotations.get(SOURCE);
        let is_it = descriptor.platform.as_ref() == Some(&image.platform)
            && source.is_some_and(|source| pinned.digest().is_some_and(|digest| digest.to_string() == *source));
        let whole = if is_it { self.whole(&descriptor)? } else { None };
        Ok(whole.map(|(manifest, config)| Stored { descriptor, manifest, config, since }))
    }

    /// The documents of an image that is all there.
    fn whole(&self, image: &Descriptor) -> Result<Option<(Manifest, ImageConfig)>, StoreError> {
        let Some(bytes) = self.store.read_blob(&image.digest, MAX_DOCUMENT)? else { return Ok(None) };
        let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, Some(&image.media_type)) else {
            return Ok(None);
        };
        let Some(bytes) = self.store.read_blob(&manifest.config.digest, MAX_DOCUMENT)? else { return Ok(None) };
        let Ok(config) = serde_json::from_slice::<ImageConfig>(&bytes) else { return Ok(None) };
        let is_whole = manifest.layers.iter().all(|layer| self.store.has(layer));
        Ok(is_whole.then_some((manifest, config)))
    }

    /// Gives an image a new time when half of its own is over, so that one which is looked after
    /// does not expire between two runs.
    fn renew(&self, image: &ImageRef, stored: Stored) -> Result<Warmed, WarmError> {
        let Stored { descriptor, manifest, config, since } = stored;
        let age = SystemTime::now().duration_since(since).unwrap_or_default();
        let outcome = if age < self.ttl / 2 { Outcome::AlreadyCached } else { Outcome::Renewed };
        if outcome == Outcome::Renewed {
            self.store.set_named_image(&image.reference.to_string(), &descriptor)?;
        }
        let layers = layers(&manifest, &config);
        Ok(Warmed { digest: descriptor.digest, config, layers, outcome })
    }

    fn fetch(&self, image: &ImageRef, pinned: &Reference) -> Result<Warmed, WarmError> {
        let found = self.client.resolve_image(pinned, &image.platform)?;
        self.announce(image, &found);
        self.store_layers(&found)?;
        self.store_document("configuration", &found.manifest.config, &found.config_bytes)?;
        let manifest = manifest_descriptor(image, pinned, &found);
        self.store_document("manifest", &manifest, &found.manifest_bytes)?;
        self.store.set_named_image(&image.reference.to_string(), &manifest)?;
        let layers = layers(&found.manifest, &found.config);
        Ok(Warmed { digest: manifest.digest, config: found.config, layers, outcome: Outcome::Stored })
    }

    /// Makes sure that the store has every layer of the image. After a failure no other is begun.
    fn store_layers(&self, image: &ResolvedImage) -> Result<(), WarmError> {
        let failed = AtomicBool::new(false);
        let stored = in_parallel(&image.manifest.layers, PARALLEL, |layer| {
            if failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.blobs.ensure(&image.source, layer).inspect_err(|_| failed.store(true, Ordering::Relaxed))
        });
        stored.into_iter().collect()
    }

    fn announce(&self, image: &ImageRef, found: &ResolvedImage) {
        let layers = &found.manifest.layers;
        let missing = layers.iter().filter(|layer| !self.store.has(layer)).map(|layer| layer.size);
        let (count, bytes) = missing.fold((0, 0_u64), |(count, sum), size| (count + 1, sum.saturating_add(size)));
        let (name, platform, total) = (&image.reference, &image.platform, layers.len());
        let text = format!("{name} ({platform}): fetching {count} of {total} layers, {}", human_bytes(bytes));
        self.observer.event(Event::Info(text));
    }

    fn store_document(&self, document: &'static str, blob: &Descriptor, bytes: &[u8]) -> Result<(), WarmError> {
        if self.force {
            self.blobs.remove_damaged(blob)?;
        }
        let mut writer = self.store.blob_writer_for(blob)?;
        let written = writer.write_all(bytes);
        written.map_err(|source| WarmError::Write { document, digest: blob.digest.clone(), source })?;
        Ok(writer.commit_as(blob)?)
    }
}

fn layers(manifest: &Manifest, config: &ImageConfig) -> Vec<(Descriptor, DiffId)> {
    manifest.layers.iter().cloned().zip(config.rootfs.diff_ids.iter().cloned()).collect()
}

/// An image that is in the store, and since when.
struct Stored {
    descriptor: Descriptor,
    manifest: Manifest,
    config: ImageConfig,
    since: SystemTime,
}

/// With the platform that was asked for, which is the one that the executor asks for too; the
/// image's own may be a lesser variant.
fn manifest_descriptor(image: &ImageRef, pinned: &Reference, found: &ResolvedImage) -> Descriptor {
    let digest = found.reference.digest().cloned().unwrap_or_else(|| Digest::sha256(&found.manifest_bytes));
    let mut descriptor = Descriptor::new(found.manifest.media_type(), digest, found.manifest_bytes.len() as u64);
    descriptor.platform = Some(image.platform.clone());
    let source = pinned.digest().unwrap_or(&descriptor.digest).to_string();
    descriptor.annotations.insert(SOURCE.into(), source);
    descriptor
}
