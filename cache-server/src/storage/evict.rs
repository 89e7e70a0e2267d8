//! Making room, and removing what is no longer wanted.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::PoisonError;

use redb::ReadableTable;

use super::index::{IndexError, Removal, Tables, names_in, on_disk};
use super::manifests::{millis, millis_now};
use super::space::{Reservation, Shortage};
use super::{Storage, StorageError};
use crate::name::RepositoryName;

/// Manifests removed in one transaction; others wait for it.
const BATCH: u64 = 256;
/// When room is needed, blobs without a manifest stay for so long: their manifest may be on its
/// way, or a client was just told that they are here.
const PRESSING_GRACE_MILLIS: u64 = 60_000;
/// How often a reservation is tried again after others took the room that was made.
const ATTEMPTS: usize = 16;

/// What a collection removed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Collected {
    pub(crate) manifests: u64,
    pub(crate) blobs: u64,
    /// Files removed, and their bytes.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Files that are still being read.
    pub(crate) busy: u64,
}

impl Storage {
    /// Calls `reserve` until it works, making room in between.
    pub(super) fn with_room(
        &self,
        wanted: u64,
        mut reserve: impl FnMut() -> Result<(), super::space::Shortage>,
    ) -> Result<(), StorageError> {
        for _ in 0..ATTEMPTS {
            self.space.set_index(self.index.disk_bytes());
            let Err(shortage) = reserve() else { return Ok(()) };
            self.make_room(wanted, shortage.missing)?;
        }
        Err(StorageError::NoRoom { wanted, limit: self.space.limit().unwrap_or(u64::MAX) })
    }

    /// Bytes in use, and set aside for uploads.
    fn used(&self) -> Result<u64, StorageError> {
        if self.bucket.is_some() { self.used_in_bucket() } else { Ok(self.space.used()) }
    }

    /// Makes sure that a manifest of `size` bytes has room; sets it aside where that is possible.
    pub(super) fn room_for_row(&self, size: u64) -> Result<Option<Reservation>, StorageError> {
        let Some(limit) = self.policy.max_bytes.filter(|_| self.bucket.is_some()) else {
            let mut room = self.space.reservation();
            self.with_room(size, || room.grow_to(size))?;
            return Ok(Some(room));
        };
        self.with_room_in_bucket(size, || {
            let missing = self.used()?.saturating_add(size).saturating_sub(limit);
            Ok(if missing == 0 { Ok(()) } else { Err(Shortage { missing, limit }) })
        })?;
        Ok(None)
    }

    pub(super) fn make_room(&self, wanted: u64, missing: u64) -> Result<(), StorageError> {
        let limit = self.space.limit().unwrap_or(u64::MAX);
        if on_disk(wanted) > limit {
            return Err(StorageError::TooLarge { wanted, limit });
        }
        let _one_at_a_time = self.evicting.lock().unwrap_or_else(PoisonError::into_inner);
        // A little more than is needed now, so that not every upload has to wait for this.
        let goal = self.used()?.saturating_sub(missing).saturating_sub(limit / 100);
        while let surplus @ 1.. = self.used()?.saturating_sub(goal) {
            let removed = self.evict_some(surplus)?;
            let swept = match &self.bucket {
                Some(bucket) => self.sweep_bucket(bucket, true)?,
                None => self.sweep()?,
            };
            if removed == Removal::default() && swept.files == 0 {
                // What is missing may have come free without us.
                return if self.used()?.saturating_add(missing) <= limit {
                    Ok(())
                } else {
                    Err(StorageError::NoRoom { wanted, limit })
                };
            }
        }
        Ok(())
    }

    /// Removes what is worth least, about `bytes` of it.
    fn evict_some(&self, bytes: u64) -> Result<Removal, StorageError> {
        let now = millis_now();
        let since = now.saturating_sub(PRESSING_GRACE_MILLIS);
        self.write_uses(since)?;
        let promised = self.recency.promised(since);
        let _changing = self.hot.changing();
        let abandoned = since.min(now.saturating_sub(millis(self.policy.grace)));
        Ok(self.index.change(move |tables| {
            let promised = tables.promised_since(since, &promised)?;
            let mut removal = tables.evict_loose(abandoned, &promised, bytes)?;
            let mut least = LeastWorthy::new(tables)?;
            while removal.bytes < bytes && removal.manifests < BATCH {
                let Some((repository, digest)) = least.next(tables)? else { break };
                removal += tables.evict_unless_promised(&repository, &digest, now, &promised)?;
            }
            if removal == Removal::default() {
                // Parts of pushes that are still under way, perhaps: after everything else.
                removal = tables.evict_loose(since, &promised, bytes)?;
            }
            Ok(removal)
        })?)
    }

