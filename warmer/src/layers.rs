//! Layers: into the store, with their tables of contents.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use yadokari::digest::{DiffId, Digest};
use yadokari::image::{Descriptor, Reference, media_type};
use yadokari::layer::{DecodeError, Scanned, decompress, scan};
use yadokari::registry::{BlobReader, Purpose, ResolvedImage};
use yadokari::report::{Direction, Event, Observer, Transfer};
use yadokari::store::{BlobWriter, StoreError};

use crate::warm::{WarmError, Warmer};

/// Layers of an image that are fetched at a time.
const PARALLEL: usize = 4;

/// Bytes between two events of one transfer.
const PROGRESS_BYTES: u64 = 256 << 10;

type Layer<'a> = (&'a Descriptor, &'a DiffId);

impl Warmer<'_> {
    /// Makes sure that the store has every layer of the image, and its table of contents.
    pub(crate) fn store_layers(&self, image: &ResolvedImage) -> Result<(), WarmError> {
        let mut seen = BTreeSet::new();
        let all = image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids);
        let layers: Vec<Layer<'_>> = all.filter(|(blob, diff_id)| seen.insert((&blob.digest, *diff_id))).collect();
        let workers = PARALLEL.min(layers.len());
        let queue = Mutex::new(layers.into_iter());
        let failed = AtomicBool::new(false);
        let work = || self.work(&image.source, &queue, &failed);
        thread::scope(|scope| {
            let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let ended = running.into_iter().map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            // All of them end before the first failure is passed on.
            ended.collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// Takes layer after layer. After a failure elsewhere no new one is begun.
    fn work<'a>(
        &self,
        source: &Reference,
        queue: &Mutex<impl Iterator<Item = Layer<'a>>>,
        failed: &AtomicBool,
    ) -> Result<(), WarmError> {
        while !failed.load(Ordering::Relaxed) {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((blob, diff_id)) = next else { break };
            self.store_layer(source, blob, diff_id).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn store_layer(&self, source: &Reference, blob: &Descriptor, diff_id: &DiffId) -> Result<(), WarmError> {
        if self.force {
            self.remove_damaged(blob)?;
            self.remove_damaged_toc(diff_id)?;
        }
        if self.store.has(blob) && self.has_toc(diff_id)? {
            return Ok(());
        }
        let scanned = match self.scan_stored(blob)? {
            Some(scanned) => scanned,
            None => self.fetch_and_scan(source, blob)?,
        };
        if scanned.diff_id != *diff_id {
            let (layer, expected) = (blob.digest.clone(), diff_id.clone());
            return Err(WarmError::DiffId { layer, found: scanned.diff_id, expected });
        }
        let toc = scanned.toc.to_bytes().map_err(|error| layer_error(blob, error.into()))?;
        let toc = self.store.put_blob(media_type::TOC, &toc)?;
        Ok(self.store.put_toc(diff_id, &toc)?)
    }

    /// Scans a layer that is in the store; `None` when it is not, or is damaged.
    fn scan_stored(&self, blob: &Descriptor) -> Result<Option<Scanned>, WarmError> {
        if !self.store.has(blob) {
            return Ok(None);
        }
        let Some(reader) = self.store.open_verified(blob)? else { return Ok(None) };
        match scan_blob(reader) {
            Ok(scanned) => Ok(Some(scanned)),
            Err(_) if self.remove_damaged(blob)? => Ok(None),
            Err(error) => Err(layer_error(blob, error)),
        }
    }

    /// Fetches and scans a layer in one pass.
    fn fetch_and_scan(&self, source: &Reference, blob: &Descriptor) -> Result<Scanned, WarmError> {
        let reader = self.client.fetch_blob(source, blob, Purpose::Pull)?;
        // The reader gives out the last bytes only when the digest is right.
        let writer = self.store.blob_writer_for(blob)?.with_known_digest(blob.digest.clone());
        let progress = Progress { observer: self.observer, digest: &blob.digest, total: blob.size, done: 0, told: 0 };
        let mut kept = Kept { reader, writer, progress };
        let scanned = scan_blob(&mut kept).map_err(|error| layer_error(blob, error))?;
        kept.writer.commit_as(blob)?;
        Ok(scanned)
    }

    /// Whether the table of contents of a layer is there.
    pub(crate) fn has_toc(&self, diff_id: &DiffId) -> Result<bool, StoreError> {
        Ok(self.store.toc_descriptor(diff_id)?.is_some_and(|toc| self.store.has(&toc)))
    }

    /// Reads a blob; when it is damaged, removes it, so that it can be stored again.
    pub(crate) fn remove_damaged(&self, blob: &Descriptor) -> Result<bool, StoreError> {
        let Some(mut reader) = self.store.open_verified(blob)? else { return Ok(false) };
        let Err(error) = io::copy(&mut reader, &mut io::sink()) else { return Ok(false) };
        if error.kind() != ErrorKind::InvalidData {
            return Err(StoreError::Io { operation: "read", path: self.store.blob_path(&blob.digest), source: error });
        }
        self.observer.event(Event::Warning(format!("{error}; fetching it again")));
        self.remove_blob(&blob.digest)?;
        Ok(true)
    }

    fn remove_damaged_toc(&self, diff_id: &DiffId) -> Result<(), StoreError> {
        if let (Some(toc), None) = (self.store.toc_descriptor(diff_id)?, self.store.toc(diff_id)?) {
            self.remove_blob(&toc.digest)?;
        }
        Ok(())
    }

    fn remove_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.store.blob_path(digest);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(StoreError::Io { operation: "remove", path, source })
            }
            _ => Ok(()),
        }
    }
}

/// Scans a compressed layer and reads it to its end, also where the decompression ended before.
fn scan_blob(mut blob: impl Read + Send) -> Result<Scanned, DecodeError> {
    let scanned = scan(decompress(&mut blob)?)?;
    io::copy(&mut blob, &mut io::sink())?;
    Ok(scanned)
}

fn layer_error(blob: &Descriptor, source: DecodeError) -> WarmError {
    WarmError::Layer { layer: blob.digest.clone(), source }
}

/// Writes to the store what is read.
struct Kept<'a> {
    reader: BlobReader,
    writer: BlobWriter,
    progress: Progress<'a>,
}

impl Read for Kept<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.writer.write_all(&buffer[..count])?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}

/// How far a transfer is, told now and then.
struct Progress<'a> {
    observer: &'a dyn Observer,
    digest: &'a Digest,
    total: u64,
    done: u64,
    told: u64,
}

impl Progress<'_> {
    fn advance(&mut self, count: u64) {
        self.done += count;
        let is_end = count > 0 && self.done == self.total;
        if is_end || self.done - self.told >= PROGRESS_BYTES {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.told = self.done;
        let (digest, done, total) = (self.digest.clone(), self.done, self.total);
        self.observer.event(Event::Transfer(Transfer { direction: Direction::Pull, digest, done, total }));
    }
}
