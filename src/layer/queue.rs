//! Blocks of a tar on their way to the threads that compress them.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::buffers::{Block, Buffers};

/// Bytes that may wait in a spool file: whoever reads further ahead waits.
const MAX_SPOOLED: u64 = 256 << 20;

/// Where a compressed block is awaited.
pub(super) type Done = SyncSender<io::Result<Block>>;

/// A block to compress.
pub(super) struct Work {
    pub(super) piece: Piece,
    pub(super) done: Done,
}

/// A block, or where in the spool file it waits.
pub(super) enum Piece {
    Block(Block),
    Spooled { offset: u64, length: usize },
}

/// Takes blocks in order, gives them out in order, and holds few in memory: when there is a spool
/// file, the rest waits there, otherwise the reader does.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    spool: Option<File>,
    /// Blocks that wait in memory, and twice as many that are being compressed or written.
    room: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    in_memory: usize,
    spooled: u64,
    /// Given out and not yet written.
    under_way: usize,
    closed: bool,
    abandoned: bool,
}

impl Queue {
    pub(super) fn new(room: usize, spool: Option<File>) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), spool, room }
    }

    /// Adds a block; waits where there is no room.
    ///
    /// # Errors
    /// When nobody takes blocks any more, or the spool file cannot be written.
    pub(super) fn push(&self, block: Block, done: Done) -> io::Result<()> {
        let full = |state: &mut State| !state.abandoned && !self.has_room(state);
        let mut state = self.changed.wait_while(self.state(), full).unwrap_or_else(PoisonError::into_inner);
        if state.abandoned {
            return Err(stopped());
        }
        let piece = match &self.spool {
            Some(spool) if state.in_memory >= self.room => {
                let (offset, length) = (state.spooled, block.len());
                state.spooled += length as u64;
                drop(state);
                spool.write_all_at(&block, offset)?;
                state = self.state();
                Piece::Spooled { offset, length }
            }
            _ => {
                state.in_memory += 1;
                Piece::Block(block)
            }
        };
        state.waiting.push_back(Work { piece, done });
        self.changed.notify_all();
        Ok(())
    }

    fn has_room(&self, state: &State) -> bool {
        state.in_memory < self.room || (self.spool.is_some() && state.spooled < MAX_SPOOLED)
    }

    /// The next block; waits for it, and for what was given out before to be written. `None` when there is
    /// no more.
    pub(super) fn take(&self) -> Option<Work> {
        let idle = |state: &mut State| {
            let nothing = state.waiting.is_empty() && !state.closed;
            !state.abandoned && (nothing || state.under_way >= 2 * self.room)
        };
        let mut state = self.changed.wait_while(self.state(), idle).unwrap_or_else(PoisonError::into_inner);
        let work = if state.abandoned { None } else { state.waiting.pop_front() }?;
        state.under_way += 1;
        if let Piece::Block(_) = work.piece {
            state.in_memory -= 1;
        }
        self.changed.notify_all();
        Some(work)
    }

    /// The bytes of a piece.
    pub(super) fn read(&self, piece: Piece, buffers: &Buffers) -> io::Result<Block> {
        match (piece, &self.spool) {
            (Piece::Block(block), _) => Ok(block),
            (Piece::Spooled { offset, length }, Some(spool)) => {
                let mut bytes = buffers.take(length);
                bytes.resize(length, 0);
                spool.read_exact_at(&mut bytes, offset)?;
                Ok(buffers.lend(bytes))
            }
            (Piece::Spooled { .. }, None) => Err(stopped()),
        }
    }

    /// A block is written.
    pub(super) fn written(&self) {
        self.state().under_way -= 1;
        self.changed.notify_all();
    }

    /// No block follows.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Nobody writes blocks any more.
    pub(super) fn abandon(&self) {
        self.state().abandoned = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a thread says when another one ended before it.
pub(super) fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "writing the layer stopped")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn block(byte: u8) -> Block {
        Buffers::default().lend(vec![byte; 3])
    }

    #[test]
    fn what_does_not_fit_into_memory_waits_in_the_spool_file() {
        let queue = Queue::new(1, Some(tempfile::tempfile().expect("file")));
        let (done, _result) = sync_channel(1);
        for byte in 0..3 {
            queue.push(block(byte), done.clone()).expect("push");
        }
        queue.close();
        let mut read = Vec::new();
        while let Some(work) = queue.take() {
            read.push(queue.read(work.piece, &Buffers::default()).expect("read").to_vec());
            queue.written();
        }
        assert_eq!(read, [vec![0; 3], vec![1; 3], vec![2; 3]]);
    }

    #[test]
    fn nobody_waits_for_a_writer_that_is_gone() {
        let queue = Queue::new(1, None);
        let (done, _result) = sync_channel(1);
        queue.push(block(0), done.clone()).expect("push");
        std::thread::scope(|scope| {
            let pushing = scope.spawn(|| queue.push(block(1), done));
            queue.abandon();
            assert!(pushing.join().expect("join").is_err());
        });
        assert!(queue.take().is_none());
    }
}
