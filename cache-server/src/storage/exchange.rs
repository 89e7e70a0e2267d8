//! Everything of a repository, for taking it elsewhere.

use yadokari::digest::Digest;

use super::index::{INCOMPLETE, IndexError, MANIFESTS, PINS, TAGGED, names_in, names_under};
use super::manifests::Row;
use super::{Storage, StorageError};
use crate::name::RepositoryName;

/// A manifest of a repository, and what is noted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) tags: Vec<String>,
    /// Milliseconds since the epoch.
    pub(crate) pinned_until: Option<u64>,
    /// All that it names is here.
    pub(crate) is_complete: bool,
}

impl Storage {
    /// Hands every manifest of `repository` to `take`, in the order of their digests.
    ///
    /// # Errors
    /// When the index fails, or `take` does.
    pub(crate) fn for_each_manifest<E: From<StorageError>>(
        &self,
        repository: &RepositoryName,
        mut take: impl FnMut(Listed) -> Result<(), E>,
    ) -> Result<(), E> {
        let all = self.manifest_digests(repository.as_str()).map_err(StorageError::from)?;
        for digest in all {
            let listed = self.listed(repository.as_str(), &digest).map_err(StorageError::from)?;
            listed.map_or(Ok(()), &mut take)?;
        }
        Ok(())
    }

    fn manifest_digests(&self, repository: &str) -> Result<Vec<String>, IndexError> {
        let manifests = self.index.read()?.open_table(MANIFESTS)?;
        names_in(&manifests, repository, None)?.collect()
    }

    fn listed(&self, repository: &str, text: &str) -> Result<Option<Listed>, IndexError> {
        let (read, key) = (self.index.read()?, (repository, text));
        let manifests = read.open_table(MANIFESTS)?;
        let (Some(row), Ok(digest)) = (manifests.get(key)?, text.parse()) else { return Ok(None) };
        let row = Row::parse(row.value());
        Ok(Some(Listed {
            digest,
            media_type: row.media_type.to_owned(),
            size: row.bytes.len() as u64,
            tags: names_under(&read.open_table(TAGGED)?, repository, text)?,
            pinned_until: read.open_table(PINS)?.get(key)?.map(|row| row.value()),
            is_complete: read.open_table(INCOMPLETE)?.get(key)?.is_none(),
        }))
    }
}
