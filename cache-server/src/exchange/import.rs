use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use futures_util::FutureExt as _;
use serde::Deserialize;
use yadokari::digest::Digest;

use super::archive::{Layout, Place};
use super::{ExchangeError, PINNED_UNTIL, REF_NAME, REPOSITORY};
use crate::document::Document;
use crate::hasher::Hasher;
use crate::name::{Reference, RepositoryName, Tag};
use crate::storage::{Appending, MAX_MANIFEST_BYTES, NewManifest, Put, PutIf, Storage, StorageError};

/// Read and written at a time.
const CHUNK_BYTES: u64 = 1 << 20;
/// Indexes of indexes of …
const MAX_DEPTH: usize = 8;

/// What came of an archive.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Imported {
    pub(crate) manifests: u64,
    /// That were not here.
    pub(crate) blobs: u64,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: Digest,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Stores what the archive `file`, which is at `path`, names; what has no name of a repository goes
/// to `fallback`. Every digest is checked. What was stored before a failure stays.
///
/// # Errors
/// See [`ExchangeError`].
pub(crate) fn import(
    storage: &Storage,
    file: File,
    path: &Path,
    fallback: Option<&RepositoryName>,
) -> Result<Imported, ExchangeError> {
    let layout = Layout::open(file, path)?;
    let index: Index = serde_json::from_slice(&layout.index()?).map_err(ExchangeError::Index)?;
    let mut import = Import { storage, layout, done: HashSet::new(), imported: Imported::default() };
    for entry in &index.manifests {
        let (repository, tag) = name_of(entry, fallback)?;
        import.manifest(&repository, entry, 0)?;
        import.name(&repository, entry, tag.as_ref())?;
    }
    Ok(import.imported)
}

/// Where an entry belongs.
fn name_of(entry: &Entry, fallback: Option<&RepositoryName>) -> Result<(RepositoryName, Option<Tag>), ExchangeError> {
    let invalid = |name: &String| ExchangeError::Name(name.clone());
    if let Some(name) = entry.annotations.get(REPOSITORY) {
        return Ok((name.parse().map_err(|_| invalid(name))?, None));
    }
    let named = entry.annotations.get(REF_NAME);
    let (repository, tag) = match named.and_then(|name| name.rsplit_once(':')) {
        Some((repository, tag)) => (Some(repository.parse().map_err(|_| invalid(&repository.to_owned()))?), Some(tag)),
        None => (None, named.map(String::as_str)),
    };
    let tag = tag.map(|tag| tag.parse().map_err(|_| invalid(&tag.to_owned()))).transpose()?;
    let repository = repository.or_else(|| fallback.cloned());
    Ok((repository.ok_or_else(|| ExchangeError::Unnamed(entry.digest.clone()))?, tag))
}

struct Import<'a> {
    storage: &'a Storage,
    layout: Layout,
    /// Manifests that were stored.
    done: HashSet<(RepositoryName, Digest)>,
    imported: Imported,
}

