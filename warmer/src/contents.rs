//! What layers contain, from the bytes in the store.

use std::io::{self, Read};

use yadokari::digest::DiffId;
use yadokari::image::{Descriptor, media_type};
use yadokari::layer::{DecodeError, Scanned, decompress, scan};
use yadokari::store::StoreError;

use crate::stop::Stop;
use crate::warm::{WarmError, Warmer};

impl Warmer<'_> {
    /// Makes sure that the store has the table of contents of a layer whose blob it has.
    pub(crate) fn store_contents(&self, blob: &Descriptor, diff_id: &DiffId) -> Result<(), WarmError> {
        if self.force {
            self.remove_damaged_toc(diff_id)?;
        }
        if self.has_toc(diff_id)? {
            return Ok(());
        }
        let Some(scanned) = self.scan_stored(blob)? else { return Ok(()) };
        self.save_contents(blob, diff_id, &scanned)
    }

    /// Saves what a pass over the layer told, when it is the layer that it should be.
    pub(crate) fn save_contents(
        &self,
        blob: &Descriptor,
        diff_id: &DiffId,
        scanned: &Scanned,
    ) -> Result<(), WarmError> {
        if scanned.diff_id != *diff_id {
            let (layer, found, expected) = (blob.digest.clone(), scanned.diff_id.clone(), diff_id.clone());
            return Err(WarmError::DiffId { layer, found, expected });
        }
        let toc = scanned.toc.to_bytes().map_err(|error| layer_error(blob, error.into()))?;
        let toc = self.store.put_blob(media_type::TOC, &toc)?;
        Ok(self.store.put_toc(diff_id, &toc)?)
    }

    /// `None` when another process removed the layer.
    fn scan_stored(&self, blob: &Descriptor) -> Result<Option<Scanned>, WarmError> {
        let Some(reader) = self.store.open_verified(blob)? else { return Ok(None) };
        match scan_blob(Stoppable { reader, stop: self.blobs.stop }) {
            Ok(scanned) => Ok(Some(scanned)),
            Err(_) if self.blobs.stop.is_set() => Err(WarmError::Stopped),
            Err(error) => {
                // Next time it is fetched again.
                self.blobs.remove_damaged(blob)?;
                Err(layer_error(blob, error))
            }
        }
    }

    fn has_toc(&self, diff_id: &DiffId) -> Result<bool, StoreError> {
        Ok(self.store.toc_descriptor(diff_id)?.is_some_and(|toc| self.store.has(&toc)))
    }

    fn remove_damaged_toc(&self, diff_id: &DiffId) -> Result<(), StoreError> {
        match (self.store.toc_descriptor(diff_id)?, self.store.toc(diff_id)?) {
            (Some(toc), None) => self.blobs.remove(&toc.digest),
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

/// Fails when the process is to end.
pub(crate) struct Stoppable<'a, R> {
    pub(crate) reader: R,
    pub(crate) stop: &'a Stop,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(io::Error::other("interrupted"));
        }
        self.reader.read(buffer)
    }
}
