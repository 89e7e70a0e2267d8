use std::io::{self, Write};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use sha2::{Digest as _, Sha256};

use super::buffers::{Block, Buffers};
use super::compress::{BLOCK, Compressor, LayerCompression, layer_media_type};
use super::encode::EncodeError;
use crate::digest::{DiffId, Digest};
use crate::image::Descriptor;
use crate::image::media_type::Compression;

/// Blocks that may wait for the thread that hashes the tar.
const WAITING: usize = 3;
/// Threads that compress, at most; more than this many cannot be fed.
const MAX_WORKERS: usize = 8;

/// What became of the blocks of a tar.
pub(super) struct Compressed {
    pub(super) diff_id: DiffId,
    pub(super) uncompressed_size: u64,
    pub(super) blob: Descriptor,
}

/// Runs `produce` in the calling thread, which emits a tar in blocks, and hashes, compresses
/// and writes them to `sink` in order: in other threads, unless all fits into one block.
pub(super) fn compress_blocks<T>(
    compression: LayerCompression,
    expected_size: u64,
    sink: &mut (dyn Write + Send),
    produce: impl FnOnce(&Buffers, &mut dyn FnMut(Vec<u8>) -> io::Result<()>) -> Result<T, EncodeError>,
) -> Result<(T, Compressed), EncodeError> {
    if expected_size <= BLOCK as u64 {
        in_this_thread(compression, sink, produce)
    } else {
        in_threads(compression, sink, produce)
    }
}

fn in_this_thread<T>(
    compression: LayerCompression,
    sink: &mut (dyn Write + Send),
    produce: impl FnOnce(&Buffers, &mut dyn FnMut(Vec<u8>) -> io::Result<()>) -> Result<T, EncodeError>,
) -> Result<(T, Compressed), EncodeError> {
    let mut compressor = Compressor::new(compression).map_err(EncodeError::Write)?;
    let (mut tar, mut blob) = (TarHash::default(), Blob::new(compression, sink));
    let produced = produce(&Buffers::default(), &mut |block| {
        tar.update(&block);
        match &mut compressor {
            Some(compressor) => blob.write(&compressor.compress(&block, Vec::new())?),
            None => blob.write(&block),
        }
    })?;
    Ok((produced, finish(compression, tar, blob.finish().map_err(EncodeError::Write)?)))
}

fn in_threads<T>(
    compression: LayerCompression,
    sink: &mut (dyn Write + Send),
    produce: impl FnOnce(&Buffers, &mut dyn FnMut(Vec<u8>) -> io::Result<()>) -> Result<T, EncodeError>,
) -> Result<(T, Compressed), EncodeError> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    thread::scope(|scope| {
        let (to_hash, hash_queue) = sync_channel::<Block>(WAITING);
        let (to_workers, work_queue) = sync_channel::<Work>(workers);
        let (to_writer, write_queue) = sync_channel::<Receiver<io::Result<Block>>>(2 * workers);
        let work_queue = Arc::new(Mutex::new(work_queue));
        for _ in 0..workers {
            let work_queue = Arc::clone(&work_queue);
            scope.spawn(move || work(compression, &work_queue));
        }
        drop(work_queue);
        let hashing = scope.spawn(|| hash_all(hash_queue));
        let writing = scope.spawn(|| write_all(compression, write_queue, sink));
        let buffers = Buffers::default();
        let produced = produce(&buffers, &mut |block| {
            let block = buffers.lend(block);
            let (done, result) = sync_channel(1);
            to_hash.send(block.clone()).map_err(stopped)?;
            to_workers.send(Work { block, done }).map_err(stopped)?;
            to_writer.send(result).map_err(stopped)
        });
        drop((to_hash, to_workers, to_writer));
        let (tar, blob) = (joined(hashing), joined(writing));
        // When writing failed, that is why producing stopped.
        let blob = blob.map_err(EncodeError::Write)?;
        Ok((produced?, finish(compression, tar, blob)))
    })
}

/// A block to compress, and where the result is awaited.
struct Work {
    block: Block,
    done: SyncSender<io::Result<Block>>,
}

fn work(compression: LayerCompression, queue: &Mutex<Receiver<Work>>) {
    let mut compressor = Compressor::new(compression);
    let buffers = Buffers::default();
    loop {
        // The guard is dropped before the block is compressed.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Work { block, done }) = next else { return };
        let result = match &mut compressor {
            Ok(Some(compressor)) => compressor.compress(&block, buffers.take(0)).map(|member| buffers.lend(member)),
            Ok(None) => Ok(block),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        // Nobody waits any more when writing has failed.
        let _ = done.send(result);
    }
}

fn hash_all(queue: Receiver<Block>) -> TarHash {
    let mut hash = TarHash::default();
    queue.iter().for_each(|block| hash.update(&block));
    hash
}

fn write_all(
    compression: LayerCompression,
    queue: Receiver<Receiver<io::Result<Block>>>,
    sink: &mut (dyn Write + Send),
) -> io::Result<(Option<Digest>, u64)> {
    let mut blob = Blob::new(compression, sink);
    for result in queue {
        blob.write(&result.recv().map_err(stopped)??)?;
    }
    blob.finish()
}

fn stopped<E>(_: E) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "writing the layer stopped")
}

/// What a thread returned; its panic goes on in this one.
pub(super) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

fn finish(compression: LayerCompression, tar: TarHash, (digest, size): (Option<Digest>, u64)) -> Compressed {
    let (diff_id, uncompressed_size) = tar.finish();
    let digest = digest.unwrap_or_else(|| diff_id.0.clone());
    Compressed {
        diff_id,
        uncompressed_size,
        blob: Descriptor::new(layer_media_type(compression.compression), digest, size),
    }
}

/// Diff ID and size of a tar.
#[derive(Default)]
pub(super) struct TarHash {
    hasher: Sha256,
    size: u64,
}

impl TarHash {
    pub(super) fn update(&mut self, block: &[u8]) {
        self.hasher.update(block);
        self.size += block.len() as u64;
    }

    pub(super) fn finish(self) -> (DiffId, u64) {
        (DiffId(Digest::from_sha256(&self.hasher.finalize().into())), self.size)
    }
}

/// The blob on its way to the sink.
struct Blob<'a> {
    sink: &'a mut (dyn Write + Send),
    /// `None` when the blob is the tar, which is hashed already.
    hasher: Option<Sha256>,
    size: u64,
}

impl<'a> Blob<'a> {
    fn new(compression: LayerCompression, sink: &'a mut (dyn Write + Send)) -> Self {
        Self { sink, hasher: (compression.compression != Compression::None).then(Sha256::new), size: 0 }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.size += bytes.len() as u64;
        self.sink.write_all(bytes)
    }

    fn finish(self) -> io::Result<(Option<Digest>, u64)> {
        self.sink.flush()?;
        let digest = self.hasher.map(|hasher| Digest::from_sha256(&hasher.finalize().into()));
        Ok((digest, self.size))
    }
}
