use std::fs::File;
use std::io::{self, Read, Write};
use std::mem;
use std::thread::{self, Scope};

use super::buffers::Buffers;
use super::compress::{BLOCK, LayerCompression};
use super::header::{RECORD, append_header};
use super::path::{self, PathError};
use super::pipeline::{Compressed, Emit, Produced, compress_blocks};
use super::toc::MAX_INLINE;
use super::{Change, ChangeKind, Content, Entry, EntryKind, EntryPath, Names, Toc, WHITEOUT_PREFIX, is_inlined};
use crate::digest::{ContentHash, DiffId};
use crate::image::Descriptor;

/// Opens the bytes of a file that goes into a layer; never asked for [`Content::Bytes`].
pub type OpenContent<'a> = dyn Fn(&Content) -> io::Result<Box<dyn Read>> + 'a;

/// A layer that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Its table of contents.
    pub toc: Toc,
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Bytes of the uncompressed tar.
    pub uncompressed_size: u64,
    /// The compressed blob, with an OCI media type.
    pub blob: Descriptor,
}

/// A layer whose files were all read, and whose blob may still be being written.
pub struct Unwritten<'scope, W> {
    /// Its table of contents.
    pub toc: Toc,
    produced: Produced<'scope, W>,
}

impl<W> Unwritten<'_, W> {
    /// Digest of the uncompressed tar.
    pub fn diff_id(&self) -> &DiffId {
        &self.produced.diff_id
    }

    /// Bytes of the uncompressed tar.
    pub fn uncompressed_size(&self) -> u64 {
        self.produced.uncompressed_size
    }

    /// Waits until the blob is written; gives it with the sink.
    ///
    /// # Errors
    /// [`EncodeError::Write`].
    pub fn finish(self) -> Result<(Descriptor, W), EncodeError> {
        let (compressed, sink) = self.produced.finish()?;
        Ok((compressed.blob, sink))
    }
}

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A path cannot stand in a layer.
    #[error("failed to write /{} to layer", String::from_utf8_lossy(path))]
    Path {
        /// The path.
        path: EntryPath,
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// The name means a deletion when it stands in a layer.
    #[error("failed to write /{} to layer: names that start with .wh. are reserved", String::from_utf8_lossy(path))]
    Reserved {
        /// The path.
        path: EntryPath,
    },
    /// A file's bytes could not be opened or read.
    #[error("failed to read /{} for layer", String::from_utf8_lossy(path))]
    Read {
        /// The path in the layer.
        path: EntryPath,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file has not as many bytes as were announced: most likely it was written to meanwhile.
    #[error("/{} is {} than its {expected} bytes: it changed while it was read", String::from_utf8_lossy(path),
        if *longer { "longer" } else { "shorter" })]
    Size {
        /// The path in the layer.
        path: EntryPath,
        /// Bytes announced.
        expected: u64,
        /// Whether there were more.
        longer: bool,
    },
    /// The layer could not be written where it should go.
    #[error("failed to write layer")]
    Write(#[source] io::Error),
}

/// Writes the layer that holds `changes`, in that order, to `sink`, in one pass over the files.
///
/// The list should come from [`crate::view::with_ancestors`]. Equal changes and contents give
/// equal bytes, whatever the machine. Reading goes on in the calling thread; hashing,
/// compressing and writing in others when the layer is longer than a block. Holds a few blocks
/// of 512 KiB per processor at most. No changes give the empty tar of 1024 zero bytes.
///
/// # Errors
/// See [`EncodeError`]; what `sink` then holds is a part of a layer.
pub fn encode(
    changes: &[Change],
    open: &OpenContent<'_>,
    compression: impl Into<LayerCompression>,
    sink: &mut (dyn Write + Send),
) -> Result<Encoded, EncodeError> {
    write(changes, open, compression.into(), Names::Layer, sink)
}

/// [`encode()`] for an archive of files that is no layer: any name may stand in it.
///
/// # Errors
/// As [`encode()`].
pub fn encode_files(
    files: &[Change],
    open: &OpenContent<'_>,
    compression: impl Into<LayerCompression>,
    sink: &mut (dyn Write + Send),
) -> Result<Encoded, EncodeError> {
    write(files, open, compression.into(), Names::Plain, sink)
}

