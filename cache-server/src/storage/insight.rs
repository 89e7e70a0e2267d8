//! What those who run the server want to know of what is stored.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use redb::ReadableTable;

use super::index::{EVICTED, INCOMPLETE, IndexError, MANIFESTS, REPOSITORIES, TAGGED, TAGS, USES, names_under};
use super::{Storage, StorageError};
use crate::name::{RepositoryName, Tag};

/// A manifest and what it names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Large {
    /// Bytes of all that it names.
    pub(crate) bytes: u64,
    pub(crate) repository: String,
    /// One of its tags, else its digest.
    pub(crate) reference: String,
}

/// What a repository holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) repository: String,
    /// Of its blobs; other repositories may hold them as well.
    pub(crate) bytes: u64,
    pub(crate) manifests: u64,
}

/// Why a tag was not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Absence {
    /// It has been stored since.
    StoredSince,
    /// It is here, but something that it names is not.
    Incomplete,
    /// It made room for others at this time, milliseconds since the epoch.
    Evicted(u64),
    /// Another repository has it.
    Elsewhere(String),
    /// Nobody has stored it, as far as one can tell.
    Never,
}

impl Storage {
    /// Bytes of the disk in use.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.space.used()
    }

    /// Bytes of the disk that may be used.
    pub(crate) fn max_bytes(&self) -> Option<u64> {
        self.space.limit()
    }

    /// The manifests that name most bytes, the largest first. Looks at all of them.
    pub(crate) fn largest(&self, count: usize) -> Result<Vec<Large>, StorageError> {
        Ok(self.find_largest(count)?)
    }

    fn find_largest(&self, count: usize) -> Result<Vec<Large>, IndexError> {
        let read = self.index.read()?;
        let mut largest = BinaryHeap::new();
        for row in read.open_table(USES)?.iter()? {
            let (key, value) = row?;
            let ((repository, digest), (_, _, bytes)) = (key.value(), value.value());
            let is_larger = largest.peek().is_none_or(|Reverse(least): &Reverse<Large>| least.bytes < bytes);
            if largest.len() < count || is_larger {
                largest.push(Reverse(Large { bytes, repository: repository.into(), reference: digest.into() }));
            }
            if largest.len() > count {
                largest.pop();
            }
        }
        let tagged = read.open_table(TAGGED)?;
        let mut found: Vec<Large> = largest.into_iter().map(|Reverse(large)| large).collect();
        for large in &mut found {
            if let Some(tag) = names_under(&tagged, &large.repository, &large.reference)?.into_iter().next() {
                large.reference = tag;
            }
        }
        found.sort_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// The repositories that hold most, the largest first.
    pub(crate) fn holdings(&self, count: usize) -> Result<Vec<Holdings>, StorageError> {
        Ok(self.find_holdings(count)?)
    }

    fn find_holdings(&self, count: usize) -> Result<Vec<Holdings>, IndexError> {
        let mut holdings = Vec::new();
        for row in self.index.read()?.open_table(REPOSITORIES)?.iter()? {
            let (key, value) = row?;
            let (bytes, manifests) = value.value();
            holdings.push(Holdings { repository: key.value().to_owned(), bytes, manifests });
        }
        holdings.sort_by_key(|holdings| Reverse((holdings.bytes, holdings.manifests)));
        holdings.truncate(count);
        Ok(holdings)
    }

    /// Why `tag` was not found in `repository`.
    pub(crate) fn explain_absence(&self, repository: &RepositoryName, tag: &Tag) -> Result<Absence, StorageError> {
        Ok(self.find_absence(repository.as_str(), tag.as_str())?)
    }

    fn find_absence(&self, repository: &str, tag: &str) -> Result<Absence, IndexError> {
        let read = self.index.read()?;
        let tags = read.open_table(TAGS)?;
        if let Some(digest) = tags.get((repository, tag))? {
            let key = (repository, digest.value());
            let is_whole =
                read.open_table(MANIFESTS)?.get(key)?.is_some() && read.open_table(INCOMPLETE)?.get(key)?.is_none();
            return Ok(if is_whole { Absence::StoredSince } else { Absence::Incomplete });
        }
        if let Some(at) = read.open_table(EVICTED)?.get((repository, tag))? {
            return Ok(Absence::Evicted(at.value()));
        }
        for row in read.open_table(REPOSITORIES)?.iter()? {
            let (other, _) = row?;
            if tags.get((other.value(), tag))?.is_some() {
                return Ok(Absence::Elsewhere(other.value().to_owned()));
            }
        }
        Ok(Absence::Never)
    }
}
