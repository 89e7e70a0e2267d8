//! One image, from its registry into the store.

use std::io::Write;
use std::time::{Duration, SystemTime};

use yadokari::digest::{DiffId, Digest};
use yadokari::image::{Descriptor, Document, ImageConfig, Reference};
use yadokari::layer::DecodeError;
use yadokari::plan::ImageRef;
use yadokari::registry::{Client, Purpose, RegistryError, ResolvedImage};
use yadokari::report::{Event, Observer, human_bytes};
use yadokari::store::{Store, StoreError};

/// The annotation with the digest that the registry had under the image's name: that of an index,
/// where there is one. As long as it has the same, nothing needs to be asked for.
const SOURCE: &str = "dev.yadokari.source";

/// Larger manifests and configurations are not read, in bytes: the executor's limit.
const MAX_DOCUMENT: u64 = 16 << 20;

/// What it takes to fetch images.
pub(crate) struct Warmer<'a> {
    pub(crate) client: &'a Client,
    pub(crate) store: &'a Store,
    pub(crate) observer: &'a dyn Observer,
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
    #[error("failed to store {document} {digest}")]
    Write { document: &'static str, digest: Digest, source: std::io::Error },
    #[error("failed to read layer {layer}")]
    Layer { layer: Digest, source: DecodeError },
    #[error("layer {layer} holds {found}, but the configuration says {expected}")]
    DiffId { layer: Digest, found: DiffId, expected: DiffId },
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
        let config = if is_it { self.whole(&descriptor)? } else { None };
        Ok(config.map(|config| Stored { descriptor, config, since }))
    }

    /// The configuration of an image whose documents, layers and tables of contents are all there.
    fn whole(&self, image: &Descriptor) -> Result<Option<ImageConfig>, StoreError> {
        let Some(bytes) = self.store.read_blob(&image.digest, MAX_DOCUMENT)? else { return Ok(None) };
        let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, Some(&image.media_type)) else {
            return Ok(None);
        };
        let Some(bytes) = self.store.read_blob(&manifest.config.digest, MAX_DOCUMENT)? else { return Ok(None) };
        let Ok(config) = serde_json::from_slice::<ImageConfig>(&bytes) else { return Ok(None) };
        let mut is_whole = manifest.layers.iter().all(|layer| self.store.has(layer));
        for diff_id in &config.rootfs.diff_ids {
            is_whole &= self.has_toc(diff_id)?;
        }
        Ok(is_whole.then_some(config))
    }

    /// Gives an image a new time when half of its own is over, so that one which is looked after
    /// does not expire between two runs.
    fn renew(&self, image: &ImageRef, stored: Stored) -> Result<Warmed, WarmError> {
        let Stored { descriptor, config, since } = stored;
        let age = SystemTime::now().duration_since(since).unwrap_or_default();
        let outcome = if age < self.ttl / 2 { Outcome::AlreadyCached } else { Outcome::Renewed };
        if outcome == Outcome::Renewed {
            self.store.set_named_image(&image.reference.to_string(), &descriptor)?;
        }
        Ok(Warmed { digest: descriptor.digest, config, outcome })
    }

    fn fetch(&self, image: &ImageRef, pinned: &Reference) -> Result<Warmed, WarmError> {
        let found = self.client.resolve_image(pinned, &image.platform)?;
        self.announce(image, &found);
        self.store_layers(&found)?;
        self.store_document("configuration", &found.manifest.config, &found.config_bytes)?;
        let manifest = manifest_descriptor(image, pinned, &found);
        self.store_document("manifest", &manifest, &found.manifest_bytes)?;
        self.store.set_named_image(&image.reference.to_string(), &manifest)?;
        Ok(Warmed { digest: manifest.digest, config: found.config, outcome: Outcome::Stored })
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
            self.remove_damaged(blob)?;
        }
        let mut writer = self.store.blob_writer_for(blob)?;
        let written = writer.write_all(bytes);
        written.map_err(|source| WarmError::Write { document, digest: blob.digest.clone(), source })?;
        Ok(writer.commit_as(blob)?)
    }
}

/// An image that is in the store, and since when.
struct Stored {
    descriptor: Descriptor,
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
