use std::fs::{File, OpenOptions};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::layout::read_small;
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::image::{Descriptor, Index, Platform, media_type};

/// The annotation by which skopeo and others find an image in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation with the digest that the registry had under the image's name: that of an index,
/// where there is one.
pub const SOURCE: &str = "dev.yadokari.source";
/// When [`Store::set_named_image`] was called, seconds since the epoch.
const MODIFIED: &str = "dev.yadokari.modified";

const MAX_INDEX_BYTES: u64 = 64 << 20;

impl Store {
    /// The image that was stored under `name` for `platform` (the first one when `None`), and
    /// when. An entry without a platform suits every platform that no other entry suits.
    /// Its blobs are not checked.
    ///
    /// # Errors
    /// [`StoreError::ImageIndex`] and [`StoreError::Io`].
    pub fn named_image(
        &self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<Option<(Descriptor, SystemTime)>, StoreError> {
        let index = self.image_index()?;
        let rank = |d: &Descriptor| match (platform, &d.platform) {
            (Some(wanted), Some(offered)) => wanted.rank(offered),
            (Some(_), None) => Some(u32::MAX),
            (None, _) => Some(0),
        };
        let named = index.manifests.into_iter().filter(|d| has_name(d, name));
        let best = named.filter_map(|d| rank(&d).map(|r| (r, d))).min_by_key(|(rank, _)| *rank);
        Ok(best.map(|(_, descriptor)| self.without_annotations(descriptor)))
    }

    /// The image that `digest` means for `platform`, whatever its name: one with that manifest, else
    /// one that came from the index with that digest. Its blobs are not checked.
    ///
    /// # Errors
    /// [`StoreError::ImageIndex`] and [`StoreError::Io`].
    pub fn image_of_digest(&self, digest: &Digest, platform: &Platform) -> Result<Option<Descriptor>, StoreError> {
        let index = self.image_index()?;
        if let Some(exact) = index.manifests.iter().find(|image| image.digest == *digest) {
            return Ok(Some(exact.clone()));
        }
        let source = digest.to_string();
        let of_source = index.manifests.into_iter().filter(|image| image.annotations.get(SOURCE) == Some(&source));
        let rank = |image: &Descriptor| image.platform.as_ref().and_then(|offered| platform.rank(offered));
        Ok(of_source
            .filter_map(|image| rank(&image).map(|rank| (rank, image)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, i)| i))
    }

    /// Stores `image` (a manifest or an index, whose blob must be stored) under `name`. It
    /// replaces the one of that name and platform; without a platform, all of that name.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`]; [`StoreError::ImageIndex`] when another program damaged
    /// `index.json`; [`StoreError::ReadOnly`], [`StoreError::Io`] and [`StoreError::DiskFull`].
    pub fn set_named_image(&self, name: &str, image: &Descriptor) -> Result<(), StoreError> {
        let what = format!("image name {name}");
        self.require_writable(&what)?;
        self.require_blob(&what, image)?;
        let _lock = self.lock_image_index()?;
        let mut index = self.image_index()?;
        let replaced = |old: &Descriptor| {
            has_name(old, name)
                && (image.platform.is_none() || old.platform.is_none() || old.platform == image.platform)
        };
        index.manifests.retain(|old| !replaced(old));
        index.manifests.push(with_annotations(image, name));
        self.layout.write_file(&what, &self.layout.image_index(), &index.to_bytes())
    }

    /// All images and indexes that `index.json` has, with their names, in its order. Their blobs
    /// are not checked.
    ///
    /// # Errors
    /// [`StoreError::ImageIndex`] and [`StoreError::Io`].
    pub fn images(&self) -> Result<Vec<(Option<String>, Descriptor)>, StoreError> {
        let images = self.image_index()?.manifests.into_iter();
        Ok(images.map(|image| (image.annotations.get(NAME).cloned(), image)).collect())
    }

    pub(super) fn image_index(&self) -> Result<Index, StoreError> {
        let path = self.layout.image_index();
        match read_small(&path, MAX_INDEX_BYTES)? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|source| StoreError::ImageIndex { path, source }),
            None => Ok(Index {
                schema_version: 2,
                media_type: Some(media_type::OCI_INDEX.into()),
                manifests: Vec::new(),
                annotations: Default::default(),
            }),
        }
    }

    /// The images that have a name: their entries, with when each was stored. Oldest first.
    ///
    /// # Errors
    /// [`StoreError::ImageIndex`] and [`StoreError::Io`].
    pub fn named_images(&self) -> Result<Vec<(String, Descriptor, SystemTime)>, StoreError> {
        let index = self.image_index()?;
        let mut images: Vec<_> = index
            .manifests
            .into_iter()
            .filter_map(|image| {
                let name = name_of(&image)?;
                let (descriptor, since) = self.without_annotations(image);
                Some((name, descriptor, since))
            })
            .collect();
        images.sort_by_key(|(_, _, since)| *since);
        Ok(images)
    }

    /// Takes the name of an image away, as [`Store::named_images`] gave it. Its blobs stay until nothing
    /// needs them.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`], [`StoreError::ImageIndex`], [`StoreError::Io`] and [`StoreError::DiskFull`].
    pub fn forget_image(&self, name: &str, image: &Descriptor) -> Result<(), StoreError> {
        self.require_writable("the image index")?;
        let is_it = |entry: &Descriptor| {
            has_name(entry, name) && entry.digest == image.digest && entry.platform == image.platform
        };
        self.forget_images(&is_it)
    }

    /// Takes the names of images away; their blobs stay.
    pub(super) fn forget_images(&self, unwanted: &dyn Fn(&Descriptor) -> bool) -> Result<(), StoreError> {
        let _lock = self.lock_image_index()?;
        let mut index = self.image_index()?;
        index.manifests.retain(|image| !unwanted(image));
        self.layout.write_file("the image index", &self.layout.image_index(), &index.to_bytes())
    }

    /// Waits until no other process, and no other thread, changes `index.json`; closing unlocks.
    fn lock_image_index(&self) -> Result<File, StoreError> {
        let path = self.layout.directory.join("index.json.lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(StoreError::write("a lock", &path))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|e| StoreError::io("lock", &path)(e.into()))?;
        Ok(file)
    }

    fn without_annotations(&self, mut descriptor: Descriptor) -> (Descriptor, SystemTime) {
        descriptor.annotations.remove(NAME);
        let seconds = descriptor.annotations.remove(MODIFIED).and_then(|text| text.parse().ok());
        let modified = match seconds {
            Some(seconds) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)),
            // Another program stored it: not later than the index was last written.
            None => self.layout.image_index().metadata().and_then(|m| m.modified()).ok(),
        };
        (descriptor, modified.unwrap_or(SystemTime::UNIX_EPOCH))
    }
}

/// The name of an entry of `index.json`.
pub(super) fn name_of(descriptor: &Descriptor) -> Option<String> {
    descriptor.annotations.get(NAME).cloned()
}

fn has_name(descriptor: &Descriptor, name: &str) -> bool {
    descriptor.annotations.get(NAME).is_some_and(|n| n == name)
}

fn with_annotations(image: &Descriptor, name: &str) -> Descriptor {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut descriptor = image.clone();
    descriptor.annotations.insert(NAME.into(), name.into());
    descriptor.annotations.insert(MODIFIED.into(), seconds.to_string());
    descriptor
}
