use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use yadokari::digest::Digest;

use super::blobs::content_row;
use super::index::{IndexError, UNHELD};
use super::{Storage, StorageError, durable};

/// Files removed between two commits.
const BATCH: usize = 256;

/// What a sweep did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Files removed.
    pub(crate) files: u64,
    /// Bytes in them.
    pub(crate) bytes: u64,
    /// Files that are still being read.
    pub(crate) busy: u64,
}

impl Storage {
    /// Removes the files of contents that no repository holds and nobody reads.
    pub(crate) fn sweep(&self) -> Result<Swept, StorageError> {
        let _one_at_a_time = self.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = &self.bucket {
            return self.sweep_bucket(bucket, false);
        }
        let mut swept = Swept::default();
        let mut after = None;
        loop {
            let batch = self.unheld(after.as_ref())?;
            let Some(last) = batch.last().cloned() else { return Ok(swept) };
            after = Some(last);
            self.sweep_batch(&batch, &mut swept)?;
        }
    }

    fn unheld(&self, after: Option<&Digest>) -> Result<Vec<Digest>, StorageError> {
        let read = self.index.read()?;
        let table = read.open_table(UNHELD).map_err(IndexError::from)?;
        let start = after.map(ToString::to_string).unwrap_or_default();
        let mut digests = Vec::new();
        for row in table.range(start.as_str()..).map_err(IndexError::from)? {
            let (key, _) = row.map_err(IndexError::from)?;
            digests.extend(key.value().parse().ok().filter(|digest| Some(digest) != after));
            if digests.len() == BATCH {
                break;
            }
        }
        Ok(digests)
    }

    /// The file goes before its entry: killed in between, the next sweep finds the entry again.
    fn sweep_batch(&self, batch: &[Digest], swept: &mut Swept) -> Result<(), StorageError> {
        let _placing = self.hold_contents(batch);
        let read = self.index.read()?;
        let mut gone = Vec::new();
        for digest in batch {
            let text = digest.to_string();
            let Some((size, 0)) = content_row(&read, &text)? else { continue };
            if self.readers.are_reading(digest) {
                swept.busy += 1;
                continue;
            }
            durable::unlink(&self.layout.content(digest))?;
            swept.files += 1;
            swept.bytes += size;
            gone.push((text, size));
        }
        drop(read);
        let sizes: Vec<u64> = gone.iter().map(|(_, size)| *size).collect();
        self.index.change(move |tables| gone.iter().try_for_each(|(digest, _)| tables.drop_content(digest)))?;
        sizes.into_iter().for_each(|size| self.space.release(size));
        Ok(())
    }

    /// Keeps the file of `digest` from being placed or removed by another thread.
    pub(super) fn hold_content(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        self.stripes[self.stripe(digest)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In one order, and only the sweep takes several: so nobody waits in a circle.
    fn hold_contents(&self, digests: &[Digest]) -> Vec<MutexGuard<'_, ()>> {
        let stripes: BTreeSet<usize> = digests.iter().map(|digest| self.stripe(digest)).collect();
        stripes.into_iter().map(|i| self.stripes[i].lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// By the first two digits, of which there are as many pairs as stripes.
    fn stripe(&self, digest: &Digest) -> usize {
        digest.hex().get(..2).and_then(|pair| usize::from_str_radix(pair, 16).ok()).unwrap_or(0)
    }
}
