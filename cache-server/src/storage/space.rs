//! How many bytes are taken, and how many may be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::index::on_disk;

/// The account of one data directory: whole blocks of its contents, uploads and index.
#[derive(Debug)]
pub(crate) struct Space {
    /// `--max-bytes`.
    limit: Option<u64>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Taken {
    contents: u64,
    reserved: u64,
    index: u64,
}

/// Bytes set aside for an upload; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    space: Arc<Space>,
    bytes: u64,
}

/// What is missing for a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// Bytes.
    pub(crate) missing: u64,
    /// Bytes that may be used in all.
    pub(crate) limit: u64,
}

impl Space {
    pub(super) fn new(limit: Option<u64>, contents: u64, index: u64) -> Arc<Self> {
        Arc::new(Self { limit, taken: Mutex::new(Taken { contents, reserved: 0, index }) })
    }

    /// Bytes that may be used.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Bytes in use, and set aside for uploads.
    pub(crate) fn used(&self) -> u64 {
        let taken = self.lock();
        taken.contents + taken.reserved + taken.index
    }

    /// An empty reservation.
    pub(super) fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { space: Arc::clone(self), bytes: 0 }
    }

    pub(super) fn set_index(&self, bytes: u64) {
        self.lock().index = bytes;
    }

    /// A file of `size` bytes is gone.
    pub(super) fn release(&self, size: u64) {
        let mut taken = self.lock();
        taken.contents = taken.contents.saturating_sub(on_disk(size));
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Sets aside room for `size` bytes in all; never less than before.
    pub(super) fn grow_to(&mut self, size: u64) -> Result<(), Shortage> {
        let bytes = on_disk(size);
        let more = bytes.saturating_sub(self.bytes);
        let mut taken = self.space.lock();
        if let Some(limit) = self.space.limit {
            let wanted = taken.contents.saturating_add(taken.reserved).saturating_add(taken.index).saturating_add(more);
            if more > 0 && wanted > limit {
                return Err(Shortage { missing: wanted - limit, limit });
            }
        }
        taken.reserved = taken.reserved.saturating_add(more);
        self.bytes += more;
        Ok(())
    }

    /// Room for bytes that are on disk already, whatever the limit says.
    pub(super) fn admit(&mut self, size: u64) {
        let bytes = on_disk(size);
        self.space.lock().reserved += bytes;
        self.bytes += bytes;
    }

    /// Gives back all but room for `size` bytes.
    pub(super) fn shrink_to(&mut self, size: u64) {
        let surplus = self.bytes.saturating_sub(on_disk(size));
        self.space.lock().reserved -= surplus;
        self.bytes -= surplus;
    }

    /// The bytes became a content of `size` bytes that was not there before.
    pub(super) fn become_content(self, size: u64) {
        self.space.lock().contents += on_disk(size);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut taken = self.space.lock();
        taken.reserved = taken.reserved.saturating_sub(self.bytes);
    }
}
