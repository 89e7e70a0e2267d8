use redb::ReadableTable;
use yadokari::digest::Digest;

use super::index::{IndexError, MANIFESTS, PINS, names_in};
use super::{Storage, StorageError};
use crate::name::{Reference, RepositoryName};

/// A pin that does not end.
pub(crate) const FOR_EVER: u64 = u64::MAX;

impl Storage {
    /// Keeps a manifest, and all that it needs, from being evicted until the time `until`,
    /// milliseconds since the epoch; false when there is none.
    pub(crate) fn pin(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        until: u64,
    ) -> Result<bool, StorageError> {
        let Some(digest) = self.find(|| self.resolve(repository, reference))? else { return Ok(false) };
        let (name, digest) = (repository.to_string(), digest.to_string());
        Ok(self.index.change(move |tables| {
            if tables.manifests.get((name.as_str(), digest.as_str()))?.is_none() {
                return Ok(false);
            }
            tables.pins.insert((name.as_str(), digest.as_str()), until)?;
            tables.rank(&name, &digest)?;
            Ok(true)
        })?)
    }

    /// Ends a pin; false when there is none.
    pub(crate) fn unpin(&self, repository: &RepositoryName, reference: &Reference) -> Result<bool, StorageError> {
        let Some(digest) = self.find(|| self.resolve(repository, reference))? else { return Ok(false) };
        let (name, digest) = (repository.to_string(), digest.to_string());
        Ok(self.index.change(move |tables| {
            let was = tables.pins.remove((name.as_str(), digest.as_str()))?.is_some();
            tables.rank(&name, &digest)?;
            Ok(was)
        })?)
    }

    /// The pinned manifests of a repository, and until when each is.
    pub(crate) fn pins(&self, repository: &RepositoryName) -> Result<Vec<(Digest, u64)>, StorageError> {
        self.index.catch_up()?;
        Ok(self.read_pins(repository.as_str())?)
    }

    fn read_pins(&self, repository: &str) -> Result<Vec<(Digest, u64)>, IndexError> {
        let read = self.index.read()?;
        let (pins, manifests) = (read.open_table(PINS)?, read.open_table(MANIFESTS)?);
        let mut found = Vec::new();
        for digest in names_in(&pins, repository, None)? {
            let digest = digest?;
            let key = (repository, digest.as_str());
            let until = pins.get(key)?.map(|row| row.value());
            if let (Ok(parsed), Some(until), Some(_)) = (digest.parse(), until, manifests.get(key)?) {
                found.push((parsed, until));
            }
        }
        Ok(found)
    }
}
