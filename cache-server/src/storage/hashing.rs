use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use bytes::Bytes;

use crate::hasher::Hasher;

/// Batches that may wait to be hashed: with the one that is being hashed, so much lags behind.
const WAITING: usize = 1;
/// It calls nothing but the hash function.
const STACK_BYTES: usize = 128 << 10;

/// A hasher on a thread of its own, so that bytes are hashed while they are written.
#[derive(Debug)]
pub(super) struct Hashing {
    batches: SyncSender<Vec<Bytes>>,
    thread: JoinHandle<Hasher>,
}

impl Hashing {
    /// Goes on with `hasher`; `None` when there can be no more threads.
    pub(super) fn start(hasher: Hasher) -> Option<Self> {
        let (batches, queue) = sync_channel(WAITING);
        let thread = Builder::new().stack_size(STACK_BYTES).spawn(move || hash_all(hasher, &queue));
        thread.ok().map(|thread| Self { batches, thread })
    }

    /// Adds bytes; waits while too many of them wait.
    pub(super) fn update(&self, chunks: &[Bytes]) {
        // It takes all that comes, unless it panicked: then there is no hasher in the end.
        let _ = self.batches.send(chunks.to_vec());
    }

    /// The hasher, when it has had everything.
    pub(super) fn finish(self) -> Option<Hasher> {
        drop(self.batches);
        self.thread.join().ok()
    }
}

fn hash_all(mut hasher: Hasher, queue: &Receiver<Vec<Bytes>>) -> Hasher {
    for batch in queue {
        batch.iter().for_each(|chunk| hasher.update(chunk));
    }
    hasher
}
