use std::io::Read;

use super::blocks::{self, Blocks};
use super::decode::{Archive, DecodeError};
use super::toc::MAX_INLINE;
use super::{Entry, EntryKind, Names, Toc, is_inlined};
use crate::digest::{ContentHash, DiffId};

/// What one pass over a layer's tar tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Its table of contents.
    pub toc: Toc,
    /// Digest of the tar.
    pub diff_id: DiffId,
    /// Bytes of the tar.
    pub uncompressed_size: u64,
}

/// Reads a layer's uncompressed tar to its end, without extracting it.
///
/// Reading (and whatever decompression `tar` does), hashing and parsing each have a thread.
///
/// # Errors
/// See [`DecodeError`].
pub fn scan(tar: impl Read + Send) -> Result<Scanned, DecodeError> {
    scan_with(tar, Names::Layer, |_, _| Ok(()))
}

/// [`scan`] that shows every member to `visit`, which may read the member's content.
pub(crate) fn scan_with<E: From<DecodeError>>(
    tar: impl Read + Send,
    names: Names,
    mut visit: impl FnMut(&Entry, &mut Contents<'_>) -> Result<(), E>,
) -> Result<Scanned, E> {
    let (toc, diff_id, uncompressed_size) = blocks::hashed(tar, |blocks| {
        let mut archive = Archive::new(blocks, names);
        let mut toc = Toc::default();
        while let Some(mut entry) = archive.next_entry()? {
            let mut contents = Contents::new(&mut archive, &entry);
            visit(&entry, &mut contents)?;
            let (hash, captured) = contents.finish()?;
            keep_contents(&mut entry, hash, captured, &mut toc);
            toc.entries.push(entry);
        }
        archive.drain()?;
        Ok::<_, E>(toc)
    })?;
    Ok(Scanned { toc, diff_id, uncompressed_size })
}

/// Puts what was learnt from a file's bytes where it belongs. The last of several members of one
/// path counts.
fn keep_contents(entry: &mut Entry, found: ContentHash, captured: Option<Vec<u8>>, toc: &mut Toc) {
    if let EntryKind::File { hash, .. } = &mut entry.kind {
        *hash = found;
    }
    if is_inlined(&entry.path) {
        toc.inline.remove(&entry.path);
        toc.inline.extend(captured.map(|bytes| (entry.path.clone(), bytes)));
    }
}

/// The content of one member, hashed as it is read.
pub(crate) struct Contents<'a> {
    archive: &'a mut Archive<Blocks>,
    hasher: blake3::Hasher,
    /// The bytes, when the table of contents wants them.
    captured: Option<Vec<u8>>,
}

impl<'a> Contents<'a> {
    fn new(archive: &'a mut Archive<Blocks>, entry: &Entry) -> Self {
        let is_short = matches!(entry.kind, EntryKind::File { size, .. } if size <= MAX_INLINE);
        let captured = (is_short && is_inlined(&entry.path)).then(Vec::new);
        Self { archive, hasher: blake3::Hasher::new(), captured }
    }

    /// Hands all bytes that were not read yet to `write`, piece by piece.
    pub(crate) fn copy<E: From<DecodeError>>(
        &mut self,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let piece = self.archive.chunk()?;
            if piece.is_empty() {
                return Ok(());
            }
            self.hasher.update(piece);
            if let Some(captured) = &mut self.captured {
                captured.extend_from_slice(piece);
            }
            write(piece)?;
            let length = piece.len();
            self.archive.consume(length);
        }
    }

    fn finish(mut self) -> Result<(ContentHash, Option<Vec<u8>>), DecodeError> {
        self.copy(|_| Ok::<_, DecodeError>(()))?;
        Ok((ContentHash(*self.hasher.finalize().as_bytes()), self.captured))
    }
}
