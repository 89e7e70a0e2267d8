use super::index::{IndexError, TAGS, names_in};
use super::{Page, Storage, StorageError};
use crate::name::{RepositoryName, Tag};

impl Storage {
    /// A page of the tags of `repository`, in byte order.
    pub(crate) fn tag_page(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, StorageError> {
        self.index.catch_up()?;
        let read = self.index.read()?;
        let tags = read.open_table(TAGS).map_err(IndexError::from)?;
        Page::take(names_in(&tags, repository.as_str(), after)?, limit)
    }

    /// Removes a tag and nothing else; false when there is none.
    pub(crate) fn delete_tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<bool, StorageError> {
        let _changing = self.hot.changing();
        let (repository, tag) = (repository.to_string(), tag.to_string());
        Ok(self.index.change(move |tables| tables.remove_tag(&repository, &tag))?)
    }
}