/// [`encode()`] that returns once the files are read: the blob is compressed and written behind, in threads
/// of `scope`. What these threads have no time for waits in `spool`, up to 256 MiB of it.
///
/// # Errors
/// As [`encode()`].
pub fn encode_ahead<'scope, W: Write + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    changes: &[Change],
    open: &OpenContent<'_>,
    compression: impl Into<LayerCompression>,
    (sink, spool): (W, File),
) -> Result<Unwritten<'scope, W>, EncodeError> {
    begin(scope, changes, open, (compression.into(), Names::Layer), (sink, Some(spool)))
}

fn write(
    changes: &[Change],
    open: &OpenContent<'_>,
    compression: LayerCompression,
    names: Names,
    sink: &mut (dyn Write + Send),
) -> Result<Encoded, EncodeError> {
    thread::scope(|scope| {
        let unwritten = begin(scope, changes, open, (compression, names), (sink, None))?;
        let Unwritten { toc, produced } = unwritten;
        let (Compressed { diff_id, uncompressed_size, blob }, _) = produced.finish()?;
        Ok(Encoded { toc, diff_id, uncompressed_size, blob })
    })
}

fn begin<'scope, W: Write + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    changes: &[Change],
    open: &OpenContent<'_>,
    (compression, names): (LayerCompression, Names),
    to: (W, Option<File>),
) -> Result<Unwritten<'scope, W>, EncodeError> {
    changes.iter().try_for_each(|change| check_name(change, names))?;
    let expected = changes.iter().fold(2 * RECORD as u64, |sum, change| sum.saturating_add(tar_size(change)));
    let (toc, produced) = compress_blocks(scope, compression, expected, to, |buffers: &Buffers, emit: Emit<'_>| {
        produce(changes, open, (expected, buffers), emit)
    })?;
    Ok(Unwritten { toc, produced })
}

/// Bytes that a change takes in the tar, extended headers aside.
fn tar_size(change: &Change) -> u64 {
    let content = if let ChangeKind::File { size, .. } = change.kind { size } else { 0 };
    content.saturating_add(2 * RECORD as u64)
}

/// Makes the tar in the calling thread and hands it on in blocks.
fn produce(
    changes: &[Change],
    open: &OpenContent<'_>,
    (expected, buffers): (u64, &Buffers),
    emit: Emit<'_>,
) -> Result<Toc, EncodeError> {
    let capacity = usize::try_from(expected).unwrap_or(BLOCK).min(BLOCK);
    let mut tar = Tar { block: buffers.take(capacity), emitted: 0, buffers, emit };
    let mut toc = Toc { entries: Vec::with_capacity(changes.len()), ..Toc::default() };
    let mut header = Vec::new();
    for change in changes {
        header.clear();
        append_header(&mut header, change);
        tar.append(&header)?;
        let kind = entry_kind(change, open, &mut tar, &mut toc)?;
        toc.entries.push(entry(change, kind));
    }
    tar.append(&[0; 2 * RECORD])?;
    tar.finish()?;
    Ok(toc)
}

fn check_name(change: &Change, names: Names) -> Result<(), EncodeError> {
    let path = &change.path;
    let bad = |source| EncodeError::Path { path: path.clone(), source };
    path::check(path).map_err(bad)?;
    let (_, name) = path::split(path).ok_or(PathError::Empty).map_err(bad)?;
    if names == Names::Layer && name.starts_with(WHITEOUT_PREFIX) {
        return Err(EncodeError::Reserved { path: path.clone() });
    }
    if let ChangeKind::Hardlink { target } = &change.kind {
        path::check(target).map_err(bad)?;
    }
    Ok(())
}

