use std::fs::File;
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use sha2::{Digest as _, Sha256};

use super::buffers::{Block, Buffers};
use super::compress::{BLOCK, Compressor, LayerCompression, layer_media_type};
use super::encode::EncodeError;
use super::queue::{Queue, Work, stopped};
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

/// Takes the next block of a tar, of [`BLOCK`] bytes; the last one is shorter.
pub(super) type Emit<'a> = &'a mut dyn FnMut(Vec<u8>) -> io::Result<()>;

/// A tar that was produced whole, and whose blob may still be being written.
pub(super) struct Produced<'scope, W> {
    pub(super) diff_id: DiffId,
    pub(super) uncompressed_size: u64,
    compression: LayerCompression,
    blob: Writing<'scope, W>,
}

enum Writing<'scope, W> {
    Done(Written<W>),
    UnderWay(ScopedJoinHandle<'scope, io::Result<Written<W>>>),
}

/// A blob that is whole; no digest when it is the tar.
struct Written<W> {
    digest: Option<Digest>,
    size: u64,
    sink: W,
}

impl<W> Produced<'_, W> {
    /// Waits until the blob is written.
    ///
    /// # Errors
    /// [`EncodeError::Write`].
    pub(super) fn finish(self) -> Result<(Compressed, W), EncodeError> {
        let Written { digest, size, sink } = match self.blob {
            Writing::Done(written) => written,
            Writing::UnderWay(writing) => joined(writing).map_err(EncodeError::Write)?,
        };
        let digest = digest.unwrap_or_else(|| self.diff_id.0.clone());
        let blob = Descriptor::new(layer_media_type(self.compression.compression), digest, size);
        Ok((Compressed { diff_id: self.diff_id, uncompressed_size: self.uncompressed_size, blob }, sink))
    }
}

/// Runs `produce` in the calling thread, and hashes, compresses and writes its blocks to `sink` in
/// order: in other threads, unless all fits into one block. With a `spool` file, producing does not wait
/// for compressing.
pub(super) fn compress_blocks<'scope, T, W: Write + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    compression: LayerCompression,
    expected_size: u64,
    (sink, spool): (W, Option<File>),
    produce: impl FnOnce(&Buffers, Emit<'_>) -> Result<T, EncodeError>,
) -> Result<(T, Produced<'scope, W>), EncodeError> {
    if expected_size <= BLOCK as u64 {
        in_this_thread(compression, sink, produce)
    } else {
        in_threads(scope, compression, (sink, spool), produce)
    }
}

fn in_this_thread<'scope, T, W: Write>(
    compression: LayerCompression,
    sink: W,
    produce: impl FnOnce(&Buffers, Emit<'_>) -> Result<T, EncodeError>,
) -> Result<(T, Produced<'scope, W>), EncodeError> {
    let mut compressor = Compressor::new(compression).map_err(EncodeError::Write)?;
    let (mut tar, mut blob) = (TarHash::default(), Blob::new(compression, sink));
    let produced = produce(&Buffers::default(), &mut |block| {
        tar.update(&block);
        match &mut compressor {
            Some(compressor) => blob.write(&compressor.compress(&block, Vec::new())?),
            None => blob.write(&block),
        }
    })?;
    let (diff_id, uncompressed_size) = tar.finish();
    let blob = Writing::Done(blob.finish().map_err(EncodeError::Write)?);
    Ok((produced, Produced { diff_id, uncompressed_size, compression, blob }))
}

fn in_threads<'scope, T, W: Write + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    compression: LayerCompression,
    (sink, spool): (W, Option<File>),
    produce: impl FnOnce(&Buffers, Emit<'_>) -> Result<T, EncodeError>,
) -> Result<(T, Produced<'scope, W>), EncodeError> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    let gives_way = spool.is_some();
    let queue = Arc::new(Queue::new(workers, spool));
    let (to_hash, hash_queue) = sync_channel::<Block>(WAITING);
    let (to_writer, write_queue) = channel::<Receiver<io::Result<Block>>>();
    for _ in 0..workers {
        let queue = Arc::clone(&queue);
        scope.spawn(move || {
            if gives_way {
                give_way();
            }
            work(compression, &queue);
        });
    }
    let hashing = scope.spawn(|| hash_all(hash_queue));
    let results = Arc::clone(&queue);
    let writing = scope.spawn(move || write_all(compression, write_queue, &results, sink));
    let buffers = Buffers::default();
    let produced = produce(&buffers, &mut |block| {
        let block = buffers.lend(block);
        let (done, result) = sync_channel(1);
        to_hash.send(block.clone()).map_err(|_| stopped())?;
        queue.push(block, done)?;
        to_writer.send(result).map_err(|_| stopped())
    });
    queue.close();
    drop((to_hash, to_writer));
    let (diff_id, uncompressed_size) = joined(hashing).finish();
    match produced {
        Ok(produced) => {
            let blob = Writing::UnderWay(writing);
            Ok((produced, Produced { diff_id, uncompressed_size, compression, blob }))
        }
        // When writing failed, that is why producing stopped.
        Err(error) => Err(joined(writing).err().map_or(error, EncodeError::Write)),
    }
}

/// Whoever reads the files, and the step that runs meanwhile, go before this thread.
fn give_way() {
    const NICE: i32 = 10;
    // Without it, all take longer.
    let _ = rustix::process::setpriority_process(None, NICE);
}

fn work(compression: LayerCompression, queue: &Queue) {
    let mut compressor = Compressor::new(compression);
    let (read, buffers) = (Buffers::default(), Buffers::default());
    while let Some(Work { piece, done }) = queue.take() {
        let result = queue.read(piece, &read).and_then(|block| match &mut compressor {
            Ok(Some(compressor)) => compressor.compress(&block, buffers.take(0)).map(|member| buffers.lend(member)),
            Ok(None) => Ok(block),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        });
        // Nobody waits any more when writing has failed.
        let _ = done.send(result);
    }
}

fn hash_all(queue: Receiver<Block>) -> TarHash {
    let mut hash = TarHash::default();
    queue.iter().for_each(|block| hash.update(&block));
    hash
}

fn write_all<W: Write>(
    compression: LayerCompression,
    results: Receiver<Receiver<io::Result<Block>>>,
    queue: &Queue,
    sink: W,
) -> io::Result<Written<W>> {
    let mut blob = Blob::new(compression, sink);
    let mut write = |result: Receiver<io::Result<Block>>| -> io::Result<()> {
        blob.write(&result.recv().map_err(|_| stopped())??)?;
        queue.written();
        Ok(())
    };
    let written = results.into_iter().try_for_each(&mut write);
    queue.abandon();
    written.and_then(|()| blob.finish())
}

/// What a thread returned; its panic goes on in this one.
pub(super) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
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
struct Blob<W> {
    sink: W,
    /// `None` when the blob is the tar, which is hashed already.
    hasher: Option<Sha256>,
    size: u64,
}

impl<W: Write> Blob<W> {
    fn new(compression: LayerCompression, sink: W) -> Self {
        Self { sink, hasher: (compression.compression != Compression::None).then(Sha256::new), size: 0 }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.size += bytes.len() as u64;
        self.sink.write_all(bytes)
    }

    fn finish(mut self) -> io::Result<Written<W>> {
        self.sink.flush()?;
        let digest = self.hasher.map(|hasher| Digest::from_sha256(&hasher.finalize().into()));
        Ok(Written { digest, size: self.size, sink: self.sink })
    }
}
