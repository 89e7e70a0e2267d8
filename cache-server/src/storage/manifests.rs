use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redb::ReadableTable;
use serde::Deserialize;
use yadokari::digest::Digest;
use yadokari::image::Descriptor;

use super::index::{IndexError, MANIFESTS, NAMED, NewRecord, TAGS, Tables, any_under, names_under};
use super::{Storage, StorageError};
use crate::document::Document;
use crate::name::{Reference, RepositoryName, Tag};

/// Larger manifests are refused: the least that the distribution specification wants taken, and what
/// other registries take.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Holds a record's JSON; see `docs/format.md`.
const RECORD_ANNOTATION: &str = "dev.yadokari.record";
/// A step that took an hour for each MiB of its result stays for a month longer than one that
/// took no time; so do all above.
const MAX_WORTH_MILLIS: u64 = 30 * 24 * 3600 * 1000;
/// Each moment of building per MiB of result is worth so many moments of staying.
const WORTH: u64 = 3600;

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

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sizes {
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
}

/// What a manifest must meet to be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutIf {
    /// The repository has all its parts.
    Whole,
    /// The same, and none of the tags names a manifest that is complete.
    WholeAndNew,
    /// Nothing: its parts may come later, and until then it is incomplete.
    Always,
}

/// What became of a manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Stored,
    /// The repository lacks these parts of it; nothing was added.
    Lacking(Vec<Digest>),
    /// A tag exists already that was to be made; nothing was added.
    Exists(Digest),
}

/// A manifest's row in the index: media type, subject, and the bytes as they were pushed, with a
/// zero byte after each of the first two. Neither can hold one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) media_type: &'a str,
    pub(crate) subject: Option<&'a str>,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Row<'a> {
    /// Reads a row; one that is damaged has no bytes.
    pub(crate) fn parse(row: &'a [u8]) -> Self {
        let mut fields = row.splitn(3, |byte| *byte == 0);
        let mut text = || fields.next().and_then(|field| std::str::from_utf8(field).ok()).unwrap_or_default();
        let (media_type, subject) = (text(), text());
        Self { media_type, subject: Some(subject).filter(|s| !s.is_empty()), bytes: fields.next().unwrap_or_default() }
    }

    pub(crate) fn document(&self) -> Result<Document, IndexError> {
        Document::parse(self.bytes, Some(self.media_type)).map_err(|_| IndexError::Damaged("manifests"))
    }
}

