//! Whether everything that a store names is there, and is what its name says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::blob::VerifyingReader;
use super::inventory::{StoredImage, files};
use super::layout::read_small;
use super::{Record, RecordError, Store, StoreError};
use crate::causes::chain;
use crate::digest::Digest;
use crate::image::Descriptor;
use crate::key::CacheKey;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Records of this version.
    pub records: usize,
    /// Records of another version, which this one neither reads nor judges.
    pub foreign: usize,
    /// Blobs read.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Named images.
    pub images: usize,
    /// In the order of kinds and names.
    pub damage: Vec<Damage>,
}

/// Something that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What.
    pub what: Damaged,
    /// How.
    pub reason: String,
}

/// What can be damaged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damaged {
    /// A blob whose bytes are not those of its digest.
    Blob(Digest),
    /// The record file of this name.
    Record(String),
    /// The table of contents of the layer with this hex.
    Toc(String),
    /// A named image: its name, and its manifest.
    Image(String, Digest),
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)
    }
}

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Record(name) => write!(f, "record {name}"),
            Self::Toc(name) => write!(f, "table of contents of layer {name}"),
            Self::Image(name, digest) => write!(f, "image {name} ({digest})"),
        }
    }
}

/// The blobs of a store: bytes, or what is wrong.
type Blobs = BTreeMap<Digest, Result<u64, String>>;

impl Store {
    /// Reads every blob, and checks that each record, table of contents and named image has its
    /// blobs, whole. May be called while builds go on.
    ///
    /// # Errors
    /// [`StoreError::Io`] when a directory cannot be listed; [`StoreError::ImageIndex`].
    pub fn verify(&self) -> Result<Verification, StoreError> {
        let mut found = Verification::default();
        // Before the blobs: what is saved meanwhile names blobs that were not listed.
        let records = self.check_record_files(&mut found)?;
        let (tocs, images) = (self.list_tocs()?, self.list_images()?);
        let blobs = self.check_blobs()?;
        found.blobs = blobs.len();
        found.bytes = blobs.values().filter_map(|blob| blob.as_ref().ok()).sum();
        found.images = images.len();
        let damaged = blobs.iter().filter_map(|(digest, checked)| Some((digest, checked.as_ref().err()?)));
        found.damage.extend(damaged.map(|(d, reason)| damage(Damaged::Blob(d.clone()), reason.clone())));
        for (name, record) in &records {
            let missing = record.blobs().find_map(|blob| self.missing(blob, &blobs));
            found.damage.extend(missing.map(|reason| damage(Damaged::Record(name.clone()), reason)));
        }
        for toc in tocs {
            let reason = match &toc.blob {
                None => Some("it is no descriptor".into()),
                Some(blob) => self.missing(blob, &blobs),
            };
            found.damage.extend(reason.map(|reason| damage(Damaged::Toc(toc.name), reason)));
        }
        for image in &images {
            let missing = image.blobs.iter().find_map(|blob| self.missing(blob, &blobs));
            found.damage.extend(missing.map(|reason| damage(of_image(image), reason)));
        }
        found.damage.sort_by(|a, b| a.what.cmp(&b.what));
        Ok(found)
    }

    fn check_record_files(&self, found: &mut Verification) -> Result<Vec<(String, Record)>, StoreError> {
        let mut records = Vec::new();
        for (entry, _) in files(&self.layout.records())? {
            let name = entry.file_name().to_string_lossy().into_owned();
            let read = match (name.parse::<CacheKey>(), read_small(&entry.path(), Record::MAX_BYTES as u64)) {
                // Removed meanwhile.
                (_, Ok(None)) => continue,
                (Err(error), _) => Err(error.to_string()),
                (_, Err(error)) => Err(chain(&error)),
                (Ok(key), Ok(Some(bytes))) => match Record::from_bytes(&bytes, &key) {
                    Err(RecordError::Version(_)) => {
                        found.foreign += 1;
                        continue;
                    }
                    read => read.map_err(|error| chain(&error)),
                },
            };
            match read {
                Ok(record) => records.push((name, record)),
                Err(reason) => found.damage.push(damage(Damaged::Record(name), reason)),
            }
        }
        found.records = records.len();
        Ok(records)
    }

    /// Reads all blobs, on all processors.
    fn check_blobs(&self) -> Result<Blobs, StoreError> {
        let listed = self.list_blobs()?;
        let (next, checked) = (AtomicUsize::new(0), Mutex::new(Blobs::new()));
        let work = || {
            while let Some(blob) = listed.get(next.fetch_add(1, Ordering::Relaxed)) {
                let Some(result) = self.check_blob(&Descriptor::new("", blob.digest.clone(), blob.size)) else {
                    continue;
                };
                let mut checked = checked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                checked.insert(blob.digest.clone(), result);
            }
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            (0..threads).for_each(|_| drop(scope.spawn(work)));
        });
        Ok(checked.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Reads a blob to its end; `None` when it was removed meanwhile.
    fn check_blob(&self, blob: &Descriptor) -> Option<Result<u64, String>> {
        let file = match fs::File::open(self.blob_path(&blob.digest)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => return Some(Err(e.to_string())),
            Ok(file) => file,
        };
        let mut reader = VerifyingReader::new(file, blob);
        let mut buffer = vec![0; 1 << 18];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Some(Ok(blob.size)),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Some(Err(e.to_string())),
            }
        }
    }

    /// What is wrong with a blob that something names. Sizes are those of the digest's bytes, so
    /// a descriptor with another one is wrong itself.
    fn missing(&self, blob: &Descriptor, blobs: &Blobs) -> Option<String> {
        match blobs.get(&blob.digest) {
            Some(Ok(size)) if *size == blob.size => None,
            Some(Ok(size)) => Some(format!("it names {} bytes of blob {}, which has {size}", blob.size, blob.digest)),
            Some(Err(_)) => Some(format!("it needs blob {}, which is damaged", blob.digest)),
            // Written since the blobs were listed, for an image that was named before.
            None if self.has(blob) => None,
            None => Some(format!("it needs blob {}, which is not there", blob.digest)),
        }
    }

    /// Removes what is damaged, and what needs it; returns what could not be removed. What is gone
    /// is made or fetched anew.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`]; [`StoreError::ImageIndex`], [`StoreError::Io`] and
    /// [`StoreError::DiskFull`] when `index.json` cannot be changed.
    pub fn remove_damaged(&self, damage: &[Damage]) -> Result<Vec<Damage>, StoreError> {
        self.require_writable("a removal")?;
        let mut images = BTreeSet::new();
        let mut left = Vec::new();
        for damage in damage {
            let path = match &damage.what {
                Damaged::Blob(digest) => self.blob_path(digest),
                Damaged::Record(name) => self.layout.records().join(name),
                Damaged::Toc(name) => self.layout.directory.join("tocs").join(name),
                Damaged::Image(name, digest) => {
                    images.insert((name.clone(), digest.clone()));
                    continue;
                }
            };
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => left.push(damage.clone()),
                _ => {}
            }
        }
        if !images.is_empty() {
            self.forget_images(&|image| images.contains(&image_name(image)))?;
        }
        Ok(left)
    }
}

fn damage(what: Damaged, reason: String) -> Damage {
    Damage { what, reason }
}

fn of_image(image: &StoredImage) -> Damaged {
    let (name, digest) = image_name(&image.descriptor);
    Damaged::Image(name, digest)
}

fn image_name(descriptor: &Descriptor) -> (String, Digest) {
    (super::named::name_of(descriptor).unwrap_or_default(), descriptor.digest.clone())
}
