//! What Kaniko's warmer left in the directory: read, never written.
//!
//! | where | what | since |
//! |---|---|---|
//! | `sha256:<manifest hex>`, and the same with `.json` | a `docker load` archive, and the manifest as it was served | Kaniko 1.24 and before |
//! | `sha256:<manifest hex>/` | an OCI image layout | the fork's `FF_KANIKO_OCI_WARMER` |
//!
//! The archive has the configuration as `sha256:<hex>` and the layers, as they were served, as
//! `<hex>.tar.gz`.
//!
//! # Source
//! Kaniko `pkg/cache/warm.go`; go-containerregistry `pkg/v1/tarball/write.go`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::layout::read_small;
use super::{Store, StoreError};
use crate::digest::{Algorithm, Digest};
use crate::image::{Index, Reference};

/// Larger manifests, configurations and indexes are not read, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;

/// An archive with more members is not read further.
const MAX_MEMBERS: usize = 4096;

/// The annotation with the name of an image in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";

/// An image that Kaniko's warmer left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KanikoImage {
    /// Of its manifest.
    pub digest: Digest,
    /// The manifest, verified.
    pub manifest: Vec<u8>,
    /// What it was fetched as, where that can be told.
    pub names: Vec<Reference>,
    /// When it was fetched.
    pub modified: SystemTime,
}

/// Where blobs are.
#[derive(Debug, Default)]
pub(super) struct KanikoDirectory {
    images: Vec<KanikoImage>,
    /// `blobs` folders of layouts.
    folders: Vec<PathBuf>,
    /// Members of archives: offset and size.
    members: BTreeMap<Digest, (PathBuf, u64, u64)>,
}

impl Store {
    /// The images that Kaniko's warmer left in this directory, newest first. The directory is
    /// read once; what is damaged there gives a notice.
    pub fn kaniko_images(&self) -> &[KanikoImage] {
        &self.kaniko_directory().images
    }

    /// Opens a blob of one of those images. Its bytes are not checked.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open_kaniko_blob(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let directory = self.kaniko_directory();
        if let Some((path, offset, size)) = directory.members.get(digest) {
            return open_member(path, *offset, *size).map(Some).map_err(StoreError::io("open", path));
        }
        let name = format!("{}/{}", digest.algorithm().name(), digest.hex());
        for path in directory.folders.iter().map(|folder| folder.join(&name)) {
            match File::open(&path) {
                Ok(file) => return Ok(Some(Box::new(file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("open", &path)(error)),
            }
        }
        Ok(None)
    }

    /// A blob of at most 16 MiB of one of those images, verified; `None` also when it is damaged.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn read_kaniko_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(reader) = self.open_kaniko_blob(digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = reader.take(MAX_DOCUMENT).read_to_end(&mut bytes);
        read.map_err(StoreError::io("read a blob of Kaniko's in", self.directory()))?;
        Ok(is_of(&bytes, digest).then_some(bytes))
    }

    fn kaniko_directory(&self) -> &KanikoDirectory {
        self.kaniko.get_or_init(|| {
            let mut found = KanikoDirectory::default();
            for entry in fs::read_dir(self.directory()).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let Some(digest) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
                if let Err(error) = found.add(digest, &entry.path()) {
                    self.notice(format!("{}, of Kaniko's warmer, is not used: {error}", entry.path().display()));
                }
            }
            found.images.sort_by_key(|image| std::cmp::Reverse(image.modified));
            found
        })
    }
}

impl KanikoDirectory {
    fn add(&mut self, digest: Digest, path: &Path) -> io::Result<()> {
        let modified = path.metadata()?.modified()?;
        let (manifest, names) = if path.is_dir() { self.add_layout(&digest, path)? } else { self.add_archive(path)? };
        if !is_of(&manifest, &digest) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its manifest has another digest"));
        }
        self.images.push(KanikoImage { digest, manifest, names, modified });
        Ok(())
    }

    fn add_layout(&mut self, digest: &Digest, path: &Path) -> io::Result<(Vec<u8>, Vec<Reference>)> {
        let folder = path.join("blobs");
        let manifest = document(&folder.join(digest.algorithm().name()).join(digest.hex()))?;
        let index: Index = serde_json::from_slice(&document(&path.join("index.json"))?)?;
        let named = index.manifests.iter().filter_map(|entry| entry.annotations.get(NAME));
        let names = named.filter_map(|name| name.parse().ok()).collect();
        self.folders.push(folder);
        Ok((manifest, names))
    }

    fn add_archive(&mut self, path: &Path) -> io::Result<(Vec<u8>, Vec<Reference>)> {
        let mut json = path.as_os_str().to_owned();
        json.push(".json");
        let manifest = document(Path::new(&json))?;
        let mut names = Vec::new();
        let mut archive = tar::Archive::new(File::open(path)?);
        for member in archive.entries_with_seek()?.take(MAX_MEMBERS) {
            let mut member = member?;
            let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
            if name == "manifest.json" {
                names = repository_tags(&mut member)?;
            } else if let Some(digest) = member_digest(&name) {
                self.members.insert(digest, (path.to_owned(), member.raw_file_position(), member.size()));
            }
        }
        Ok((manifest, names))
    }
}

/// `sha256:<hex>` is a configuration, `<hex>.tar.gz` a layer.
fn member_digest(name: &str) -> Option<Digest> {
    match name.strip_suffix(".tar.gz") {
        Some(hex) => format!("{}:{hex}", Algorithm::Sha256.name()).parse().ok(),
        None => name.parse().ok(),
    }
}

fn repository_tags(manifest: &mut impl Read) -> io::Result<Vec<Reference>> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Item {
        #[serde(default)]
        repo_tags: Vec<String>,
    }
    let items: Vec<Item> = serde_json::from_reader(manifest.take(MAX_DOCUMENT))?;
    Ok(items.iter().flat_map(|item| &item.repo_tags).filter_map(|name| name.parse().ok()).collect())
}

fn document(path: &Path) -> io::Result<Vec<u8>> {
    match read_small(path, MAX_DOCUMENT) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(io::ErrorKind::NotFound.into()),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn open_member(path: &Path, offset: u64, size: u64) -> io::Result<Box<dyn Read + Send>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(Box::new(file.take(size)))
}

fn is_of(bytes: &[u8], digest: &Digest) -> bool {
    digest.algorithm() == Algorithm::Sha256 && Digest::sha256(bytes) == *digest
}
