//! Base images that a warmer left in the cache directory: ours, or Kaniko's.

use std::time::{Duration, SystemTime};

use super::error::BuildError;
use super::request::Services;
use super::resolve::{BaseImage, base_image, check_platform};
use super::state::Origin;
use crate::digest::Digest;
use crate::image::{Descriptor, Document, ImageConfig, Manifest};
use crate::plan::ImageRef;
use crate::report::human_duration;
use crate::store::Store;

/// Larger manifests and configurations are not read, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;

/// An image whose documents are here.
pub(super) struct Warmed {
    /// Of the manifest.
    digest: Digest,
    manifest: Manifest,
    config: ImageConfig,
    /// Since it was last compared with the registry's; `None` when that does not count.
    age: Option<Duration>,
}

impl Warmed {
    /// Whether the registry need not be asked: what a digest names never changes, and a tag counts
    /// for `--cache-ttl`. Without `--cache`, and for what Kaniko left, tags are asked for always.
    pub(super) fn counts(&self, image: &ImageRef, services: &Services<'_>) -> bool {
        let is_fresh = || self.age.is_some_and(|age| age <= services.warm_ttl);
        image.reference.digest().is_some() || (services.cache.is_some() && is_fresh())
    }

    pub(super) fn into_base(self, image: &ImageRef, services: &Services<'_>) -> Result<BaseImage, BuildError> {
        let name = image.reference.to_string();
        check_platform(&name, &image.platform, &self.config, services);
        let origin = Origin::Image(image.reference.clone());
        let base = base_image(&name, self.config, &self.manifest, &origin)?;
        Ok(BaseImage { digest: Some(self.digest), ..base })
    }

    /// For a warning.
    pub(super) fn age_text(&self) -> String {
        match self.age {
            Some(age) => format!("where it was put {} ago", human_duration(age)),
            None => "where Kaniko's warmer put it".into(),
        }
    }
}

/// The image in one of the stores, when all its documents are there.
pub(super) fn find(image: &ImageRef, services: &Services<'_>) -> Result<Option<Warmed>, BuildError> {
    let stores = || [Some(services.store), services.warm].into_iter().flatten();
    for store in stores() {
        if let Some((descriptor, age)) = named(store, image)?
            && let Some((manifest, config)) = documents(store, &descriptor)?
        {
            return Ok(Some(Warmed { digest: descriptor.digest, manifest, config, age }));
        }
    }
    for store in stores() {
        if let Some((digest, manifest, config)) = of_kaniko(store, image)? {
            return Ok(Some(Warmed { digest, manifest, config, age: None }));
        }
    }
    Ok(None)
}

fn named(store: &Store, image: &ImageRef) -> Result<Option<(Descriptor, Option<Duration>)>, BuildError> {
    let name = image.reference.to_string();
    if let Some((descriptor, since)) = store.named_image(&name, Some(&image.platform))? {
        return Ok(Some((descriptor, Some(SystemTime::now().duration_since(since).unwrap_or_default()))));
    }
    let Some(digest) = image.reference.digest() else { return Ok(None) };
    let found = store.image_of_digest(digest, &image.platform)?;
    Ok(found.map(|descriptor| (descriptor, None)))
}

fn documents(store: &Store, image: &Descriptor) -> Result<Option<(Manifest, ImageConfig)>, BuildError> {
    let Some(bytes) = store.read_blob(&image.digest, MAX_DOCUMENT)? else { return Ok(None) };
    let Some(manifest) = manifest(&bytes, Some(&image.media_type)) else { return Ok(None) };
    let Some(bytes) = store.read_blob(&manifest.config.digest, MAX_DOCUMENT)? else { return Ok(None) };
    Ok(serde_json::from_slice(&bytes).ok().map(|config| (manifest, config)))
}

/// By its manifest's digest, or by a name, for a platform that suits best; the newest of several.
fn of_kaniko(store: &Store, image: &ImageRef) -> Result<Option<(Digest, Manifest, ImageConfig)>, BuildError> {
    let mut best: Option<(u32, Digest, Manifest, ImageConfig)> = None;
    for found in store.kaniko_images() {
        let is_it = match image.reference.digest() {
            Some(digest) => found.digest == *digest,
            None => found.names.contains(&image.reference),
        };
        let Some(manifest) = is_it.then(|| manifest(&found.manifest, None)).flatten() else { continue };
        let Some(bytes) = store.read_kaniko_blob(&manifest.config.digest)? else { continue };
        let Ok(config) = serde_json::from_slice::<ImageConfig>(&bytes) else { continue };
        let by_digest = image.reference.digest().map(|_| 0);
        let Some(rank) = by_digest.or_else(|| image.platform.rank(&config.platform())) else { continue };
        if best.as_ref().is_none_or(|(least, ..)| rank < *least) {
            best = Some((rank, found.digest.clone(), manifest, config));
        }
    }
    Ok(best.map(|(_, digest, manifest, config)| (digest, manifest, config)))
}

fn manifest(bytes: &[u8], media_type: Option<&str>) -> Option<Manifest> {
    match Document::parse(bytes, media_type) {
        Ok(Document::Manifest(manifest)) => Some(manifest),
        _ => None,
    }
}
