use std::collections::HashMap;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable};
use yadokari::digest::Digest;

use super::Bucket;
use super::rows::parts_of;
use crate::storage::index::{CONTENTS, DOOMED, IndexError, TOTALS, UPLOADS, on_disk};
use crate::storage::verify::Verified;
use crate::storage::{Storage, StorageError};

impl Storage {
    /// Checks the contents of the index against the objects; with `hash`, every byte.
    pub(in crate::storage) fn verify_bucket(
        &self,
        bucket: &Arc<Bucket>,
        hash: bool,
        verified: &mut Verified,
    ) -> Result<(), StorageError> {
        // The index first: what it speaks of must be listed then.
        let read = self.index.read()?;
        let sizes: HashMap<String, u64> =
            bucket.list("blobs")?.into_iter().map(|(name, meta)| (name, meta.size)).collect();
        for (digest, size) in contents(&read)? {
            verified.blobs += 1;
            let Some(problem) = self.problem_of(bucket, &read, (&digest, size), &sizes, hash)? else { continue };
            // It may have been removed since.
            self.index.catch_up()?;
            let is_still_there = parts_of(&self.index.read()?, &digest)? == parts_of(&read, &digest)?;
            verified.problems.extend(is_still_there.then_some(problem));
        }
        verified.problems.extend(check_sums(&read)?);
        for (name, _) in self.stray_objects(bucket)? {
            verified.problems.push(format!("the object {name} belongs to nothing"));
        }
        Ok(())
    }

    fn problem_of(
        &self,
        bucket: &Arc<Bucket>,
        read: &ReadTransaction,
        (digest, size): (&Digest, u64),
        sizes: &HashMap<String, u64>,
        hash: bool,
    ) -> Result<Option<String>, StorageError> {
        let Some(parts) = parts_of(read, digest)? else { return Ok(Some(format!("{digest}: has no objects"))) };
        if let Some(part) = parts.iter().find(|part| sizes.get(&part.name) != Some(&part.size)) {
            return Ok(Some(format!("{digest}: the object {} is gone, or has another size", part.name)));
        }
        let actual = parts.iter().map(|part| part.size).sum::<u64>();
        if actual != size {
            return Ok(Some(format!("{digest}: {actual} bytes instead of {size}")));
        }
        if !hash {
            return Ok(None);
        }
        let actual = bucket.hash(&parts, digest.algorithm())?;
        Ok((actual != *digest).then(|| format!("{digest}: the content has the digest {actual}")))
    }
}

fn contents(read: &ReadTransaction) -> Result<Vec<(Digest, u64)>, IndexError> {
    let mut contents = Vec::new();
    for row in read.open_table(CONTENTS)?.iter()? {
        let (key, value) = row?;
        // What nobody holds may be gone already.
        if let (Ok(digest), (size, 1..)) = (key.value().parse(), value.value()) {
            contents.push((digest, size));
        }
    }
    Ok(contents)
}

fn check_sums(read: &ReadTransaction) -> Result<Vec<String>, IndexError> {
    let (mut doomed, mut reserved) = (0, 0);
    for row in read.open_table(DOOMED)?.iter()? {
        doomed += on_disk(row?.1.value().0);
    }
    for row in read.open_table(UPLOADS)?.iter()? {
        let (key, _) = row?;
        reserved += super::rows::upload_row(read, key.value())?.map_or(0, |row| row.reserved);
    }
    let totals = read.open_table(TOTALS)?;
    let mut problems = Vec::new();
    for (name, actual) in [("doomed", doomed), ("reserved", reserved)] {
        let noted = totals.get(name)?.map_or(0, |row| row.value());
        if noted != actual {
            problems.push(format!("{noted} bytes noted as {name}, {actual} found"));
        }
    }
    Ok(problems)
}