impl Import<'_> {
    /// Stores a manifest, and before it all that it names.
    fn manifest(&mut self, repository: &RepositoryName, entry: &Entry, depth: usize) -> Result<(), ExchangeError> {
        if depth > MAX_DEPTH {
            return Err(ExchangeError::Depth(entry.digest.clone()));
        }
        if !self.done.insert((repository.clone(), entry.digest.clone())) {
            return Ok(());
        }
        let (bytes, document) = self.document(&entry.digest, &entry.media_type)?;
        for child in &document.children {
            self.child(repository, child, &bytes, depth)?;
        }
        for blob in &document.blobs {
            self.blob(repository, blob)?;
        }
        let manifest = NewManifest { digest: entry.digest.clone(), bytes, document };
        match self.storage.put_manifest(repository, &manifest, &[], PutIf::Whole)? {
            Put::Lacking(lacking) => Err(ExchangeError::Lacking(lacking.first().unwrap_or(&entry.digest).clone())),
            Put::Stored | Put::Exists(_) => {
                self.imported.manifests += 1;
                Ok(())
            }
        }
    }

    /// An index names manifests, but also blobs: BuildKit's cache does.
    fn child(
        &mut self,
        repository: &RepositoryName,
        child: &Digest,
        parent: &[u8],
        depth: usize,
    ) -> Result<(), ExchangeError> {
        let index: Index = serde_json::from_slice(parent).map_err(ExchangeError::Index)?;
        let entry = index.manifests.into_iter().find(|entry| entry.digest == *child);
        match entry {
            Some(entry) if self.document(child, &entry.media_type).is_ok() => {
                self.manifest(repository, &entry, depth + 1)
            }
            _ => self.blob(repository, child),
        }
    }

    fn document(&self, digest: &Digest, media_type: &str) -> Result<(Vec<u8>, Document), ExchangeError> {
        let place = self.layout.place(digest).ok_or_else(|| ExchangeError::Lacking(digest.clone()))?;
        if place.size > MAX_MANIFEST_BYTES {
            return Err(ExchangeError::TooLarge { digest: digest.clone(), size: place.size });
        }
        let bytes = self.layout.read(place, 0, place.size)?;
        let actual = Hasher::digest(digest.algorithm(), &bytes);
        if actual != *digest {
            return Err(ExchangeError::Digest { named: digest.clone(), actual });
        }
        let document = Document::parse(&bytes, Some(media_type));
        let document = document.map_err(|cause| ExchangeError::Document { digest: digest.clone(), cause })?;
        Ok((bytes, document))
    }

    /// Makes a blob part of `repository`.
    fn blob(&mut self, repository: &RepositoryName, digest: &Digest) -> Result<(), ExchangeError> {
        let is_here = self.storage.blob_size(repository, digest)?.is_some();
        if is_here || self.storage.mount_blob(repository, None, digest)? {
            return Ok(());
        }
        let place = self.layout.place(digest).ok_or_else(|| ExchangeError::Lacking(digest.clone()))?;
        let mut upload = self.upload(repository, digest)?;
        if let Err(failure) = self.pour(place, &mut upload) {
            self.storage.abandon_upload(upload)?;
            return Err(failure);
        }
        let actual = self.storage.finish_upload(upload, repository, digest)?;
        if actual != *digest {
            return Err(ExchangeError::Digest { named: digest.clone(), actual });
        }
        self.imported.blobs += 1;
        Ok(())
    }

    fn upload(&self, repository: &RepositoryName, digest: &Digest) -> Result<Appending, ExchangeError> {
        // Nobody else knows of it: nobody waits for it.
        let begun = self.storage.begin_upload(repository, digest.algorithm()).now_or_never();
        Ok(begun.ok_or(ExchangeError::Missing("upload session"))??)
    }

    fn pour(&self, place: Place, upload: &mut Appending) -> Result<(), ExchangeError> {
        self.storage.reserve(upload, place.size)?;
        let mut done = 0;
        while done < place.size {
            let length = (place.size - done).min(CHUNK_BYTES);
            upload.write(&[Bytes::from(self.layout.read(place, done, length)?)])?;
            done += length;
        }
        Ok(())
    }

    /// Gives a manifest its tag and its pin.
    fn name(&self, repository: &RepositoryName, entry: &Entry, tag: Option<&Tag>) -> Result<(), StorageError> {
        let reference = Reference::Digest(entry.digest.clone());
        if let (Some(tag), Some((head, bytes))) = (tag, self.storage.manifest(repository, &reference)?)
            && let Ok(document) = Document::parse(&bytes, Some(&head.media_type))
        {
            let manifest = NewManifest { digest: head.digest, bytes: bytes.to_vec(), document };
            self.storage.put_manifest(repository, &manifest, std::slice::from_ref(tag), PutIf::Whole)?;
        }
        let until = entry.annotations.get(PINNED_UNTIL).and_then(|text| text.parse().ok());
        if let Some(until) = until {
            self.storage.pin(repository, &reference, until)?;
        }
        Ok(())
    }
}
