use yadokari::digest::Digest;
use yadokari::image::Descriptor;

use super::index::{IndexError, REFERRERS};
use super::{Page, Storage, StorageError};
use crate::name::RepositoryName;

/// A page ends after this many bytes of descriptors: clients stop reading at 4 MiB or so.
const PAGE_BYTES: usize = 2 << 20;

impl Storage {
    /// Descriptors of the manifests whose subject is `subject`, in the order of their digests,
    /// those of `artifact_type` only when given, those after the digest `after` only when given.
    pub(crate) fn referrer_page(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
    ) -> Result<Page<Descriptor>, StorageError> {
        self.index.catch_up()?;
        Ok(self.referrers(repository, &subject.to_string(), artifact_type, after)?)
    }

    fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &str,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
    ) -> Result<Page<Descriptor>, IndexError> {
        let mut page = Page { entries: Vec::new(), more: false };
        let mut bytes_left = PAGE_BYTES;
        let after = after.map(ToString::to_string).unwrap_or_default();
        let read = self.index.read()?;
        let table = read.open_table(REFERRERS)?;
        for row in table.range((repository.as_str(), subject, after.as_str())..)? {
            let (key, value) = row?;
            let (owner, about, manifest) = key.value();
            if (owner, about) != (repository.as_str(), subject) {
                break;
            }
            let Ok(descriptor) = serde_json::from_slice::<Descriptor>(value.value()) else { continue };
            let other_type = artifact_type.is_some() && descriptor.artifact_type.as_deref() != artifact_type;
            if other_type || manifest == after {
                continue;
            }
            let bytes = value.value().len();
            if bytes > bytes_left && !page.entries.is_empty() {
                page.more = true;
                break;
            }
            bytes_left = bytes_left.saturating_sub(bytes);
            page.entries.push(descriptor);
        }
        Ok(page)
    }
}
