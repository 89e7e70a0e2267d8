//! Archives that ADD unpacks: recognised by content, read once, never written to the file system.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::hash::open_file;
use crate::digest::{ContentHash, DiffId};
use crate::layer::{self, Content, DecodeError, Entry, EntryKind, EntryPath};
use crate::view::{FileNode, Node, NodeKind};

const BUFFER: usize = 128 << 10;
pub(super) const RECORD: usize = 512;
/// Where a tar header has its checksum.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// A tar that was found in a file: its members in their order, which decides what hides what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Without the archive's own root. Contents are [`Content::Layer`] with [`Archive::diff_id`].
    pub members: Vec<ArchiveMember>,
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// The uncompressed tar.
    pub tar: PathBuf,
    /// Of all bytes of the file that it was read from.
    pub hash: ContentHash,
}

/// One member of an [`Archive`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveMember {
    /// Clean, never empty.
    pub path: EntryPath,
    /// What.
    pub kind: MemberKind,
}

/// What a member is. Names that would be whiteouts in a layer are plain names here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// An object of its own.
    Node(Node),
    /// Another name of an earlier one.
    Hardlink {
        /// A clean path.
        target: EntryPath,
        /// What both are to have.
        metadata: Metadata,
    },
}

/// What an archive says of a member beside its kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permission bits, the special ones included.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Owning group.
    pub gid: u64,
    /// Seconds since the epoch.
    pub mtime: i64,
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Why a file that starts like an archive could not be read as one.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be opened, or there is no room for what is in it.
    #[error("failed to {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// It is damaged, or has members that cannot be.
    #[error("failed to unpack {}", path.display())]
    Content {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        #[source]
        cause: DecodeError,
    },
}

/// Reads `file` if its content is a tar: plain, or compressed by gzip, bzip2, xz or zstd,
/// whatever its name. `None` for everything else, damaged beginnings included. A compressed tar
/// is kept uncompressed in a new file in `directory`, which the caller removes.
///
/// # Errors
/// See [`ArchiveError`].
pub fn unpack(file: &Path, directory: &Path) -> Result<Option<Archive>, ArchiveError> {
    let failed = |operation, path: &Path, cause| ArchiveError::Io { operation, path: path.to_owned(), cause };
    let opened = Hashed::open(file).map_err(|cause| failed("open", file, cause))?;
    let Ok((mut stream, is_plain)) = decompress(opened.clone()) else { return Ok(None) };
    let mut start = Vec::with_capacity(RECORD);
    let read = stream.by_ref().take(RECORD as u64).read_to_end(&mut start);
    if read.is_err() || !is_header(&start) {
        return Ok(None);
    }
    let (copy, tar) = if is_plain {
        (None, file.to_owned())
    } else {
        let (copy, path) = spool(directory).map_err(|cause| failed("make a file in", directory, cause))?;
        (Some(copy), path)
    };
    let stream = Tee { input: Cursor::new(start).chain(stream), copy };
    let scanned = match layer::scan(stream) {
        Err(DecodeError::Sparse { .. }) => return expanded(file, directory).map(Some),
        scanned => scanned.map_err(|cause| ArchiveError::Content { path: file.to_owned(), cause })?,
    };
    let hash = opened.finish().map_err(|cause| failed("read", file, cause))?;
    Ok(Some(archive(scanned, tar, hash)))
}

/// Reads an archive with sparse files, from a copy in `directory` where they are written out.
fn expanded(file: &Path, directory: &Path) -> Result<Archive, ArchiveError> {
    let failed = |operation, path: &Path, cause| ArchiveError::Io { operation, path: path.to_owned(), cause };
    let invalid = |cause| ArchiveError::Content { path: file.to_owned(), cause };
    let opened = Hashed::open(file).map_err(|cause| failed("open", file, cause))?;
    let (stream, _) = decompress(opened.clone()).map_err(|cause| failed("read", file, cause))?;
    let (copy, tar) = spool(directory).map_err(|cause| failed("make a file in", directory, cause))?;
    layer::expand_sparse(BufReader::with_capacity(BUFFER, stream), BufWriter::new(copy)).map_err(invalid)?;
    let hash = opened.finish().map_err(|cause| failed("read", file, cause))?;
    let copy = File::open(&tar).map_err(|cause| failed("open", &tar, cause))?;
    Ok(archive(layer::scan(copy).map_err(invalid)?, tar, hash))
}

fn archive(scanned: layer::Scanned, tar: PathBuf, hash: ContentHash) -> Archive {
    let members = scanned.toc.entries.into_iter().filter_map(|entry| member(entry, &scanned.diff_id)).collect();
    Archive { members, diff_id: scanned.diff_id, tar, hash }
}

