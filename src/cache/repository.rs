//! A cache repository as a whole: what is in it, whether it is whole, and removal.

use std::collections::{BTreeMap, BTreeSet};

use super::{CacheError, Record};
use super::{documents, manifest};
use crate::causes::chain;
use crate::digest::Digest;
use crate::image::{Descriptor, Reference};
use crate::key::CacheKey;
use crate::parallel::in_parallel;
use crate::registry::{Client, Fault, Purpose, RegistryError};

/// Requests at the same time.
const THREADS: usize = 8;

/// A cache repository, for looking after it; builds use [`super::RegistryCache`].
pub struct CacheRepository {
    client: Client,
    repository: Reference,
}

/// A record under one of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRecord {
    /// The tag.
    pub key: CacheKey,
    /// The record.
    pub record: Record,
    /// The manifest that holds it; both keys of a record have the same.
    pub manifest: Digest,
}

/// All that a cache repository holds, as far as it is ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepositoryListing {
    /// In the order of keys.
    pub records: Vec<RemoteRecord>,
    /// Tags of keys without a usable record, and why.
    pub unusable: Vec<(CacheKey, String)>,
    /// Tags of tables of contents of base images' layers.
    pub tocs: usize,
    /// Other tags.
    pub foreign: usize,
}

/// What one tag turned out to be.
enum Tag {
    Record(Box<RemoteRecord>),
    Unusable(CacheKey, String),
    Gone,
}

impl CacheRepository {
    /// The tag of `repository` is not used.
    pub fn new(client: Client, repository: Reference) -> Self {
        Self { client, repository }
    }

    /// Reads all tags and up to `limit` records.
    ///
    /// # Errors
    /// [`CacheError::Registry`]; a record that cannot be used is no error.
    pub fn list(&self, limit: usize) -> Result<RepositoryListing, CacheError> {
        let tags = match self.client.list_tags(&self.repository) {
            // Nobody has saved anything yet.
            Err(error) if matches!(*error.fault, Fault::NotFound(_)) => Vec::new(),
            tags => tags?,
        };
        let mut listing = RepositoryListing::default();
        let keys: BTreeSet<CacheKey> = tags.iter().filter_map(|tag| tag.parse().ok()).collect();
        listing.tocs = tags.iter().filter(|tag| tag.starts_with(manifest::TOC_PREFIX)).count();
        let bases = tags.iter().filter(|tag| tag.starts_with(documents::PREFIX)).count();
        listing.foreign = tags.len().saturating_sub(keys.len() + listing.tocs + bases);
        let keys: Vec<CacheKey> = keys.into_iter().take(limit).collect();
        for tag in in_parallel(&keys, THREADS, |key| self.tag(key)) {
            match tag? {
                Tag::Record(record) => listing.records.push(*record),
                Tag::Unusable(key, reason) => listing.unusable.push((key, reason)),
                Tag::Gone => {}
            }
        }
        Ok(listing)
    }

    fn tag(&self, key: &CacheKey) -> Result<Tag, RegistryError> {
        let named = self.repository.with_tag(&key.to_string());
        let Some(fetched) = self.client.fetch_manifest(&named, Purpose::Push)? else { return Ok(Tag::Gone) };
        Ok(match manifest::unpack_record(&fetched.bytes, key) {
            Ok(record) => {
                Tag::Record(Box::new(RemoteRecord { key: *key, record, manifest: fetched.descriptor.digest }))
            }
            Err(error) => Tag::Unusable(*key, chain(&error)),
        })
    }

    /// What is wrong with the blobs that `records` name, by digest. With `read` all their bytes are
    /// fetched and hashed; else the registry is only asked whether it has them.
    ///
    /// # Errors
    /// [`CacheError::Registry`] for what is no answer about the blob.
    pub fn check_blobs(
        &self,
        records: &[RemoteRecord],
        read: bool,
    ) -> Result<BTreeMap<Digest, Option<String>>, CacheError> {
        let blobs = records.iter().flat_map(|remote| remote.record.blobs());
        let blobs: BTreeMap<&Digest, &Descriptor> = blobs.map(|blob| (&blob.digest, blob)).collect();
        let blobs: Vec<&Descriptor> = blobs.into_values().collect();
        let checked = in_parallel(&blobs, THREADS, |blob| {
            let checked = if read { self.read_blob(blob) } else { self.has_blob(blob) };
            checked.map(|wrong| (blob.digest.clone(), wrong))
        });
        checked.into_iter().collect()
    }

    fn has_blob(&self, blob: &Descriptor) -> Result<Option<String>, CacheError> {
        let there = self.client.has_blob(&self.repository, &blob.digest)?;
        Ok((!there).then(|| "it is not there".into()))
    }

    fn read_blob(&self, blob: &Descriptor) -> Result<Option<String>, CacheError> {
        let mut reader = match self.client.fetch_blob(&self.repository, blob, Purpose::Push) {
            Err(error) if is_about_blob(&error.fault) => return Ok(Some(chain(&error))),
            reader => reader?,
        };
        match std::io::copy(&mut reader, &mut std::io::sink()) {
            Ok(_) => Ok(None),
            Err(error) => Ok(Some(chain(&error))),
        }
    }

    /// Deletes a manifest, and with it all its tags; the blobs are the registry's to collect.
    ///
    /// # Errors
    /// [`CacheError::NoDelete`] where the registry refuses to delete; [`CacheError::Registry`].
    pub fn delete(&self, manifest: &Digest) -> Result<(), CacheError> {
        match self.client.delete_manifest(&self.repository, manifest) {
            Err(error) if matches!(*error.fault, Fault::Refused(_) | Fault::Denied(_)) => {
                Err(CacheError::NoDelete { repository: self.repository.name(), source: error })
            }
            deleted => Ok(deleted.map(drop)?),
        }
    }
}

fn is_about_blob(fault: &Fault) -> bool {
    matches!(fault, Fault::NotFound(_) | Fault::SizeMismatch { .. } | Fault::DigestMismatch { .. })
}
