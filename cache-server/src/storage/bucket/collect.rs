//! Removing objects. Names are never used twice, so whoever removes an object that the index has
//! given up can do no harm, however late, and however many do the same.

use std::time::Duration;

use object_store::ObjectMeta;

use super::rows::{bytes_taken_now, known_objects};
use super::{Bucket, BucketError};
use crate::storage::index::{DOOMED, IndexError};
use crate::storage::manifests::{millis, millis_now};
use crate::storage::space::Shortage;
use crate::storage::sweep::Swept;
use crate::storage::{Storage, StorageError};

/// Objects removed between two changes of the index.
const BATCH: usize = 500;
/// Without need of room, objects stay for so long: another replica may be serving them.
const GRACE: Duration = Duration::from_secs(60);
/// An object that the index does not know may be on its way into it for so long.
const STRAY_AGE: Duration = Duration::from_secs(2 * 3600);
/// The same for the journal, whose objects are named at once.
const JOURNAL_STRAY_AGE: Duration = Duration::from_secs(600);
/// How often a reservation is tried again after others took the room that was made.
const ATTEMPTS: usize = 16;

impl Storage {
    /// Calls `reserve` until it works, making room in between.
    pub(in crate::storage) fn with_room_in_bucket(
        &self,
        wanted: u64,
        mut reserve: impl FnMut() -> Result<Result<(), Shortage>, StorageError>,
    ) -> Result<(), StorageError> {
        for _ in 0..ATTEMPTS {
            let Err(shortage) = reserve()? else { return Ok(()) };
            self.make_room(wanted, shortage.missing)?;
        }
        Err(StorageError::NoRoom { wanted, limit: self.policy.max_bytes.unwrap_or(u64::MAX) })
    }

    /// Bytes in the bucket, and set aside for uploads.
    pub(in crate::storage) fn used_in_bucket(&self) -> Result<u64, StorageError> {
        let taken = bytes_taken_now(&self.index.read()?)?;
        Ok(taken.saturating_add(self.index.disk_bytes()))
    }

    /// Gives up what no repository holds, and removes what was given up a while ago; all of it
    /// when the room is needed.
    pub(in crate::storage) fn sweep_bucket(&self, bucket: &Bucket, needed: bool) -> Result<Swept, StorageError> {
        while self.index.change(|tables| tables.doom_unheld(millis_now()))? {}
        if !needed {
            self.index.change(|tables| tables.drop_ended_leases(millis_now()))?;
        }
        let grace = if needed { 0 } else { millis(GRACE) };
        let before = millis_now().saturating_sub(grace);
        let mut swept = Swept::default();
        for batch in self.doomed(before)?.chunks(BATCH) {
            let (busy, free): (Vec<_>, Vec<_>) = batch.iter().partition(|(name, _)| bucket.readers.are_reading(name));
            let names: Vec<String> = free.iter().map(|(name, _)| name.clone()).collect();
            bucket.delete(&names)?;
            swept.busy += busy.len() as u64;
            swept.files += free.len() as u64;
            swept.bytes += free.iter().map(|(_, size)| size).sum::<u64>();
            self.index.change(move |tables| tables.buried(&names))?;
        }
        Ok(swept)
    }

    fn doomed(&self, before: u64) -> Result<Vec<(String, u64)>, IndexError> {
        let table = self.index.read()?.open_table(DOOMED)?;
        let mut doomed = Vec::new();
        for row in redb::ReadableTable::iter(&table)? {
            let (key, value) = row?;
            let (size, since) = value.value();
            if since <= before {
                doomed.push((key.value().to_owned(), size));
            }
        }
        Ok(doomed)
    }

    /// Objects that nothing knows: killed replicas leave such. Name and bytes of each.
    pub(in crate::storage) fn stray_objects(&self, bucket: &Bucket) -> Result<Vec<(String, u64)>, StorageError> {
        // In this order: what became known meanwhile is known.
        let listed = bucket.list("blobs")?;
        self.index.catch_up()?;
        let known = known_objects(&self.index.read()?)?;
        let old = |meta: &ObjectMeta, age| is_older(meta, age);
        let stray = listed.into_iter().filter(|(name, meta)| old(meta, STRAY_AGE) && !known.contains(name));
        let mut strays: Vec<(String, u64)> = stray.map(|(name, meta)| (name, meta.size)).collect();
        let mut journal = bucket.list("segments")?;
        journal.extend(bucket.list("checkpoints")?);
        let named: std::collections::HashSet<String> = bucket.head()?.objects().into_iter().collect();
        journal.extend(bucket.list("probe")?);
        let stray = journal.into_iter().filter(|(name, meta)| old(meta, JOURNAL_STRAY_AGE) && !named.contains(name));
        strays.extend(stray.map(|(name, meta)| (name, meta.size)));
        Ok(strays)
    }

    /// Removes objects that nothing knows.
    pub(in crate::storage) fn remove_stray_objects(&self, bucket: &Bucket) -> Result<Swept, StorageError> {
        let strays = self.stray_objects(bucket)?;
        let names: Vec<String> = strays.iter().map(|(name, _)| name.clone()).collect();
        bucket.delete(&names)?;
        Ok(Swept { files: strays.len() as u64, bytes: strays.iter().map(|(_, size)| size).sum(), busy: 0 })
    }

    /// Forgets the uploads that nobody has written to for `age`; returns how many.
    pub(in crate::storage) fn remove_stale_objects(&self, age: Duration) -> Result<usize, StorageError> {
        let now = millis_now();
        let since = now.saturating_sub(millis(age));
        Ok(self.index.change(move |tables| tables.drop_uploads_before(since, now))?)
    }

    /// Whether other servers may change the same data.
    pub(crate) fn has_replicas(&self) -> bool {
        self.bucket.is_some()
    }

    /// What a replica does every second: learns what others did, tells them what it promised its
    /// clients, and now and then writes a checkpoint.
    pub(crate) fn follow(&self) -> Result<(), StorageError> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        self.index.catch_up()?;
        self.share_promises()?;
        Ok(self.index.checkpoint(bucket)?)
    }

    fn share_promises(&self) -> Result<(), StorageError> {
        let (promises, now) = (self.recency.take_new_promises(), millis_now());
        if promises.is_empty() {
            return Ok(());
        }
        Ok(self.index.change(move |tables| {
            for (repository, digest) in &promises {
                tables.promised.insert((repository.as_str(), digest.as_str()), now)?;
            }
            Ok(())
        })?)
    }
}

impl Bucket {
    /// Writes an object and removes it.
    pub(in crate::storage) fn check_writable(&self) -> Result<(), BucketError> {
        let name = format!("probe/{}", uuid::Uuid::new_v4());
        self.put(&name, "ready", object_store::PutMode::Overwrite)?;
        self.delete(&[name])
    }
}

/// By this machine's clock; a time in the future is not old.
fn is_older(meta: &ObjectMeta, age: Duration) -> bool {
    let at = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0);
    millis_now().saturating_sub(at) >= millis(age)
}
