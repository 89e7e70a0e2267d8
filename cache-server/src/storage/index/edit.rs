//! Changes that keep the tables in agreement with each other.

use redb::{ReadableTable, ReadableTableMetadata};

use super::tables::{any_under, names_under};
use super::{IndexError, Tables};
use crate::document::Document;
use crate::storage::manifests::Row;

/// Files take whole blocks.
const BLOCK: u64 = 4096;

/// Tags that are remembered after their eviction.
const MAX_EVICTED: u64 = 10_000;

/// A manifest to be added, with what was found out about it beforehand.
#[derive(Debug)]
pub(crate) struct NewRecord {
    pub(crate) digest: String,
    /// Value of its row in `MANIFESTS`.
    pub(crate) row: Vec<u8>,
    /// Blobs and manifests that it names.
    pub(crate) parts: Vec<String>,
    pub(crate) subject: Option<String>,
    /// For lists of referrers.
    pub(crate) descriptor: Vec<u8>,
    /// Milliseconds that it outlives its last use by, compared with one that cost nothing.
    pub(crate) worth: u64,
    /// Milliseconds since the epoch.
    pub(crate) now: u64,
}

/// What an eviction removed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) manifests: u64,
    pub(crate) blobs: u64,
    /// Of blobs that nobody holds any more, in whole blocks.
    pub(crate) bytes: u64,
}

impl std::ops::AddAssign for Removal {
    fn add_assign(&mut self, other: Self) {
        self.manifests += other.manifests;
        self.blobs += other.blobs;
        self.bytes += other.bytes;
    }
}

/// What a file of `size` bytes takes on disk.
pub(crate) fn on_disk(size: u64) -> u64 {
    size.div_ceil(BLOCK).saturating_mul(BLOCK)
}

