use yadokari::digest::Digest;

use super::{Page, Storage, StorageError, durable};
use crate::name::{Reference, RepositoryName, Tag};

/// A digest and a line end.
const MAX_TAG_FILE_BYTES: u64 = 256;

impl Storage {
    /// The digest that `reference` stands for; for a tag, what it names now.
    pub(super) fn resolve(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Digest>, StorageError> {
        match reference {
            Reference::Digest(digest) => Ok(Some(digest.clone())),
            Reference::Tag(tag) => self.tagged(repository, tag),
        }
    }

    /// A page of the tags of `repository`, in byte order.
    pub(crate) fn tag_page(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, StorageError> {
        Ok(Page::of(durable::names(&self.layout.tags(repository))?, after, limit))
    }

    /// Removes a tag and nothing else; false when there is none.
    pub(crate) fn delete_tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<bool, StorageError> {
        let _removing = self.removing_from(repository);
        let _changing = self.hot.changing();
        durable::remove(&self.layout.tag(repository, tag))
    }

    /// Lets `tag` name `digest`. The caller holds the repository's lock.
    pub(super) fn set_tag(&self, repository: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<(), StorageError> {
        let target = self.layout.tag(repository, tag);
        durable::write(&self.layout.temporary(), &target, format!("{digest}\n").as_bytes())
    }

    /// Removes all tags that name `digest`. The caller holds the repository's lock.
    pub(super) fn delete_tags_of(&self, repository: &RepositoryName, digest: &Digest) -> Result<(), StorageError> {
        let tags = durable::names(&self.layout.tags(repository))?;
        for tag in tags.iter().filter_map(|name| name.parse::<Tag>().ok()) {
            if self.tagged(repository, &tag)?.as_ref() == Some(digest) {
                durable::remove(&self.layout.tag(repository, &tag))?;
            }
        }
        Ok(())
    }

    /// A damaged tag file counts as no tag: the next push writes it anew.
    fn tagged(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, StorageError> {
        let bytes = durable::read(&self.layout.tag(repository, tag), MAX_TAG_FILE_BYTES)?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(text.and_then(|text| text.trim_end().parse().ok()))
    }
}
