//! What a store holds, listed from its files alone.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, Metadata};
use std::path::Path;
use std::time::SystemTime;

use super::layout::read_small;
use super::{MAX_TOC_BYTES, Record, Store, StoreError};
use crate::digest::{Algorithm, Digest};
use crate::image::{Descriptor, Document, ImageConfig, Index};
use crate::key::CacheKey;

/// Manifests and configurations beyond this are not read, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;

/// Largest descriptor file of a table of contents, in bytes.
pub(super) const MAX_DESCRIPTOR: u64 = 64 << 10;

/// A record, and since when nobody wanted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The key that it is stored under: one of its own.
    pub key: CacheKey,
    /// The record.
    pub record: Record,
    /// Last use, exact to an hour.
    pub used: SystemTime,
    /// Of its file.
    pub bytes: u64,
}

/// A blob file; its bytes are not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlob {
    /// What its name says.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Last use, exact to an hour.
    pub used: SystemTime,
}

/// An extracted layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLayer {
    /// Name of its directory.
    pub id: String,
    /// Last use, exact to an hour.
    pub used: SystemTime,
    /// Sum of its files, in bytes.
    pub bytes: u64,
}

/// The table of contents of a layer that no record names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredToc {
    /// The hex of its layer's diff ID.
    pub(super) name: String,
    /// Its blob; `None` when the file is damaged.
    pub(super) blob: Option<Descriptor>,
    pub(super) used: SystemTime,
}

/// A named image, and what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredImage {
    /// As `index.json` has it.
    pub(super) descriptor: Descriptor,
    /// All blobs of it that could be found out.
    pub(super) blobs: Vec<Descriptor>,
    /// The hexes of its layers' diff IDs.
    pub(super) diff_ids: BTreeSet<String>,
}

/// Numbers about a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Record files that can be read.
    pub records: usize,
    /// Different layers that they name.
    pub layers: usize,
    /// Blob files.
    pub blobs: usize,
    /// Bytes of all blobs.
    pub blob_bytes: u64,
    /// Blobs that nothing names.
    pub unreferenced: usize,
    /// Their bytes.
    pub unreferenced_bytes: u64,
    /// Named images.
    pub images: usize,
    /// Extracted layers.
    pub extracted: usize,
    /// Their bytes.
    pub extracted_bytes: u64,
    /// Time that the steps of all records took, in milliseconds: what a hit on each would save.
    pub duration_ms: u64,
    /// Builds that run on it now.
    pub builds: usize,
}

impl Store {
    /// Every record that can be read, in the order of keys; one under two keys comes twice.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the records cannot be listed.
    pub fn list_records(&self) -> Result<Vec<StoredRecord>, StoreError> {
        let mut records = Vec::new();
        for (entry, metadata) in files(&self.layout.records())? {
            let Some(key) = entry.file_name().to_str().and_then(|name| name.parse::<CacheKey>().ok()) else { continue };
            if let Ok(Some(record)) = self.record(&key) {
                records.push(StoredRecord { key, record, used: time(&metadata), bytes: metadata.len() });
            }
        }
        records.sort_unstable_by_key(|record| record.key);
        Ok(records)
    }

