//! Cache mounts of RUN in a cache repository: one manifest each, with the files as its layer.

use std::collections::BTreeMap;
use std::path::Path;

use super::manifest::{self, CREATED, DIFF_ID};
use super::{CacheError, RegistryCache};
use crate::causes::chain;
use crate::digest::{ContentHash, DiffId};
use crate::image::{Descriptor, Manifest, media_type};

/// Holds [`SavedMount::listing`].
const LISTING: &str = "dev.yadokari.mount.listing";
/// Holds [`SavedMount::id`].
const ID: &str = "dev.yadokari.mount.id";

/// A cache mount as a cache repository has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedMount {
    /// The identity that the Dockerfile gives it, for people who look at the repository.
    pub id: String,
    /// The compressed tar of its files.
    pub blob: Descriptor,
    /// Of the uncompressed tar.
    pub diff_id: DiffId,
    /// Of paths, kinds, sizes, modes, owners and times: the same one means that nothing changed.
    pub listing: ContentHash,
    /// Seconds since the epoch.
    pub created: i64,
}

/// The tag that a mount of that name is saved under.
pub fn mount_tag(name: &ContentHash) -> String {
    format!("mount-{name}")
}

impl RegistryCache {
    /// What is saved under that name; its files are not looked at.
    ///
    /// # Errors
    /// [`CacheError::NoMount`] for something else under its tag, and faults of the registry.
    pub fn mount(&self, name: &ContentHash) -> Result<Option<SavedMount>, CacheError> {
        self.require_on()?;
        let tag = mount_tag(name);
        let Some(bytes) = self.counted(self.manifest(&tag))? else { return Ok(None) };
        let unusable = |reason: String| CacheError::NoMount { tag: tag.clone(), repository: self.name(), reason };
        let manifest = manifest::image_manifest(&bytes).map_err(|error| unusable(chain(&error)))?;
        unpack(manifest).map(Some).map_err(|reason| unusable(reason.to_owned()))
    }

    /// Saves a mount whose compressed tar is in `file`, in the place of what is there.
    ///
    /// # Errors
    /// [`CacheError`]; what was there before stays then.
    pub fn save_mount(&self, name: &ContentHash, mount: &SavedMount, file: &Path) -> Result<(), CacheError> {
        self.require_on()?;
        let pack = |form| {
            let diff_ids = vec![mount.diff_id.clone()];
            let mut packed = manifest::pack(media_type::MOUNT, [&mount.blob].into_iter(), diff_ids, form);
            packed.manifest.annotations = annotations(mount);
            packed
        };
        let pushed = self.push_file(&mount.blob, file);
        self.counted(pushed.and_then(|()| self.push_manifest(&mount_tag(name), pack)))
    }
}

fn annotations(mount: &SavedMount) -> BTreeMap<String, String> {
    let created = jiff::Timestamp::from_second(mount.created).unwrap_or_default().to_string();
    let pairs = [(LISTING, mount.listing.to_string()), (ID, mount.id.clone()), (CREATED, created)];
    pairs.into_iter().chain([(DIFF_ID, mount.diff_id.to_string())]).map(|(name, value)| (name.into(), value)).collect()
}

fn unpack(manifest: Manifest) -> Result<SavedMount, &'static str> {
    let note = |name: &str| manifest.annotations.get(name).map(String::as_str);
    let listing = note(LISTING).and_then(|text| text.parse().ok()).ok_or("it does not list its files")?;
    let diff_id = note(DIFF_ID).and_then(|text| text.parse().ok()).map(DiffId).ok_or("it has no diff ID")?;
    let created = note(CREATED).and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let [layer] = manifest.layers.as_slice() else { return Err("it has not one layer") };
    Ok(SavedMount {
        id: note(ID).unwrap_or_default().to_owned(),
        blob: Descriptor::new(media_type::MOUNT_FILES, layer.digest.clone(), layer.size),
        diff_id,
        listing,
        created: created.map_or(0, jiff::Timestamp::as_second),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn saved() -> SavedMount {
        let blob = Descriptor::new(media_type::MOUNT_FILES, Digest::sha256(b"files"), 5);
        let (diff_id, listing) = (DiffId(Digest::sha256(b"tar")), ContentHash::of(b"listing"));
        SavedMount { id: "ns//cache".into(), blob, diff_id, listing, created: 1_700_000_000 }
    }

    #[test]
    fn both_forms_are_read_back_as_they_were_written() {
        for form in [manifest::Form::Artifact, manifest::Form::Image] {
            let mount = saved();
            let diff_ids = vec![mount.diff_id.clone()];
            let mut packed = manifest::pack(media_type::MOUNT, [&mount.blob].into_iter(), diff_ids, form);
            packed.manifest.annotations = annotations(&mount);
            let read = manifest::image_manifest(&packed.manifest.to_bytes()).expect("a manifest");
            assert_eq!(unpack(read), Ok(mount));
        }
    }

    #[test]
    fn what_is_no_mount_says_why() {
        let mount = saved();
        let form = manifest::Form::Artifact;
        let packed = manifest::pack(media_type::MOUNT, [&mount.blob].into_iter(), Vec::new(), form).manifest;
        assert_eq!(unpack(packed.clone()), Err("it does not list its files"));
        let annotated = Manifest { annotations: annotations(&mount), ..packed };
        assert_eq!(unpack(Manifest { layers: Vec::new(), ..annotated }), Err("it has not one layer"));
    }
}