    /// Makes room in a repository that has a quota for `more` bytes.
    pub(super) fn fit_quota(&self, repository: &RepositoryName, more: u64) -> Result<(), StorageError> {
        let Some(limit) = self.policy.quota(repository.as_str()) else { return Ok(()) };
        if more > limit {
            return Err(StorageError::TooLarge { wanted: more, limit });
        }
        let (name, now) = (repository.to_string(), millis_now());
        let since = now.saturating_sub(PRESSING_GRACE_MILLIS);
        self.write_uses(since)?;
        let promised = self.recency.promised(since);
        let _changing = self.hot.changing();
        let (fits, freed) = self.index.change(move |tables| {
            let promised = tables.promised_since(since, &promised)?;
            let mut freed = 0;
            while tables.bytes_in(&name)?.saturating_add(more) > limit {
                let Some(removal) = tables.evict_one_of(&name, now, since, &promised)? else {
                    return Ok((false, freed));
                };
                freed += removal.bytes;
            }
            Ok((true, freed))
        })?;
        if freed > 0 {
            self.sweep()?;
        }
        if fits { Ok(()) } else { Err(StorageError::NoRoom { wanted: more, limit }) }
    }

    /// Removes what is past its time, what nothing needs, and records that lost a part.
    pub(crate) fn collect(&self) -> Result<Collected, StorageError> {
        let now = millis_now();
        let since = now.saturating_sub(millis(self.policy.grace));
        self.write_uses(since)?;
        let promised = self.recency.promised(since);
        let _changing = self.hot.changing();
        let kept = promised.clone();
        let mut removal = self.index.change(move |tables| {
            tables.unpin_expired(now)?;
            tables.forget_promises_before(since)?;
            let kept = tables.promised_since(since, &kept)?;
            let mut removal = tables.evict_incomplete_records(now, &kept)?;
            removal += tables.evict_loose(since, &kept, u64::MAX)?;
            Ok(removal)
        })?;
        removal += self.expire((now, since), &promised)?;
        let swept = self.sweep()?;
        let Removal { manifests, blobs, .. } = removal;
        Ok(Collected { manifests, blobs, files: swept.files, bytes: swept.bytes, busy: swept.busy })
    }

    fn expire(&self, (now, since): (u64, u64), promised: &Promised) -> Result<Removal, StorageError> {
        let mut removal = Removal::default();
        if self.policy.times_to_live.is_empty() {
            return Ok(removal);
        }
        for repository in self.repository_page(None, usize::MAX)?.entries {
            let Some(time) = self.policy.time_to_live(&repository) else { continue };
            let before = now.saturating_sub(millis(time));
            loop {
                let (name, promised) = (repository.clone(), promised.clone());
                let done = self.index.change(move |tables| {
                    let promised = tables.promised_since(since, &promised)?;
                    tables.evict_unused(&name, before, now, &promised)
                })?;
                removal += done;
                if done.manifests < BATCH {
                    break;
                }
            }
        }
        Ok(removal)
    }
}

/// Blobs that clients were told of lately, by repository.
pub(super) type Promised = HashSet<(String, String)>;