impl Tables<'_> {
    /// Makes a blob of `size` bytes part of `repository`.
    pub(crate) fn link(&mut self, repository: &str, digest: &str, size: u64, now: u64) -> Result<(), IndexError> {
        let named = any_under(&*self.named, repository, digest)?;
        if !named {
            self.loose.insert((repository, digest), now)?;
        }
        if self.links.insert((repository, digest), ())?.is_some() {
            return Ok(());
        }
        self.hold(digest, size)?;
        self.count(repository, |bytes, _| *bytes += size)?;
        if named { self.recheck_parents(repository, digest) } else { Ok(()) }
    }

    fn hold(&mut self, digest: &str, size: u64) -> Result<(), IndexError> {
        let known = self.contents.get(digest)?.map(|row| row.value());
        if known.is_none() {
            self.add_total(on_disk(size))?;
        }
        let holders = known.map_or(0, |(_, holders)| holders) + 1;
        self.contents.insert(digest, (size, holders))?;
        self.unheld.remove(digest)?;
        Ok(())
    }

    /// Takes a blob out of `repository`; `None` when it was not in it, else the bytes that nobody
    /// holds now.
    pub(crate) fn unlink(&mut self, repository: &str, digest: &str) -> Result<Option<u64>, IndexError> {
        if self.links.remove((repository, digest))?.is_none() {
            return Ok(None);
        }
        self.loose.remove((repository, digest))?;
        for parent in names_under(&*self.named, repository, digest)? {
            self.incomplete.insert((repository, &*parent), ())?;
        }
        let Some((size, holders)) = self.contents.get(digest)?.map(|row| row.value()) else { return Ok(Some(0)) };
        self.count(repository, |bytes, _| *bytes = bytes.saturating_sub(size))?;
        let holders = holders.saturating_sub(1);
        self.contents.insert(digest, (size, holders))?;
        if holders > 0 {
            return Ok(Some(0));
        }
        self.unheld.insert(digest, ())?;
        Ok(Some(on_disk(size)))
    }

    /// Forgets contents whose file is gone.
    pub(crate) fn drop_content(&mut self, digest: &str) -> Result<(), IndexError> {
        self.unheld.remove(digest)?;
        let removed = self.contents.remove(digest)?.map(|row| row.value());
        let Some((size, _)) = removed else { return Ok(()) };
        let total = self.totals.get("bytes")?.map_or(0, |row| row.value());
        self.totals.insert("bytes", total.saturating_sub(on_disk(size)))?;
        Ok(())
    }

    fn add_total(&mut self, bytes: u64) -> Result<(), IndexError> {
        let total = self.totals.get("bytes")?.map_or(0, |row| row.value());
        self.totals.insert("bytes", total.saturating_add(bytes))?;
        Ok(())
    }

    /// Changes a repository's sums: bytes linked, and manifests.
    fn count(&mut self, repository: &str, change: impl FnOnce(&mut u64, &mut u64)) -> Result<(), IndexError> {
        let (mut bytes, mut manifests) = self.repositories.get(repository)?.map_or((0, 0), |row| row.value());
        change(&mut bytes, &mut manifests);
        self.repositories.insert(repository, (bytes, manifests))?;
        Ok(())
    }

    /// The parts of a manifest that `repository` lacks: blobs as blobs, children as either.
    pub(crate) fn lacking(&self, repository: &str, document: &Document) -> Result<Vec<String>, IndexError> {
        let mut lacking = Vec::new();
        for blob in document.blobs.iter().map(ToString::to_string) {
            if self.links.get((repository, &*blob))?.is_none() {
                lacking.push(blob);
            }
        }
        for child in document.children.iter().map(ToString::to_string) {
            let held = self.manifests.get((repository, &*child))?.is_some();
            if !held && self.links.get((repository, &*child))?.is_none() {
                lacking.push(child);
            }
        }
        Ok(lacking)
    }

    /// Adds a manifest whose parts are all in `repository`.
    pub(crate) fn put_manifest(&mut self, repository: &str, record: &NewRecord) -> Result<(), IndexError> {
        let digest = record.digest.as_str();
        let new = self.manifests.insert((repository, digest), record.row.as_slice())?.is_none();
        self.count(repository, |_, manifests| *manifests += u64::from(new))?;
        self.incomplete.remove((repository, digest))?;
        let mut bytes = record.row.len() as u64;
        for part in &record.parts {
            self.named.insert((repository, part.as_str(), digest), ())?;
            self.loose.remove((repository, part.as_str()))?;
            bytes += self.contents.get(part.as_str())?.map_or(0, |row| row.value().0);
            self.rank(repository, part)?;
        }
        if let Some(subject) = &record.subject {
            self.referrers.insert((repository, subject.as_str(), digest), record.descriptor.as_slice())?;
        }
        self.set_use(repository, digest, (record.now, record.worth, bytes))?;
        self.recheck_parents(repository, digest)?;
        self.rank_referrers(repository, digest)
    }

    /// Lets `tag` name a manifest.
    pub(crate) fn set_tag(&mut self, repository: &str, tag: &str, digest: &str) -> Result<(), IndexError> {
        let before = self.tags.insert((repository, tag), digest)?.map(|row| row.value().to_owned());
        self.evicted.remove((repository, tag))?;
        if let Some(before) = before {
            self.tagged.remove((repository, before.as_str(), tag))?;
        }
        self.tagged.insert((repository, digest, tag), ())?;
        Ok(())
    }

    /// Removes a tag and nothing else; false when there is none.
    pub(crate) fn remove_tag(&mut self, repository: &str, tag: &str) -> Result<bool, IndexError> {
        let before = self.tags.remove((repository, tag))?.map(|row| row.value().to_owned());
        let Some(before) = before else { return Ok(false) };
        self.tagged.remove((repository, before.as_str(), tag))?;
        Ok(true)
    }

    /// Removes a manifest with its tags; what it named stays, loose where nothing else names it.
    /// Returns what it was, `None` when there is none.
    pub(crate) fn remove_manifest(
        &mut self,
        repository: &str,
        digest: &str,
        now: u64,
    ) -> Result<Option<Document>, IndexError> {
        let row = self.manifests.remove((repository, digest))?.map(|row| row.value().to_vec());
        let Some(row) = row else { return Ok(None) };
        let document = Row::parse(&row).document()?;
        self.count(repository, |_, manifests| *manifests = manifests.saturating_sub(1))?;
        for tag in names_under(&*self.tagged, repository, digest)? {
            self.remove_tag(repository, &tag)?;
        }
        self.forget_use(repository, digest)?;
        self.pins.remove((repository, digest))?;
        self.incomplete.remove((repository, digest))?;
        if let Some(subject) = &document.subject {
            self.referrers.remove((repository, &*subject.to_string(), digest))?;
        }
        for parent in names_under(&*self.named, repository, digest)? {
            self.incomplete.insert((repository, parent.as_str()), ())?;
        }
        for part in document.parts() {
            self.release(repository, &part.to_string(), digest, now)?;
        }
        self.rank_referrers(repository, digest)?;
        Ok(Some(document))
    }

    /// `manifest` no longer names `part`.
    fn release(&mut self, repository: &str, part: &str, manifest: &str, now: u64) -> Result<(), IndexError> {
        self.named.remove((repository, part, manifest))?;
        if !any_under(&*self.named, repository, part)? && self.links.get((repository, part))?.is_some() {
            self.loose.insert((repository, part), now)?;
        }
        self.rank(repository, part)
    }

    /// Removes a manifest as a whole: what only it needed goes with it, and so do its referrers.
    /// Blobs for which `keep` says so stay, loose.
    pub(crate) fn evict(
        &mut self,
        repository: &str,
        digest: &str,
        now: u64,
        keep: &dyn Fn(&str) -> bool,
    ) -> Result<Removal, IndexError> {
        let mut removal = Removal::default();
        let mut waiting = vec![digest.to_owned()];
        // Ends: each turn removes a manifest or finds that it is gone.
        while let Some(digest) = waiting.pop() {
            self.note_eviction(repository, &digest, now)?;
            let Some(document) = self.remove_manifest(repository, &digest, now)? else { continue };
            removal.manifests += 1;
            waiting.extend(names_under(&*self.referrers, repository, &digest)?);
            for child in document.children.iter().map(ToString::to_string) {
                let wanted =
                    any_under(&*self.named, repository, &child)? || any_under(&*self.tagged, repository, &child)?;
                if !wanted {
                    waiting.push(child);
                }
            }
            for part in document.parts().map(ToString::to_string) {
                if !keep(&part) && !any_under(&*self.named, repository, &part)? {
                    removal += self.evict_blob(repository, &part)?;
                }
            }
        }
        Ok(removal)
    }

    /// For those who ask later where it went.
    fn note_eviction(&mut self, repository: &str, digest: &str, now: u64) -> Result<(), IndexError> {
        for tag in names_under(&*self.tagged, repository, digest)? {
            self.evicted.insert((repository, tag.as_str()), now)?;
        }
        // Any will do: cache keys are in no order of time.
        let surplus = self.evicted.len()?.saturating_sub(MAX_EVICTED);
        let mut forgotten = Vec::new();
        for row in self.evicted.iter()?.take(usize::try_from(surplus).unwrap_or(usize::MAX)) {
            let (key, _) = row?;
            let (repository, tag) = key.value();
            forgotten.push((repository.to_owned(), tag.to_owned()));
        }
        for (repository, tag) in forgotten {
            self.evicted.remove((repository.as_str(), tag.as_str()))?;
        }
        Ok(())
    }

    /// Takes a blob that nothing needs out of `repository`.
    pub(crate) fn evict_blob(&mut self, repository: &str, digest: &str) -> Result<Removal, IndexError> {
        let freed = self.unlink(repository, digest)?;
        Ok(freed.map_or_else(Removal::default, |bytes| Removal { manifests: 0, blobs: 1, bytes }))
    }

    /// Notes when a manifest was used, what it is worth, and its bytes.
    pub(crate) fn set_use(&mut self, repository: &str, digest: &str, used: (u64, u64, u64)) -> Result<(), IndexError> {
        self.forget_use(repository, digest)?;
        self.uses.insert((repository, digest), used)?;
        if self.may_be_evicted(repository, digest)? {
            self.order.insert((repository, used.0.saturating_add(used.1), digest), ())?;
        }
        Ok(())
    }

    /// Notes that a manifest was used at `now`.
    pub(crate) fn touch(&mut self, repository: &str, digest: &str, now: u64) -> Result<(), IndexError> {
        let Some((used, worth, bytes)) = self.uses.get((repository, digest))?.map(|row| row.value()) else {
            return Ok(());
        };
        self.set_use(repository, digest, (used.max(now), worth, bytes))
    }

    fn forget_use(&mut self, repository: &str, digest: &str) -> Result<(), IndexError> {
        let before = self.uses.remove((repository, digest))?.map(|row| row.value());
        if let Some((used, worth, _)) = before {
            self.order.remove((repository, used.saturating_add(worth), digest))?;
        }
        Ok(())
    }

    /// Puts a manifest into the order of eviction, or takes it out.
    pub(crate) fn rank(&mut self, repository: &str, digest: &str) -> Result<(), IndexError> {
        let known = self.uses.get((repository, digest))?.map(|row| row.value());
        known.map_or(Ok(()), |used| self.set_use(repository, digest, used))
    }

    fn rank_referrers(&mut self, repository: &str, subject: &str) -> Result<(), IndexError> {
        for referrer in names_under(&*self.referrers, repository, subject)? {
            self.rank(repository, &referrer)?;
        }
        Ok(())
    }

    /// Not pinned, no part of another manifest, and not about one that is here: those go together.
    fn may_be_evicted(&self, repository: &str, digest: &str) -> Result<bool, IndexError> {
        if self.pins.get((repository, digest))?.is_some() || any_under(&*self.named, repository, digest)? {
            return Ok(false);
        }
        let Some(row) = self.manifests.get((repository, digest))? else { return Ok(false) };
        let subject = Row::parse(row.value()).subject.map(str::to_owned);
        match subject {
            Some(subject) if subject != digest => Ok(self.manifests.get((repository, subject.as_str()))?.is_none()),
            _ => Ok(true),
        }
    }

    /// Looks again at what names `part`, which has come back.
    fn recheck_parents(&mut self, repository: &str, part: &str) -> Result<(), IndexError> {
        for parent in names_under(&*self.named, repository, part)? {
            if self.incomplete.get((repository, parent.as_str()))?.is_none() {
                continue;
            }
            let row = self.manifests.get((repository, parent.as_str()))?.map(|row| row.value().to_vec());
            let Some(row) = row else { continue };
            if self.lacking(repository, &Row::parse(&row).document()?)?.is_empty() {
                self.incomplete.remove((repository, parent.as_str()))?;
            }
        }
        Ok(())
    }
}
