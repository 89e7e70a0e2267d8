//! From a reference to one image: index, platform, manifest, configuration.

use std::sync::Arc;

use super::blob::digest_like;
use super::client::{Client, Core};
use super::error::{Fault, Operation, RegistryError};
use super::options::Purpose;
use super::pull::Fetched;
use crate::digest::Digest;
use crate::image::{Descriptor, Document, ImageConfig, Index, Manifest, Platform, Reference};

/// Indexes may hold indexes, this deep.
const MAX_DEPTH: usize = 4;

/// Documents that are known from elsewhere, by their digests.
type Known<'a> = &'a dyn Fn(&Digest) -> Option<Vec<u8>>;

/// An image for one platform, without its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// What was asked for, with the digest of the platform's manifest.
    pub reference: Reference,
    /// The manifest. It has as many layers as the configuration has diff IDs.
    pub manifest: Manifest,
    /// As served.
    pub manifest_bytes: Vec<u8>,
    /// The configuration.
    pub config: ImageConfig,
    /// As served.
    pub config_bytes: Vec<u8>,
    /// The repository that really answered (a mirror or the original), with the same digest.
    pub source: Reference,
}

impl Client {
    /// Finds the image that suits `platform` best, at the first place where all its documents are.
    ///
    /// # Errors
    /// [`Fault::NoPlatform`], [`Fault::Image`], [`Fault::Manifest`], [`Fault::NotFound`] and every
    /// other fault.
    pub fn resolve_image(&self, image: &Reference, platform: &Platform) -> Result<ResolvedImage, RegistryError> {
        self.resolve_image_knowing(image, platform, &|_| None)
    }

    /// The same, with documents that are known from elsewhere: of what has a digest, `known` is asked first. Its answer
    /// counts when it has that digest.
    ///
    /// # Errors
    /// As [`Client::resolve_image`].
    pub fn resolve_image_knowing(
        &self,
        image: &Reference,
        platform: &Platform,
        known: Known<'_>,
    ) -> Result<ResolvedImage, RegistryError> {
        let found =
            self.core().first_place(image, Purpose::Pull, |place| self.resolve_at(image, place, platform, known));
        found.map_err(|fault| fault.during(Operation::ResolveImage, image))
    }

    fn resolve_at(
        &self,
        image: &Reference,
        place: &Reference,
        platform: &Platform,
        known: Known<'_>,
    ) -> Result<ResolvedImage, Fault> {
        let (source, manifest, manifest_bytes) = self.core().platform_manifest(place, platform, known)?;
        let (config, config_bytes) = self.core().config(&source, &manifest, known)?;
        let reference = source.digest().map_or_else(|| image.clone(), |digest| image.with_digest(digest.clone()));
        Ok(ResolvedImage { reference, manifest, manifest_bytes, config, config_bytes, source })
    }
}

impl Core {
    /// Walks down the indexes. The reference returned has the manifest's digest.
    fn platform_manifest(
        &self,
        place: &Reference,
        platform: &Platform,
        known: Known<'_>,
    ) -> Result<(Reference, Manifest, Vec<u8>), Fault> {
        let Fetched { mut descriptor, mut bytes } = self.manifest(place, Purpose::Pull)?;
        for _ in 0..MAX_DEPTH {
            match Document::parse(&bytes, Some(&descriptor.media_type))? {
                Document::Manifest(manifest) => return Ok((place.with_digest(descriptor.digest), manifest, bytes)),
                Document::Index(index) => {
                    let chosen = index.select(platform).ok_or_else(|| no_platform(&index, platform))?;
                    let named = place.with_digest(chosen.digest.clone());
                    let fetch = || self.manifest(&named, Purpose::Pull);
                    let remembered = verified(known, chosen).map(|bytes| Fetched { descriptor: chosen.clone(), bytes });
                    Fetched { descriptor, bytes } = remembered.map_or_else(fetch, Ok)?;
                }
            }
        }
        Err(Fault::Image(format!("indexes nested deeper than {MAX_DEPTH}")))
    }

    fn config(
        self: &Arc<Self>,
        source: &Reference,
        manifest: &Manifest,
        known: Known<'_>,
    ) -> Result<(ImageConfig, Vec<u8>), Fault> {
        let fetch = || self.small_blob(source, &manifest.config, Purpose::Pull);
        let bytes = verified(known, &manifest.config).map_or_else(fetch, Ok)?;
        let config: ImageConfig = serde_json::from_slice(&bytes)
            .map_err(|error| Fault::Image(format!("malformed configuration: {error}")))?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(Fault::Image(format!("{layers} layers in the manifest, {diff_ids} in the configuration")));
        }
        Ok((config, bytes))
    }
}

/// A document that is known, if it is the one.
fn verified(known: Known<'_>, wanted: &Descriptor) -> Option<Vec<u8>> {
    let bytes = known(&wanted.digest)?;
    (bytes.len() as u64 == wanted.size && digest_like(&wanted.digest, &bytes) == wanted.digest).then_some(bytes)
}

/// Attestations and unknown platforms are not offered.
fn no_platform(index: &Index, wanted: &Platform) -> Fault {
    let images = index.manifests.iter().filter(|d| !d.annotations.contains_key("vnd.docker.reference.type"));
    let platforms = images.filter_map(|d| d.platform.clone()).filter(|p| p.os != "unknown");
    Fault::NoPlatform { wanted: wanted.clone(), available: platforms.collect() }
}
