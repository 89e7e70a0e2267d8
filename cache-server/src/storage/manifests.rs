use bytes::Bytes;
use serde::{Deserialize, Serialize};
use yadokari::digest::Digest;
use yadokari::image::Descriptor;

use super::{Storage, StorageError, durable};
use crate::document::Document;
use crate::name::{Reference, RepositoryName, Tag};

/// Larger manifests are refused. Others stop at 4 MiB; clients rely on that much.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 8 << 20;
const MAX_RECORD_BYTES: u64 = 64 << 10;

/// What is known of a manifest without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ManifestHead {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    /// Bytes.
    pub(crate) size: u64,
}

/// A manifest on its way into a repository; `digest` was checked against `bytes`.
#[derive(Debug)]
pub(crate) struct NewManifest {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) document: Document,
}

/// What makes a manifest part of a repository.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Digest>,
}

impl Storage {
    /// Type and size of a manifest of `repository`.
    pub(crate) fn manifest_head(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ManifestHead>, StorageError> {
        let Some((digest, record)) = self.find_manifest(repository, reference)? else { return Ok(None) };
        let size = self.content_size(&digest)?;
        Ok(size.map(|size| ManifestHead { digest, media_type: record.media_type, size }))
    }

    /// A manifest that is in memory, as [`Storage::manifest`] would read it. Does not block.
    pub(crate) fn hot_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Option<(ManifestHead, Bytes)> {
        self.hot.get(repository, reference)
    }

    /// A manifest of `repository`, byte for byte as it was pushed.
    pub(crate) fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<(ManifestHead, Bytes)>, StorageError> {
        let moment = self.hot.now();
        let Some((digest, record)) = self.find_manifest(repository, reference)? else { return Ok(None) };
        let Some(bytes) = durable::read(&self.layout.content(&digest), MAX_MANIFEST_BYTES)? else { return Ok(None) };
        let head = ManifestHead { digest, media_type: record.media_type, size: bytes.len() as u64 };
        let bytes = Bytes::from(bytes);
        self.hot.keep(moment, (repository, reference), (&head, &bytes));
        Ok(Some((head, bytes)))
    }

    /// Adds a manifest to `repository` under its digest and `tags`.
    ///
    /// Returns what it needs and the repository lacks; when that is anything, nothing was added.
    /// The record is written after all that it stands for, and the tags after the record.
    pub(crate) fn put_manifest(
        &self,
        repository: &RepositoryName,
        manifest: &NewManifest,
        tags: &[Tag],
    ) -> Result<Vec<Digest>, StorageError> {
        let _adding = self.adding_to(repository);
        let _changing = self.hot.changing();
        let missing = self.missing_parts(repository, &manifest.document)?;
        if !missing.is_empty() {
            return Ok(missing);
        }
        let temporary = self.layout.temporary();
        durable::write(&temporary, &self.layout.content(&manifest.digest), &manifest.bytes)?;
        self.add_referrer(repository, manifest)?;
        let record = manifest.record();
        durable::write(&temporary, &self.layout.manifest_record(repository, &manifest.digest), &record)?;
        for tag in tags {
            self.set_tag(repository, tag, &manifest.digest)?;
        }
        Ok(Vec::new())
    }

    /// Removes a manifest and all tags that name it; false when there is none.
    pub(crate) fn delete_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StorageError> {
        let _removing = self.removing_from(repository);
        let _changing = self.hot.changing();
        let Some(record) = self.record(repository, digest)? else { return Ok(false) };
        durable::remove(&self.layout.manifest_record(repository, digest))?;
        if let Some(subject) = record.subject {
            durable::remove(&self.layout.referrer(repository, &subject, digest))?;
        }
        self.delete_tags_of(repository, digest)?;
        Ok(true)
    }

    /// Says whether `repository` has a record of a manifest.
    pub(super) fn has_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StorageError> {
        durable::exists(&self.layout.manifest_record(repository, digest))
    }

    fn find_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<(Digest, Record)>, StorageError> {
        let Some(digest) = self.resolve(repository, reference)? else { return Ok(None) };
        let record = self.record(repository, &digest)?;
        Ok(record.map(|record| (digest, record)))
    }

    /// A damaged record counts as none: the next push writes it anew.
    fn record(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<Record>, StorageError> {
        let bytes = durable::read(&self.layout.manifest_record(repository, digest), MAX_RECORD_BYTES)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn missing_parts(&self, repository: &RepositoryName, document: &Document) -> Result<Vec<Digest>, StorageError> {
        let mut missing = Vec::new();
        for blob in &document.blobs {
            if !self.has_blob(repository, blob)? {
                missing.push(blob.clone());
            }
        }
        for child in &document.children {
            if !self.has_manifest(repository, child)? && !self.has_blob(repository, child)? {
                missing.push(child.clone());
            }
        }
        Ok(missing)
    }
}

impl NewManifest {
    /// How referrer lists describe it.
    pub(super) fn descriptor(&self) -> Descriptor {
        let document = &self.document;
        let mut descriptor =
            Descriptor::new(document.media_type.as_str(), self.digest.clone(), self.bytes.len() as u64);
        descriptor.artifact_type = document.artifact_type.clone();
        descriptor.annotations = document.annotations.clone();
        descriptor
    }

    fn record(&self) -> Vec<u8> {
        let record = Record { media_type: self.document.media_type.clone(), subject: self.document.subject.clone() };
        // Strings only: nothing can fail.
        serde_json::to_vec(&record).unwrap_or_default()
    }
}
