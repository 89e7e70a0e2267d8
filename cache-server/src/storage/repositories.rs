use super::index::{IndexError, REPOSITORIES};
use super::{Page, Storage, StorageError};
use crate::name::RepositoryName;

impl Storage {
    /// Says whether anything was ever pushed to `repository`.
    pub(crate) fn has_repository(&self, repository: &RepositoryName) -> Result<bool, StorageError> {
        let found = self.find(|| {
            let table = self.index.read()?.open_table(REPOSITORIES)?;
            Ok::<_, IndexError>(table.get(repository.as_str())?.map(drop))
        });
        Ok(found?.is_some())
    }

    /// A page of the names of all repositories, in byte order.
    pub(crate) fn repository_page(&self, after: Option<&str>, limit: usize) -> Result<Page<String>, StorageError> {
        self.index.catch_up()?;
        let read = self.index.read()?;
        let table = read.open_table(REPOSITORIES).map_err(IndexError::from)?;
        let start = after.unwrap_or_default();
        let rows = table.range(start..).map_err(IndexError::from)?;
        let names = rows.map(|row| Ok(row?.0.value().to_owned()));
        Page::take(names.filter(|name| name.as_deref().map_or(true, |name| Some(name) != after)), limit)
    }
}