impl Storage {
    /// Type and size of a manifest of `repository`.
    pub(crate) fn manifest_head(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ManifestHead>, StorageError> {
        let look = || self.find_manifest(repository, reference, |row| (row.media_type.to_owned(), row.bytes.len()));
        let found = self.find(look)?;
        Ok(found.map(|(digest, (media_type, size))| {
            self.recency.manifest_used(repository, &digest, millis_now());
            ManifestHead { digest, media_type, size: size as u64 }
        }))
    }

    /// A manifest that is in memory, as [`Storage::manifest`] would read it. Does not block.
    pub(crate) fn hot_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Option<(ManifestHead, Bytes)> {
        let found = self.hot.get(repository, reference)?;
        self.recency.manifest_used(repository, &found.0.digest, millis_now());
        Some(found)
    }

    /// A manifest of `repository`, byte for byte as it was pushed.
    pub(crate) fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<(ManifestHead, Bytes)>, StorageError> {
        let moment = self.hot.now();
        let copy = |row: Row<'_>| (row.media_type.to_owned(), Bytes::copy_from_slice(row.bytes));
        let found = self.find(|| self.find_manifest(repository, reference, copy))?;
        let Some((digest, (media_type, bytes))) = found else { return Ok(None) };
        let head = ManifestHead { digest, media_type, size: bytes.len() as u64 };
        self.recency.manifest_used(repository, &head.digest, millis_now());
        self.hot.keep(moment, (repository, reference), (&head, &bytes));
        Ok(Some((head, bytes)))
    }

    /// Adds a manifest to `repository` under its digest and `tags`, if it is as `put_if` wants it.
    pub(crate) fn put_manifest(
        &self,
        repository: &RepositoryName,
        manifest: &NewManifest,
        tags: &[Tag],
        put_if: PutIf,
    ) -> Result<Put, StorageError> {
        let (name, record) = (repository.to_string(), manifest.record());
        let _room = self.room_for_row(record.row.len() as u64)?;
        let _changing = self.hot.changing();
        let document = manifest.document.clone();
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        Ok(self.index.change(move |tables| {
            if put_if == PutIf::WholeAndNew
                && let Some(found) = taken(tables, &name, &tags)?
            {
                return Ok(Put::Exists(found));
            }
            let lacking = tables.lacking(&name, &document)?;
            if !lacking.is_empty() && put_if != PutIf::Always {
                return Ok(Put::Lacking(lacking.iter().filter_map(|digest| digest.parse().ok()).collect()));
            }
            tables.put_manifest(&name, &record)?;
            if !lacking.is_empty() {
                tables.incomplete.insert((name.as_str(), record.digest.as_str()), ())?;
            }
            tags.iter().try_for_each(|tag| tables.set_tag(&name, tag, &record.digest))?;
            Ok(Put::Stored)
        })?)
    }

    /// Size in bytes that a manifest of `repository` gives to one of its blobs.
    pub(crate) fn named_size(&self, repository: &RepositoryName, blob: &Digest) -> Result<Option<u64>, StorageError> {
        Ok(self.find_named_size(repository.as_str(), blob)?)
    }

    fn find_named_size(&self, repository: &str, blob: &Digest) -> Result<Option<u64>, IndexError> {
        let read = self.index.read()?;
        let (named, manifests) = (read.open_table(NAMED)?, read.open_table(MANIFESTS)?);
        for manifest in names_under(&named, repository, &blob.to_string())? {
            let Some(row) = manifests.get((repository, manifest.as_str()))? else { continue };
            let sizes = serde_json::from_slice::<Sizes>(Row::parse(row.value()).bytes).unwrap_or_default();
            let mut all = sizes.config.into_iter().chain(sizes.layers);
            if let Some(found) = all.find(|descriptor| descriptor.digest == *blob) {
                return Ok(Some(found.size));
            }
        }
        Ok(None)
    }

    /// Removes a manifest and all tags that name it; false when there is none.
    pub(crate) fn delete_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool, StorageError> {
        let _changing = self.hot.changing();
        let (name, digest, now) = (repository.to_string(), digest.to_string(), millis_now());
        Ok(self.index.change(move |tables| Ok(tables.remove_manifest(&name, &digest, now)?.is_some()))?)
    }

    /// The digest of a manifest that is here and, when it was named by its digest, no part of an index.
    pub(crate) fn whole_image(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Digest>, StorageError> {
        Ok(self.find_whole_image(repository, reference)?)
    }

    fn find_whole_image(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Digest>, IndexError> {
        let Some(digest) = self.resolve(repository, reference)? else { return Ok(None) };
        let (read, text) = (self.index.read()?, digest.to_string());
        let is_here = read.open_table(MANIFESTS)?.get((repository.as_str(), text.as_str()))?.is_some();
        let is_part = matches!(reference, Reference::Digest(_))
            && any_under(&read.open_table(NAMED)?, repository.as_str(), &text)?;
        Ok((is_here && !is_part).then_some(digest))
    }

    /// The digest that `reference` stands for; for a tag, what it names now.
    pub(super) fn resolve(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Digest>, IndexError> {
        match reference {
            Reference::Digest(digest) => Ok(Some(digest.clone())),
            Reference::Tag(tag) => {
                let tags = self.index.read()?.open_table(TAGS)?;
                Ok(tags.get((repository.as_str(), tag.as_str()))?.and_then(|row| row.value().parse().ok()))
            }
        }
    }

    fn find_manifest<T>(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        take: impl FnOnce(Row<'_>) -> T,
    ) -> Result<Option<(Digest, T)>, IndexError> {
        let Some(digest) = self.resolve(repository, reference)? else { return Ok(None) };
        let manifests = self.index.read()?.open_table(MANIFESTS)?;
        let row = manifests.get((repository.as_str(), &*digest.to_string()))?;
        Ok(row.map(|row| (digest, take(Row::parse(row.value())))))
    }
}

/// The manifest of the first of `tags` that names one which is complete.
fn taken(tables: &Tables<'_>, repository: &str, tags: &[String]) -> Result<Option<Digest>, IndexError> {
    for tag in tags {
        let Some(row) = tables.tags.get((repository, tag.as_str()))? else { continue };
        if tables.incomplete.get((repository, row.value()))?.is_none() {
            return Ok(row.value().parse().ok());
        }
    }
    Ok(None)
}

impl NewManifest {
    /// How referrer lists describe it.
    fn descriptor(&self) -> Descriptor {
        let document = &self.document;
        let mut descriptor =
            Descriptor::new(document.media_type.as_str(), self.digest.clone(), self.bytes.len() as u64);
        descriptor.artifact_type = document.artifact_type.clone();
        descriptor.annotations = document.annotations.clone();
        descriptor
    }

    /// What the index wants to know of it.
    pub(super) fn record(&self) -> NewRecord {
        let subject = self.document.subject.as_ref().map(ToString::to_string);
        let mut row = Vec::with_capacity(self.bytes.len() + 256);
        row.extend_from_slice(self.document.media_type.as_bytes());
        row.push(0);
        row.extend_from_slice(subject.as_deref().unwrap_or_default().as_bytes());
        row.push(0);
        row.extend_from_slice(&self.bytes);
        NewRecord {
            digest: self.digest.to_string(),
            row,
            parts: self.document.parts().map(ToString::to_string).collect(),
            // Strings and numbers only: nothing can fail.
            descriptor: subject
                .as_ref()
                .map(|_| serde_json::to_vec(&self.descriptor()).unwrap_or_default())
                .unwrap_or_default(),
            subject,
            worth: worth(&self.document),
            now: millis_now(),
        }
    }
}

/// Says whether a manifest is that of a cached step.
pub(crate) fn is_record(document: &Document) -> bool {
    document.annotations.contains_key(RECORD_ANNOTATION)
}

/// How much longer than its last use says a manifest should stay, in milliseconds: what it would cost
/// to build again, by the bytes that it takes meanwhile. Images that were not built here say nothing.
fn worth(document: &Document) -> u64 {
    #[derive(Deserialize)]
    struct Cost {
        duration_ms: u64,
    }
    let record = document.annotations.get(RECORD_ANNOTATION);
    let Some(cost) = record.and_then(|json| serde_json::from_str::<Cost>(json).ok()) else { return 0 };
    let mebibytes = (document.bytes >> 20).max(1);
    (cost.duration_ms.saturating_mul(WORTH) / mebibytes).min(MAX_WORTH_MILLIS)
}

/// Milliseconds since the epoch.
pub(crate) fn millis_now() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
