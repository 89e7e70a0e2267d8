use redb::{ReadableTable, ReadableTableMetadata};
use serde::Serialize;

use super::index::{CONTENTS, IndexError, PINS, REPOSITORIES, TAGS, TOTALS, UPLOADS, names_in};
use super::{Storage, StorageError, durable};

/// What is in a store.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    pub(crate) blobs: u64,
    /// On disk, each blob once.
    pub(crate) blob_bytes: u64,
    pub(crate) index_bytes: u64,
    pub(crate) uploads: usize,
    /// The largest first.
    pub(crate) repositories: Vec<RepositoryStats>,
}

/// What is in a repository.
#[derive(Debug, Serialize)]
pub(crate) struct RepositoryStats {
    pub(crate) name: String,
    pub(crate) manifests: u64,
    pub(crate) tags: usize,
    pub(crate) pins: usize,
    /// Of its blobs; other repositories may hold them as well.
    pub(crate) bytes: u64,
}

impl Storage {
    /// Counts what is there.
    pub(crate) fn stats(&self) -> Result<Stats, StorageError> {
        let uploads = match &self.bucket {
            Some(_) => self.count_uploads()?,
            None => durable::names(&self.layout.uploads())?.len(),
        };
        Ok(Stats { uploads, ..self.index_stats()? })
    }

    fn count_uploads(&self) -> Result<usize, IndexError> {
        let count = self.index.read()?.open_table(UPLOADS)?.len()?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn index_stats(&self) -> Result<Stats, IndexError> {
        let read = self.index.read()?;
        let (tags, pins) = (read.open_table(TAGS)?, read.open_table(PINS)?);
        let mut repositories = Vec::new();
        for row in read.open_table(REPOSITORIES)?.iter()? {
            let (key, value) = row?;
            let (name, (bytes, manifests)) = (key.value(), value.value());
            let (tags, pins) = (names_in(&tags, name, None)?.count(), names_in(&pins, name, None)?.count());
            repositories.push(RepositoryStats { name: name.to_owned(), manifests, tags, pins, bytes });
        }
        repositories.sort_by_key(|repository| std::cmp::Reverse(repository.bytes));
        let blob_bytes = read.open_table(TOTALS)?.get("bytes")?.map_or(0, |row| row.value());
        let blobs = read.open_table(CONTENTS)?.len()?;
        Ok(Stats { blobs, blob_bytes, index_bytes: self.index.disk_bytes(), uploads: 0, repositories })
    }
}