fn entry(change: &Change, kind: EntryKind) -> Entry {
    let Change { path, kind: _, mode, uid, gid, mtime, xattrs } = change;
    if matches!(kind, EntryKind::Whiteout) {
        return Entry { path: path.clone(), kind, mode: 0, uid: 0, gid: 0, mtime: 0, xattrs: Default::default() };
    }
    let kept = xattrs.iter().filter(|(name, _)| super::is_kept_xattr(name));
    Entry {
        path: path.clone(),
        kind,
        mode: mode & 0o7777,
        uid: *uid,
        gid: *gid,
        mtime: *mtime,
        xattrs: kept.map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

fn entry_kind(
    change: &Change,
    open: &OpenContent<'_>,
    tar: &mut Tar<'_>,
    toc: &mut Toc,
) -> Result<EntryKind, EncodeError> {
    Ok(match &change.kind {
        ChangeKind::Directory => EntryKind::Directory,
        ChangeKind::File { size, content } => {
            let offset = tar.position();
            let mut copy = FileCopy::new(&change.path, *size);
            if let Content::Bytes(bytes) = content {
                copy.run(&mut &**bytes, tar)?;
            } else {
                let reader = open(content).map_err(|source| copy.read_error(source));
                copy.run(&mut *reader?, tar)?;
            }
            let (hash, captured) = copy.finish();
            toc.inline.extend(captured.map(|bytes| (change.path.clone(), bytes)));
            EntryKind::File { size: *size, hash, offset }
        }
        ChangeKind::Symlink { target } => EntryKind::Symlink { target: target.clone() },
        ChangeKind::Hardlink { target } => EntryKind::Hardlink { target: target.clone() },
        ChangeKind::CharDevice(device) => EntryKind::CharDevice(*device),
        ChangeKind::BlockDevice(device) => EntryKind::BlockDevice(*device),
        ChangeKind::Fifo => EntryKind::Fifo,
        ChangeKind::Whiteout => EntryKind::Whiteout,
    })
}

/// The tar being made, cut into blocks.
struct Tar<'a> {
    block: Vec<u8>,
    /// Bytes handed on so far.
    emitted: u64,
    buffers: &'a Buffers,
    emit: Emit<'a>,
}

impl Tar<'_> {
    fn position(&self) -> u64 {
        self.emitted + self.block.len() as u64
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), EncodeError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            self.flush_full()?;
        }
        Ok(())
    }

    fn flush_full(&mut self) -> Result<(), EncodeError> {
        if self.block.len() < BLOCK {
            return Ok(());
        }
        self.emitted += self.block.len() as u64;
        let block = mem::replace(&mut self.block, self.buffers.take(BLOCK));
        (self.emit)(block).map_err(EncodeError::Write)
    }

    /// Hands on what is left.
    fn finish(self) -> Result<(), EncodeError> {
        if self.block.is_empty() { Ok(()) } else { (self.emit)(self.block).map_err(EncodeError::Write) }
    }
}

/// Copies one file into the tar, hashing it on the way.
struct FileCopy<'a> {
    path: &'a EntryPath,
    size: u64,
    hasher: blake3::Hasher,
    /// The bytes, when the table of contents wants them.
    captured: Option<Vec<u8>>,
}

impl<'a> FileCopy<'a> {
    fn new(path: &'a EntryPath, size: u64) -> Self {
        let captured = (is_inlined(path) && size <= MAX_INLINE).then(Vec::new);
        Self { path, size, hasher: blake3::Hasher::new(), captured }
    }

    fn run(&mut self, reader: &mut dyn Read, tar: &mut Tar<'_>) -> Result<(), EncodeError> {
        let mut left = self.size;
        while left > 0 {
            let start = tar.block.len();
            let room = left.min((BLOCK - start) as u64);
            let read = reader.take(room).read_to_end(&mut tar.block).map_err(|source| self.read_error(source))?;
            if read == 0 {
                return Err(self.size_error(false));
            }
            self.see(&tar.block[start..]);
            left -= read as u64;
            tar.flush_full()?;
        }
        let longer = reader.take(1).read_to_end(&mut Vec::new()).map_err(|source| self.read_error(source))? > 0;
        if longer {
            return Err(self.size_error(true));
        }
        let padding = self.size.next_multiple_of(RECORD as u64) - self.size;
        tar.append(&[0; RECORD][..padding as usize])
    }

    fn see(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        if let Some(captured) = &mut self.captured {
            captured.extend_from_slice(bytes);
        }
    }

    fn finish(self) -> (ContentHash, Option<Vec<u8>>) {
        (ContentHash(*self.hasher.finalize().as_bytes()), self.captured)
    }

    fn read_error(&self, source: io::Error) -> EncodeError {
        EncodeError::Read { path: self.path.clone(), source }
    }

    fn size_error(&self, longer: bool) -> EncodeError {
        EncodeError::Size { path: self.path.clone(), expected: self.size, longer }
    }
}