    /// Every blob file, in the order of digests.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn list_blobs(&self) -> Result<Vec<StoredBlob>, StoreError> {
        let mut blobs = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.layout.directory.join("blobs").join(algorithm.name());
            for (entry, metadata) in files(&directory)? {
                let name = entry.file_name().to_string_lossy().into_owned();
                if let Ok(digest) = format!("{}:{name}", algorithm.name()).parse() {
                    blobs.push(StoredBlob { digest, size: metadata.len(), used: time(&metadata) });
                }
            }
        }
        blobs.sort_unstable_by(|a, b| a.digest.cmp(&b.digest));
        Ok(blobs)
    }

    /// Every extracted layer, in the order of names.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn list_layers(&self) -> Result<Vec<StoredLayer>, StoreError> {
        let mut layers = Vec::new();
        let directory = self.layout.layers();
        for entry in entries(&directory)? {
            let Some(id) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let noted = fs::metadata(self.layout.layer_use(&id)).map(|m| time(&m)).ok();
            let used = noted.or_else(|| changed(&entry)).unwrap_or_else(SystemTime::now);
            layers.push(StoredLayer { bytes: tree_bytes(&entry.path()), used, id });
        }
        layers.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(layers)
    }

    /// Numbers about the store.
    ///
    /// # Errors
    /// [`StoreError::Io`] and [`StoreError::ImageIndex`].
    pub fn holdings(&self) -> Result<Holdings, StoreError> {
        let (records, blobs, layers) = (self.list_records()?, self.list_blobs()?, self.list_layers()?);
        let images = self.list_images()?;
        let named = self.named_blobs(&records, &self.list_tocs()?, &images);
        let unreferenced = blobs.iter().filter(|blob| !named.contains(&blob.digest));
        let diff_ids: BTreeSet<_> =
            records.iter().flat_map(|r| &r.record.layers).map(|layer| layer.diff_id.clone()).collect();
        // A step is under two keys, and a stage sums up its steps.
        let steps = records.iter().filter(|stored| stored.key == stored.record.key);
        Ok(Holdings {
            records: records.len(),
            layers: diff_ids.len(),
            blobs: blobs.len(),
            blob_bytes: blobs.iter().map(|blob| blob.size).sum(),
            unreferenced: unreferenced.clone().count(),
            unreferenced_bytes: unreferenced.map(|blob| blob.size).sum(),
            images: images.len(),
            extracted: layers.len(),
            extracted_bytes: layers.iter().map(|layer| layer.bytes).sum(),
            duration_ms: steps.map(|stored| stored.record.duration_ms).fold(0, u64::saturating_add),
            builds: self.layout.holders(super::usage::BUILD).len(),
        })
    }

    pub(super) fn list_tocs(&self) -> Result<Vec<StoredToc>, StoreError> {
        let listed = files(&self.layout.directory.join("tocs"))?;
        let toc = |(entry, metadata): (DirEntry, Metadata)| {
            let bytes = read_small(&entry.path(), MAX_DESCRIPTOR).ok().flatten().unwrap_or_default();
            let blob: Option<Descriptor> = serde_json::from_slice(&bytes).ok();
            let blob = blob.filter(|blob| blob.size <= MAX_TOC_BYTES);
            StoredToc { name: entry.file_name().to_string_lossy().into_owned(), blob, used: time(&metadata) }
        };
        Ok(listed.into_iter().map(toc).collect())
    }

    /// Every named image with what it needs, as far as its documents can be read.
    pub(super) fn list_images(&self) -> Result<Vec<StoredImage>, StoreError> {
        let Index { manifests, .. } = self.image_index()?;
        let image = |descriptor: Descriptor| {
            let mut image = StoredImage { blobs: Vec::new(), diff_ids: BTreeSet::new(), descriptor };
            let root = image.descriptor.clone();
            self.add_document(&root, &mut image, 0);
            image
        };
        Ok(manifests.into_iter().map(image).collect())
    }

    fn add_document(&self, descriptor: &Descriptor, image: &mut StoredImage, depth: usize) {
        image.blobs.push(descriptor.clone());
        let Ok(Some(bytes)) = self.read_blob_unused(&descriptor.digest, MAX_DOCUMENT) else { return };
        match Document::parse(&bytes, Some(&descriptor.media_type)) {
            Ok(Document::Index(index)) if depth < 2 => {
                // Of an index only the platforms that were fetched are here.
                let here = index.manifests.iter().filter(|manifest| self.has(manifest));
                here.for_each(|manifest| self.add_document(manifest, image, depth + 1));
            }
            Ok(Document::Manifest(manifest)) => {
                image.blobs.push(manifest.config.clone());
                image.blobs.extend(manifest.layers);
                let config = self.read_blob_unused(&manifest.config.digest, MAX_DOCUMENT).ok().flatten();
                let config = config.and_then(|bytes| serde_json::from_slice::<ImageConfig>(&bytes).ok());
                let diff_ids = config.map(|config| config.rootfs.diff_ids).unwrap_or_default();
                image.diff_ids.extend(diff_ids.iter().map(|diff_id| diff_id.0.hex().to_owned()));
            }
            _ => {}
        }
    }

    /// The digests that something in the store names.
    pub(super) fn named_blobs(
        &self,
        records: &[StoredRecord],
        tocs: &[StoredToc],
        images: &[StoredImage],
    ) -> BTreeSet<Digest> {
        let of_records = records.iter().flat_map(|stored| stored.record.blobs());
        let of_tocs = tocs.iter().filter_map(|toc| toc.blob.as_ref());
        let of_images = images.iter().flat_map(|image| &image.blobs);
        of_records.chain(of_tocs).chain(of_images).map(|blob| blob.digest.clone()).collect()
    }
}

fn entries(directory: &Path) -> Result<Vec<DirEntry>, StoreError> {
    match fs::read_dir(directory) {
        Ok(entries) => Ok(entries.flatten().collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(StoreError::io("list", directory)(e)),
    }
}

/// The files of a directory; what vanishes meanwhile is left out.
pub(super) fn files(directory: &Path) -> Result<Vec<(DirEntry, Metadata)>, StoreError> {
    let with_metadata = |entry: DirEntry| entry.metadata().ok().filter(Metadata::is_file).map(|m| (entry, m));
    Ok(entries(directory)?.into_iter().filter_map(with_metadata).collect())
}

pub(super) fn time(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// When a directory got its name, where its own time is that of its contents.
fn changed(entry: &DirEntry) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    let seconds = u64::try_from(entry.metadata().ok()?.ctime()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))
}

/// Sum of the files below, links not followed.
fn tree_bytes(directory: &Path) -> u64 {
    let mut sum = 0_u64;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => sum = sum.saturating_add(tree_bytes(&entry.path())),
            Ok(metadata) if metadata.is_file() => sum = sum.saturating_add(metadata.len()),
            _ => {}
        }
    }
    sum
}
