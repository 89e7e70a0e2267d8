//! Manifest and configuration of base images in a cache repository: with them a build knows a base image as soon as the
//! registry says what its name stands for. Hints only, since whoever takes one compares its digest.

use super::manifest;
use super::{CacheError, RegistryCache};
use crate::digest::ContentHash;
use crate::image::media_type;

/// What the tags begin with.
pub(super) const PREFIX: &str = "base-";
/// Annotations with the documents: this and a number.
const DOCUMENT: &str = "dev.yadokari.document.";
/// A manifest and a configuration; others would be as many.
const MAX_DOCUMENTS: usize = 4;
/// Of all together: registries limit manifests to 4 MiB, and this one is fetched by every build.
const MAX_BYTES: usize = 256 << 10;

impl RegistryCache {
    pub(super) fn fetch_documents(&self, name: &ContentHash) -> Result<Vec<Vec<u8>>, CacheError> {
        let Some(bytes) = self.manifest(&tag(name))? else { return Ok(Vec::new()) };
        // Anything else under the tag is no hint.
        let Ok(mut manifest) = manifest::image_manifest(&bytes) else { return Ok(Vec::new()) };
        let document = |number| manifest.annotations.remove(&format!("{DOCUMENT}{number}")).map(String::into_bytes);
        Ok((0..MAX_DOCUMENTS).map_while(document).collect())
    }

    /// Those that are too long are not saved.
    pub(super) fn push_documents(&self, name: &ContentHash, documents: &[Vec<u8>]) -> Result<(), CacheError> {
        let texts: Result<Vec<&str>, _> = documents.iter().map(|bytes| std::str::from_utf8(bytes)).collect();
        let Ok(texts) = texts else { return Ok(()) };
        if texts.len() > MAX_DOCUMENTS || texts.iter().map(|text| text.len()).sum::<usize>() > MAX_BYTES {
            return Ok(());
        }
        self.require_on()?;
        self.push_manifest(&tag(name), |form| {
            let mut packed = manifest::pack(media_type::BASE, [].into_iter(), Vec::new(), form);
            let named =
                texts.iter().enumerate().map(|(number, text)| (format!("{DOCUMENT}{number}"), (*text).to_owned()));
            packed.manifest.annotations.extend(named);
            packed
        })
    }
}

fn tag(name: &ContentHash) -> String {
    format!("{PREFIX}{name}")
}
