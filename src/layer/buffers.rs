use std::mem;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Buffers that come back when nobody reads them any more. Blocks are filled in one thread and
/// dropped in others: an allocator keeps far more of such memory than is in use.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// Bytes that several threads read. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Block(Arc<Lent>);

#[derive(Default)]
struct Lent {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    /// An empty buffer, one that came back or a new one.
    pub(super) fn take(&self, capacity: usize) -> Vec<u8> {
        self.free().pop().unwrap_or_else(|| Vec::with_capacity(capacity))
    }

    /// Lends `bytes` until the last clone is dropped.
    pub(super) fn lend(&self, bytes: Vec<u8>) -> Block {
        Block(Arc::new(Lent { bytes, home: self.clone() }))
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        bytes.clear();
        self.home.free().push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_after_its_last_reader() {
        let buffers = Buffers::default();
        let block = buffers.lend(b"bytes".to_vec());
        let reader = block.clone();
        drop(block);
        assert_eq!((&*reader, buffers.free().len()), (&b"bytes"[..], 0));
        drop(reader);
        assert_eq!(buffers.free().len(), 1);
        assert!(buffers.take(0).is_empty() && buffers.free().is_empty());
    }
}
