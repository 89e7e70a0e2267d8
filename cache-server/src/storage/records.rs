use std::panic::resume_unwind;
use std::thread;

use redb::{ReadTransaction, ReadableTableMetadata};
use yadokari::digest::Digest;

use super::index::{INCOMPLETE, IndexError, MANIFESTS, TAGS};
use super::manifests::{Row, millis_now};
use super::{Storage, StorageError};
use crate::name::{RepositoryName, Tag};

/// A look-up takes another thread for so many tags: less is found sooner than a thread has started.
const TAGS_OF_A_THREAD: usize = 64;

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
        let parts = (tags.len() / TAGS_OF_A_THREAD).clamp(1, self.threads);
        find_in_parts(&self.index.read()?, repository, tags, limit, parts)
    }
}

/// The complete manifests under `tags`, looked for by `parts` threads, each with its share of the tags and of
/// `limit`; and how many of the tags were looked at, one at least.
fn find_in_parts(
    read: &ReadTransaction,
    repository: &str,
    tags: &[Tag],
    limit: usize,
    parts: usize,
) -> Result<(Vec<Found>, usize), IndexError> {
    let look = |tags| find(read, repository, tags, limit / parts);
    let (first, rest) = tags.split_at(tags.len().div_ceil(parts));
    let found = thread::scope(|scope| {
        let start = |tags| thread::Builder::new().spawn_scoped(scope, move || look(tags)).map_err(|_| tags);
        let others: Vec<_> = rest.chunks(first.len().max(1)).map(start).collect();
        let mut found = vec![look(first)];
        found.extend(others.into_iter().map(|other| match other {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // The system gives no more threads.
            Err(tags) => look(tags),
        }));
        found
    });
    let (mut all, mut seen) = (Vec::new(), 0);
    for (found, tags) in found.into_iter().zip(tags.chunks(first.len().max(1))) {
        let (found, seen_here) = found?;
        all.extend(found.into_iter().map(|found| Found { number: seen + found.number, ..found }));
        seen += seen_here;
        if seen_here < tags.len() {
            break;
        }
    }
    Ok((all, seen))
}

fn find(
    read: &ReadTransaction,
    repository: &str,
    tags: &[Tag],
    limit: usize,
) -> Result<(Vec<Found>, usize), IndexError> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use yadokari::image::media_type;

    use super::*;
    use crate::document::Document;
    use crate::eviction::Policy;
    use crate::storage::{NewManifest, Put, PutIf};

    fn put(storage: &Storage, repository: &RepositoryName, number: usize, tags: &[Tag]) {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"n":"{number}"}}}}"#);
        let document = Document::parse(text.as_bytes(), Some(media_type::OCI_INDEX)).expect("valid");
        let manifest = NewManifest { digest: Digest::sha256(text.as_bytes()), bytes: text.into(), document };
        assert_eq!(storage.put_manifest(repository, &manifest, tags, PutIf::Whole).expect("stored"), Put::Stored);
    }

    #[test]
    fn parts_find_what_one_finds() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let storage = Storage::open(&directory.path().join("data"), Policy::default()).expect("opened");
        let repository: RepositoryName = "a".parse().expect("a name");
        let tags: Vec<Tag> = (0..90).map(|number| format!("t{number}").parse().expect("a tag")).collect();
        // Of each ten one is not there.
        for (number, tags) in tags.chunks(10).enumerate() {
            put(&storage, &repository, number, &tags[1..]);
        }
        let read = storage.index.read().expect("a transaction");
        let whole = find(&read, "a", &tags, usize::MAX).expect("found");
        assert_eq!((whole.0.len(), whole.1), (81, 90));
        let config = ProptestConfig { rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() };
        proptest!(config, |(parts in 1_usize..100, count in 0_usize..=90, limit in 0_usize..8000)| {
            let tags = &tags[..count];
            let (mut found, mut seen) = (Vec::new(), 0);
            while seen < count {
                let (more, further) = find_in_parts(&read, "a", &tags[seen..], limit, parts).expect("found");
                prop_assert!(further > 0, "clients ask again for ever");
                found.extend(more.into_iter().map(|found| Found { number: seen + found.number, ..found }));
                seen += further;
            }
            prop_assert_eq!(seen, count);
            prop_assert_eq!(&found[..], &whole.0[..found.len()]);
            prop_assert!(whole.0.get(found.len()).is_none_or(|next| next.number >= count));
        });
    }
}