impl Tables<'_> {
    /// What was promised here, and at other replicas since the time `since`.
    fn promised_since(&self, since: u64, here: &Promised) -> Result<Promised, IndexError> {
        let mut promised = here.clone();
        for row in self.promised.iter()? {
            let (key, at) = row?;
            let (repository, digest) = key.value();
            if at.value() >= since {
                promised.insert((repository.to_owned(), digest.to_owned()));
            }
        }
        Ok(promised)
    }

    fn forget_promises_before(&mut self, since: u64) -> Result<(), IndexError> {
        let mut old = Vec::new();
        for row in self.promised.iter()? {
            let (key, at) = row?;
            let (repository, digest) = key.value();
            if at.value() < since {
                old.push((repository.to_owned(), digest.to_owned()));
            }
        }
        for (repository, digest) in old {
            self.promised.remove((repository.as_str(), digest.as_str()))?;
        }
        Ok(())
    }

    fn bytes_in(&self, repository: &str) -> Result<u64, IndexError> {
        Ok(self.repositories.get(repository)?.map_or(0, |row| row.value().0))
    }

    fn evict_unless_promised(
        &mut self,
        repository: &str,
        digest: &str,
        now: u64,
        promised: &Promised,
    ) -> Result<Removal, IndexError> {
        self.evict(repository, digest, now, &|part| promised.contains(&(repository.to_owned(), part.to_owned())))
    }

    /// Removes blobs that no manifest has named since the time `since`.
    fn evict_loose(&mut self, since: u64, promised: &Promised, bytes: u64) -> Result<Removal, IndexError> {
        let mut old = Vec::new();
        for row in self.loose.iter()? {
            let (key, at) = row?;
            let (repository, digest) = key.value();
            let key = (repository.to_owned(), digest.to_owned());
            if at.value() <= since && !promised.contains(&key) {
                old.push((at.value(), key));
            }
        }
        old.sort_unstable();
        let mut removal = Removal::default();
        for (_, (repository, digest)) in old {
            if removal.bytes >= bytes {
                break;
            }
            removal += self.evict_blob(&repository, &digest)?;
        }
        Ok(removal)
    }

    /// The least worthy manifest of a repository, else an old loose blob; `None` when there is neither.
    fn evict_one_of(
        &mut self,
        repository: &str,
        now: u64,
        since: u64,
        promised: &Promised,
    ) -> Result<Option<Removal>, IndexError> {
        if let Some((_, digest)) = self.least_worthy_of(repository)? {
            return self.evict_unless_promised(repository, &digest, now, promised).map(Some);
        }
        let mut old = None;
        for digest in names_in(&*self.loose, repository, None)? {
            let digest = digest?;
            let at = self.loose.get((repository, digest.as_str()))?.map_or(u64::MAX, |row| row.value());
            if at <= since && !promised.contains(&(repository.to_owned(), digest.clone())) {
                old = Some(digest);
                break;
            }
        }
        old.map(|digest| self.evict_blob(repository, &digest)).transpose()
    }

    fn least_worthy_of(&self, repository: &str) -> Result<Option<(u64, String)>, IndexError> {
        let Some(row) = self.order.range((repository, 0, "")..)?.next() else { return Ok(None) };
        let (key, _) = row?;
        let (owner, priority, digest) = key.value();
        Ok((owner == repository).then(|| (priority, digest.to_owned())))
    }

    fn unpin_expired(&mut self, now: u64) -> Result<(), IndexError> {
        let mut expired = Vec::new();
        for row in self.pins.iter()? {
            let (key, until) = row?;
            if until.value() <= now {
                let (repository, digest) = key.value();
                expired.push((repository.to_owned(), digest.to_owned()));
            }
        }
        for (repository, digest) in expired {
            self.pins.remove((repository.as_str(), digest.as_str()))?;
            self.rank(&repository, &digest)?;
        }
        Ok(())
    }

    /// A record that lost a part is no use to anyone; images may be wanted all the same.
    fn evict_incomplete_records(&mut self, now: u64, promised: &Promised) -> Result<Removal, IndexError> {
        let mut broken = Vec::new();
        for row in self.incomplete.iter()? {
            let (key, _) = row?;
            let (repository, digest) = key.value();
            broken.push((repository.to_owned(), digest.to_owned()));
        }
        let mut removal = Removal::default();
        for (repository, digest) in broken {
            let row = self.manifests.get((repository.as_str(), digest.as_str()))?.map(|row| row.value().to_vec());
            let Some(row) = row else { continue };
            if super::manifests::is_record(&super::manifests::Row::parse(&row).document()?) {
                removal += self.evict_unless_promised(&repository, &digest, now, promised)?;
            }
        }
        Ok(removal)
    }

    /// Removes manifests not used since the time `before`.
    fn evict_unused(
        &mut self,
        repository: &str,
        before: u64,
        now: u64,
        promised: &Promised,
    ) -> Result<Removal, IndexError> {
        let mut unused = Vec::new();
        for row in self.order.range((repository, 0, "")..)? {
            let (key, _) = row?;
            let (owner, _, digest) = key.value();
            if owner != repository || unused.len() as u64 == BATCH {
                break;
            }
            let used = self.uses.get((repository, digest))?.map_or(u64::MAX, |row| row.value().0);
            if used <= before {
                unused.push(digest.to_owned());
            }
        }
        let mut removal = Removal::default();
        for digest in unused {
            removal += self.evict_unless_promised(repository, &digest, now, promised)?;
        }
        Ok(removal)
    }
}

/// Walks over the manifests of all repositories, the least worthy first, while they are removed.
#[derive(Default)]
struct LeastWorthy {
    heads: BinaryHeap<Reverse<(u64, String, String)>>,
    /// The repository of the last manifest that was handed out.
    pending: Option<String>,
}

impl LeastWorthy {
    fn new(tables: &Tables<'_>) -> Result<Self, IndexError> {
        let names: Result<Vec<String>, IndexError> =
            tables.repositories.iter()?.map(|row| Ok(row?.0.value().to_owned())).collect();
        let mut walk = Self::default();
        names?.into_iter().try_for_each(|repository| walk.push(tables, repository))?;
        Ok(walk)
    }

    /// The next one; the one before must have been removed.
    fn next(&mut self, tables: &Tables<'_>) -> Result<Option<(String, String)>, IndexError> {
        if let Some(repository) = self.pending.take() {
            self.push(tables, repository)?;
        }
        let Some(Reverse((_, repository, digest))) = self.heads.pop() else { return Ok(None) };
        self.pending = Some(repository.clone());
        Ok(Some((repository, digest)))
    }

    fn push(&mut self, tables: &Tables<'_>, repository: String) -> Result<(), IndexError> {
        let least = tables.least_worthy_of(&repository)?;
        self.heads.extend(least.map(|(priority, digest)| Reverse((priority, repository, digest))));
        Ok(())
    }
}
