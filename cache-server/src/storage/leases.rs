//! Leases that all replicas know of. They are advice, as those in memory are (`crate::leases`):
//! clocks of replicas may differ, and then two build what one would have.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::ReadableTable;
use uuid::Uuid;

use super::index::{IndexError, LEASES, Tables};
use super::manifests::{millis, millis_now};
use super::{Storage, StorageError};
use crate::leases::Lease;
use crate::name::{RepositoryName, Tag};

impl Storage {
    /// Takes the lease of `tag` for `time`; when another one holds it, says for how long at most.
    pub(crate) fn take_lease(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        time: Duration,
    ) -> Result<Result<Lease, Duration>, StorageError> {
        let now = millis_now();
        if let Some((_, _, end)) = self.lease(repository, tag)?.filter(|(_, _, end)| *end > now) {
            return Ok(Err(Duration::from_millis(end - now)));
        }
        let (name, tag, id) = (repository.to_string(), tag.to_string(), Uuid::new_v4());
        Ok(self.index.change(move |tables| {
            let (key, now) = ((name.as_str(), tag.as_str()), millis_now());
            let (before, end) = tables.leases.get(key)?.map_or((0, 0), |row| (row.value().1, row.value().2));
            if end > now {
                return Ok(Err(Duration::from_millis(end - now)));
            }
            // Greater also than that of a lease that was given back, and of which nothing is left.
            let fence = micros_now().max(before + 1);
            tables.leases.insert(key, (&*id.to_string(), fence, now.saturating_add(millis(time))))?;
            Ok(Ok(Lease { id, fence }))
        })?)
    }

    /// Lengthens a lease; false when it has ended.
    pub(crate) fn renew_lease(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        id: Uuid,
        time: Duration,
    ) -> Result<bool, StorageError> {
        let (name, tag, id) = (repository.to_string(), tag.to_string(), id.to_string());
        Ok(self.index.change(move |tables| {
            let (key, now) = ((name.as_str(), tag.as_str()), millis_now());
            let Some(fence) = tables.held_by(key, &id, now)? else { return Ok(false) };
            tables.leases.insert(key, (&*id, fence, now.saturating_add(millis(time))))?;
            Ok(true)
        })?)
    }

    /// Gives a lease back; false when it has ended.
    pub(crate) fn release_lease(&self, repository: &RepositoryName, tag: &Tag, id: Uuid) -> Result<bool, StorageError> {
        let (name, tag, id) = (repository.to_string(), tag.to_string(), id.to_string());
        Ok(self.index.change(move |tables| {
            let key = (name.as_str(), tag.as_str());
            let held = tables.held_by(key, &id, 0)?.is_some();
            if held {
                tables.leases.remove(key)?;
            }
            Ok(held)
        })?)
    }

    /// Ends the leases of what is there now.
    pub(crate) fn end_leases(&self, repository: &RepositoryName, tags: &[Tag]) -> Result<(), StorageError> {
        let mut held = Vec::new();
        for tag in tags {
            held.extend(self.lease(repository, tag)?.map(|_| tag.to_string()));
        }
        if held.is_empty() {
            return Ok(());
        }
        let name = repository.to_string();
        Ok(self.index.change(move |tables| {
            held.iter().try_for_each(|tag| Ok(tables.leases.remove((name.as_str(), tag.as_str())).map(drop)?))
        })?)
    }

    /// Says whether somebody holds a later lease of any of `tags` than the one with `fence`.
    pub(crate) fn is_any_lease_overtaken(
        &self,
        repository: &RepositoryName,
        tags: &[Tag],
        fence: u64,
    ) -> Result<bool, StorageError> {
        self.index.catch_up()?;
        let now = millis_now();
        for tag in tags {
            if self.lease(repository, tag)?.is_some_and(|(_, later, end)| end > now && later > fence) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn lease(&self, repository: &RepositoryName, tag: &Tag) -> Result<Option<(String, u64, u64)>, IndexError> {
        let table = self.index.read()?.open_table(LEASES)?;
        let row = table.get((repository.as_str(), tag.as_str()))?;
        Ok(row.map(|row| {
            let (id, fence, end) = row.value();
            (id.to_owned(), fence, end)
        }))
    }
}

impl Tables<'_> {
    /// The fence of a lease that `id` still holds at `now`.
    fn held_by(&self, key: (&str, &str), id: &str, now: u64) -> Result<Option<u64>, IndexError> {
        let row = self.leases.get(key)?;
        Ok(row.and_then(|row| {
            let (holder, fence, end) = row.value();
            (holder == id && end > now).then_some(fence)
        }))
    }

    /// Forgets leases that have run out.
    pub(super) fn drop_ended_leases(&mut self, now: u64) -> Result<(), IndexError> {
        let mut ended = Vec::new();
        for row in self.leases.iter()? {
            let (key, value) = row?;
            if value.value().2 <= now {
                let (repository, tag) = key.value();
                ended.push((repository.to_owned(), tag.to_owned()));
            }
        }
        for (repository, tag) in ended {
            self.leases.remove((repository.as_str(), tag.as_str()))?;
        }
        Ok(())
    }
}

fn micros_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