fn spool(directory: &Path) -> io::Result<(File, PathBuf)> {
    let file = tempfile::Builder::new().prefix("archive-").suffix(".tar").tempfile_in(directory)?;
    Ok(file.keep()?)
}

/// The bytes inside, and whether they are the file's own.
pub(super) fn decompress(mut file: impl Read + Send + 'static) -> io::Result<(Box<dyn Read + Send>, bool)> {
    let mut start = Vec::with_capacity(6);
    Read::by_ref(&mut file).take(6).read_to_end(&mut start)?;
    let whole = Cursor::new(start.clone()).chain(BufReader::with_capacity(BUFFER, file));
    Ok(match start.as_slice() {
        [b'B', b'Z', b'h', ..] => (Box::new(bzip2::bufread::MultiBzDecoder::new(whole)), false),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => (Box::new(lzma_rust2::XzReader::new(whole, true)), false),
        start => {
            let is_plain = layer::sniff(start) == crate::image::media_type::Compression::None;
            (layer::decompress(whole)?, is_plain)
        }
    })
}

/// Whether a tar could start so: a header with the right checksum.
pub(super) fn is_header(record: &[u8]) -> bool {
    let Some(field) = record.get(CHECKSUM).filter(|_| record.len() == RECORD) else { return false };
    let digits = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let stored = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits.trim(), 8).ok());
    let spaces = CHECKSUM.len() as u64 * u64::from(b' ');
    let others = record[..CHECKSUM.start].iter().chain(&record[CHECKSUM.end..]);
    stored == Some(spaces + others.map(|byte| u64::from(*byte)).sum::<u64>())
}

/// A file that is hashed as it is read, by whoever has a clone of this.
#[derive(Clone)]
struct Hashed(Arc<Mutex<(File, blake3::Hasher)>>);

impl Hashed {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new((open_file(path)?, blake3::Hasher::new())))))
    }

    /// Reads what nobody has read yet.
    fn finish(mut self) -> io::Result<ContentHash> {
        io::copy(&mut BufReader::with_capacity(BUFFER, &mut self), &mut io::sink())?;
        Ok(ContentHash(*self.state().1.finalize().as_bytes()))
    }

    fn state(&self) -> MutexGuard<'_, (File, blake3::Hasher)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (file, hasher) = &mut *self.state();
        let count = file.read(buffer)?;
        hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Writes to `copy` all that is read.
struct Tee<R> {
    input: R,
    copy: Option<File>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if let Some(copy) = &mut self.copy {
            let failed =
                |cause: io::Error| io::Error::new(cause.kind(), format!("failed to keep the unpacked tar: {cause}"));
            copy.write_all(&buffer[..count]).map_err(failed)?;
        }
        Ok(count)
    }
}

/// `None` for the archive's root: ADD makes that itself.
fn member(entry: Entry, diff_id: &DiffId) -> Option<ArchiveMember> {
    let Entry { path, kind, mode, uid, gid, mtime, xattrs } = entry;
    let (path, kind) = match kind {
        EntryKind::Hardlink { target } => {
            let metadata = Metadata { mode, uid, gid, mtime, xattrs };
            return named(path, MemberKind::Hardlink { target, metadata });
        }
        EntryKind::Directory => (path, NodeKind::Directory),
        EntryKind::File { size, hash, offset } => {
            let content = Content::Layer { layer: diff_id.clone(), offset };
            (path, NodeKind::File(FileNode { size, hash: Some(hash), content, inode: None }))
        }
        EntryKind::Symlink { target } => (path, NodeKind::Symlink(target)),
        EntryKind::CharDevice(device) => (path, NodeKind::CharDevice(device)),
        EntryKind::BlockDevice(device) => (path, NodeKind::BlockDevice(device)),
        EntryKind::Fifo => (path, NodeKind::Fifo),
        EntryKind::Whiteout => (marker_path(&path), NodeKind::File(empty_file())),
        EntryKind::OpaqueWhiteout => ([&path[..], b"/.wh..wh..opq"].concat(), NodeKind::File(empty_file())),
    };
    named(path, MemberKind::Node(Node { kind, mode, uid, gid, mtime, xattrs }))
}

fn named(path: EntryPath, kind: MemberKind) -> Option<ArchiveMember> {
    let path = path.strip_prefix(b"/").map_or_else(|| path.clone(), <[u8]>::to_vec);
    (!path.is_empty()).then_some(ArchiveMember { path, kind })
}

/// The name that a layer would take for the removal of `path`.
fn marker_path(path: &[u8]) -> EntryPath {
    let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    [&path[..name], b".wh.", &path[name..]].concat()
}

fn empty_file() -> FileNode {
    let hash = Some(ContentHash::of(b""));
    FileNode { size: 0, hash, content: Content::Bytes([].into()), inode: None }
}
