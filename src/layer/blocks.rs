use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::buffers::{Block, Buffers};
use super::pipeline::{TarHash, joined};
use crate::digest::DiffId;

/// Bytes that are handed on at a time: enough to make the hand-over cheap.
const BLOCK: usize = 256 << 10;
/// Blocks that may wait between two threads.
const WAITING: usize = 4;

/// Runs `consume` in the calling thread over the bytes of `tar`, while one thread reads
/// (and decompresses) it and another hashes it. What `consume` leaves is not read.
///
/// Returns what `consume` did, with diff ID and size of what was read.
pub(super) fn hashed<T, E>(
    tar: impl Read + Send,
    consume: impl FnOnce(Blocks) -> Result<T, E>,
) -> Result<(T, DiffId, u64), E> {
    thread::scope(|scope| {
        let (to_hash, hash_queue) = sync_channel::<Block>(WAITING);
        let (to_consumer, consume_queue) = sync_channel(WAITING);
        scope.spawn(move || read_all(tar, &to_hash, &to_consumer));
        let hashing = scope.spawn(move || {
            let mut hash = TarHash::default();
            hash_queue.iter().for_each(|block| hash.update(&block));
            hash
        });
        // When the consumer has dropped its end, reading stops.
        let consumed = consume(Blocks { queue: consume_queue, block: Block::default(), taken: 0 });
        let (diff_id, size) = joined(hashing).finish();
        Ok((consumed?, diff_id, size))
    })
}

/// Ends at the end of `tar`, at its first error, or when nobody consumes any more.
fn read_all(mut tar: impl Read, to_hash: &SyncSender<Block>, to_consumer: &SyncSender<io::Result<Block>>) {
    let buffers = Buffers::default();
    loop {
        let mut bytes = buffers.take(BLOCK);
        let read = tar.by_ref().take(BLOCK as u64).read_to_end(&mut bytes);
        let block = buffers.lend(bytes);
        let is_last = !matches!(read, Ok(BLOCK));
        if to_hash.send(block.clone()).is_err() || to_consumer.send(Ok(block)).is_err() {
            return;
        }
        if let Err(error) = read {
            // Whether anybody still listens does not matter.
            let _ = to_consumer.send(Err(error));
        }
        if is_last {
            return;
        }
    }
}

/// The consumer's end: a reader that lends whole blocks.
pub(super) struct Blocks {
    queue: Receiver<io::Result<Block>>,
    block: Block,
    /// How much of the block was consumed.
    taken: usize,
}

impl BufRead for Blocks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.taken == self.block.len() {
            match self.queue.recv() {
                Ok(block) => (self.block, self.taken) = (block?, 0),
                Err(_) => return Ok(b""),
            }
        }
        Ok(&self.block[self.taken..])
    }

    fn consume(&mut self, amount: usize) {
        self.taken = (self.taken + amount).min(self.block.len());
    }
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
