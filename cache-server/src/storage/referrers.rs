use yadokari::digest::Digest;
use yadokari::image::Descriptor;

use super::manifests::MAX_MANIFEST_BYTES;
use super::{NewManifest, Page, Storage, StorageError, durable};
use crate::name::RepositoryName;

/// A descriptor repeats its manifest's annotations and little else.
const MAX_REFERRER_BYTES: u64 = 2 * MAX_MANIFEST_BYTES;
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
        let mut page = Page { entries: Vec::new(), more: false };
        let mut bytes_left = PAGE_BYTES;
        for manifest in self.referring(repository, subject, after)? {
            let Some((descriptor, bytes)) = self.referrer(repository, subject, &manifest)? else { continue };
            if artifact_type.is_some() && descriptor.artifact_type.as_deref() != artifact_type {
                continue;
            }
            if bytes > bytes_left && !page.entries.is_empty() {
                page.more = true;
                break;
            }
            bytes_left = bytes_left.saturating_sub(bytes);
            page.entries.push(descriptor);
        }
        Ok(page)
    }

    /// Notes that `manifest` refers to its subject. The caller holds the repository's lock.
    pub(super) fn add_referrer(&self, repository: &RepositoryName, manifest: &NewManifest) -> Result<(), StorageError> {
        let Some(subject) = &manifest.document.subject else { return Ok(()) };
        let target = self.layout.referrer(repository, subject, &manifest.digest);
        // Strings and numbers only: nothing can fail.
        let bytes = serde_json::to_vec(&manifest.descriptor()).unwrap_or_default();
        durable::write(&self.layout.temporary(), &target, &bytes)
    }

    fn referring(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        after: Option<&Digest>,
    ) -> Result<Vec<Digest>, StorageError> {
        let names = durable::names(&self.layout.referrers(repository, subject))?;
        let mut digests: Vec<Digest> = names.iter().filter_map(|n| n.replacen('-', ":", 1).parse().ok()).collect();
        digests.sort_unstable();
        digests.retain(|digest| after.is_none_or(|after| digest > after));
        Ok(digests)
    }

    /// One entry and its size in bytes; `None` when its manifest is gone or never got its record.
    fn referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        manifest: &Digest,
    ) -> Result<Option<(Descriptor, usize)>, StorageError> {
        if !self.has_manifest(repository, manifest)? {
            return Ok(None);
        }
        let bytes = durable::read(&self.layout.referrer(repository, subject, manifest), MAX_REFERRER_BYTES)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok().map(|descriptor| (descriptor, bytes.len()))))
    }
}
