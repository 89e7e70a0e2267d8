use redb::ReadableTableMetadata;
use yadokari::digest::Digest;

use super::index::{INCOMPLETE, IndexError, MANIFESTS, TAGS};
use super::manifests::{Row, millis_now};
use super::{Storage, StorageError};
use crate::name::{RepositoryName, Tag};

/// A manifest found under a tag, all of whose parts are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Position of its tag among those asked for.
    pub(crate) number: usize,
    pub(crate) digest: Digest,
    /// As it was pushed.
    pub(crate) manifest: Vec<u8>,
}

impl Storage {
    /// The complete manifests under `tags`, in that order, of up to about `limit` bytes in all;
    /// and how many of the tags were looked at.
    pub(crate) fn look_up(
        &self,
        repository: &RepositoryName,
        tags: &[Tag],
        limit: usize,
    ) -> Result<(Vec<Found>, usize), StorageError> {
        let (mut found, mut seen) = self.find_complete(repository.as_str(), tags, limit)?;
        if found.len() < seen && self.index.catch_up()? {
            (found, seen) = self.find_complete(repository.as_str(), tags, limit)?;
        }
        let now = millis_now();
        found.iter().for_each(|found| self.recency.manifest_used(repository, &found.digest, now));
        Ok((found, seen))
    }

    /// Says whether a complete manifest is under `tag`.
    pub(crate) fn has_complete(&self, repository: &RepositoryName, tag: &Tag) -> Result<bool, StorageError> {
        let tag = std::slice::from_ref(tag);
        Ok(self.find(|| self.find_complete(repository.as_str(), tag, 0).map(|(mut found, _)| found.pop()))?.is_some())
    }

    fn find_complete(&self, repository: &str, tags: &[Tag], limit: usize) -> Result<(Vec<Found>, usize), IndexError> {
        let read = self.index.read()?;
        let (names, manifests) = (read.open_table(TAGS)?, read.open_table(MANIFESTS)?);
        let incomplete = read.open_table(INCOMPLETE)?;
        // Mostly nothing is: then nobody needs to look for each.
        let all_whole = incomplete.is_empty()?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (number, tag) in tags.iter().enumerate() {
            if bytes > limit {
                return Ok((found, number));
            }
            let Some(digest) = names.get((repository, tag.as_str()))? else { continue };
            let key = (repository, digest.value());
            let Some(row) = manifests.get(key)? else { continue };
            let is_whole = all_whole || incomplete.get(key)?.is_none();
            let (Ok(digest), true) = (digest.value().parse(), is_whole) else { continue };
            let manifest = Row::parse(row.value()).bytes.to_vec();
            bytes += manifest.len();
            found.push(Found { number, digest, manifest });
        }
        Ok((found, tags.len()))
    }
}
