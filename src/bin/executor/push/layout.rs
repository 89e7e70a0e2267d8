//! OCI image layouts.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use yadokari::digest::Digest;
use yadokari::image::{self, Descriptor};
use yadokari::store::{Access, Store};

use super::{Blob, Document, PushError, Stored, unusable};

/// Larger documents are not read, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;
/// Indexes may hold indexes, this deep.
const MAX_DEPTH: usize = 4;

/// The one image or index of the layout.
pub(super) fn open(path: &Path) -> Result<Stored, PushError> {
    let failed = |source| PushError::Layout { path: path.into(), source };
    if !path.join("index.json").is_file() {
        return Err(unusable(path, "it has no index.json"));
    }
    let store = Arc::new(Store::open(path, Access::ReadOnly).map_err(failed)?);
    let images = store.images().map_err(failed)?;
    let [(_, image)] = images.as_slice() else {
        return Err(unusable(path, format!("index.json has {} images, not one", images.len())));
    };
    let mut walk = Walk { path, store, blobs: BTreeMap::new(), documents: Vec::new() };
    let root = walk.document(image, 0)?;
    let Walk { store, blobs, documents, .. } = walk;
    let stored = |blob: Descriptor| -> (Descriptor, Box<dyn Blob>) {
        (blob.clone(), Box::new(StoredBlob { store: Arc::clone(&store), blob }))
    };
    Ok(Stored { blobs: blobs.into_values().map(stored).collect(), below: documents, root })
}

struct StoredBlob {
    store: Arc<Store>,
    blob: Descriptor,
}

impl Blob for StoredBlob {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let found = self.store.open_verified(&self.blob).map_err(io::Error::other)?;
        Ok(Box::new(found.ok_or_else(|| io::Error::other(format!("the layout lacks {}", self.blob.digest)))?))
    }
}

struct Walk<'a> {
    path: &'a Path,
    store: Arc<Store>,
    blobs: BTreeMap<Digest, Descriptor>,
    documents: Vec<Document>,
}

impl Walk<'_> {
    /// Reads a document; takes note of all that it names.
    fn document(&mut self, descriptor: &Descriptor, depth: usize) -> Result<Document, PushError> {
        let digest = &descriptor.digest;
        let bytes = self.store.read_blob(digest, MAX_DOCUMENT);
        let bytes = bytes.map_err(|source| PushError::Layout { path: self.path.into(), source })?;
        let bytes = bytes.ok_or_else(|| unusable(self.path, format!("blob {digest} is missing or damaged")))?;
        let parsed = image::Document::parse(&bytes, Some(&descriptor.media_type));
        match parsed.map_err(|error| unusable(self.path, format!("blob {digest}: {error}")))? {
            image::Document::Manifest(manifest) => {
                for blob in manifest.layers.into_iter().chain([manifest.config]) {
                    self.blobs.insert(blob.digest.clone(), blob);
                }
            }
            image::Document::Index(_) if depth == MAX_DEPTH => {
                return Err(unusable(self.path, format!("indexes nested deeper than {MAX_DEPTH}")));
            }
            image::Document::Index(index) => {
                for entry in &index.manifests {
                    let below = self.document(entry, depth + 1)?;
                    self.documents.push(below);
                }
            }
        }
        Ok(Document { media_type: descriptor.media_type.clone(), bytes })
    }
}
