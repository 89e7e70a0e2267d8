use std::collections::BTreeMap;
use std::io::{self, Read};

use super::binary::{Reader, Writer};
use super::path::{self, MAX_PATH, PathError};
use super::{Device, Entry, EntryKind, Toc};
use crate::digest::ContentHash;

/// Most members that a layer may have.
pub(super) const MAX_ENTRIES: u64 = 5_000_000;
/// Longest file whose contents stand in a table, bytes.
pub(super) const MAX_INLINE: u64 = 1 << 20;
/// Longest set of extended attributes, as names or values, bytes.
const MAX_XATTR: usize = 64 << 10;
/// Most attributes of one member.
const MAX_XATTRS: u64 = 256;
/// Longest decompressed table, bytes.
const MAX_DECOMPRESSED: u64 = 512 << 20;
/// Start of the decompressed bytes; the last byte is the version.
const MAGIC: &[u8; 8] = b"YADOTOC\x01";
const ZSTD_LEVEL: i32 = 3;
/// Start of what [`Toc::digest`] hashes; the last byte is the version.
const DIGEST_MAGIC: &[u8; 8] = b"YADOSTA\x01";

/// Why bytes are no table of contents.
#[derive(Debug, thiserror::Error)]
pub enum TocError {
    /// Not zstd, or damaged.
    #[error("failed to decompress table of contents")]
    Compression(#[source] io::Error),
    /// Another format, or a version that we do not know.
    #[error("unknown format of table of contents")]
    Magic,
    /// Cut off, or more than the limits allow.
    #[error("malformed table of contents")]
    Malformed,
    /// A path is not in the form of a member's path.
    #[error("malformed path in table of contents")]
    Path(#[from] PathError),
}

impl Toc {
    /// The bytes of the table: one zstd frame over
    ///
    /// ```text
    /// table   = "YADOTOC" version:u8=1 count:varint entry{count} count:varint inline{count} end
    /// entry   = path:bytes kind:u8 mode:varint uid:varint gid:varint
    ///           mtime:zigzag-varint count:varint (name:bytes value:bytes){count} detail
    /// detail  = file: size:varint offset:varint hash:32 bytes
    ///         | link: target:bytes | device: major:varint minor:varint | nothing
    /// inline  = path:bytes content:bytes
    /// bytes   = length:varint, then as many bytes
    /// ```
    ///
    /// Kinds: 0 directory, 1 file, 2 symbolic link, 3 hard link, 4 character device, 5 block
    /// device, 6 fifo, 7 whiteout, 8 opaque whiteout. Varints are LEB128, at most ten bytes.
    /// Equal tables give equal bytes.
    ///
    /// # Errors
    /// Only when zstd is out of memory.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut out = Writer::new(MAGIC);
        out.varint(self.entries.len() as u64);
        for entry in &self.entries {
            write_entry(&mut out, entry, true);
        }
        out.varint(self.inline.len() as u64);
        for (path, content) in &self.inline {
            out.bytes(path);
            out.bytes(content);
        }
        zstd::bulk::compress(&out.finish(), ZSTD_LEVEL)
    }

    /// Reads what [`Toc::to_bytes`] wrote; any bytes are safe.
    ///
    /// # Errors
    /// See [`TocError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TocError> {
        let mut decompressed = Vec::new();
        let mut decoder =
            zstd::stream::read::Decoder::new(bytes).map_err(TocError::Compression)?.take(MAX_DECOMPRESSED);
        decoder.read_to_end(&mut decompressed).map_err(TocError::Compression)?;
        let mut input = Reader::new(decompressed.strip_prefix(MAGIC).ok_or(TocError::Magic)?);
        read_table(&mut input)
    }

    /// What the layer does to a file system, as one hash: over path, type, mode, owner, size,
    /// content hash, link target, device numbers and extended attributes of all members, in
    /// order; not over modification times nor where contents stand in the tar.
    pub fn digest(&self) -> ContentHash {
        let mut out = Writer::new(DIGEST_MAGIC);
        for entry in &self.entries {
            write_entry(&mut out, entry, false);
        }
        ContentHash::of(&out.finish())
    }
}

/// Modification time and offset only when `all`.
fn write_entry(out: &mut Writer, entry: &Entry, all: bool) {
    let Entry { path, kind, mode, uid, gid, mtime, xattrs } = entry;
    out.bytes(path);
    out.byte(kind_number(kind));
    for number in [u64::from(*mode), *uid, *gid] {
        out.varint(number);
    }
    if all {
        out.zigzag(*mtime);
    }
    out.varint(xattrs.len() as u64);
    for (name, value) in xattrs {
        out.bytes(name.as_bytes());
        out.bytes(value);
    }
    match kind {
        EntryKind::File { size, hash, offset } => {
            out.varint(*size);
            if all {
                out.varint(*offset);
            }
            out.raw(&hash.0);
        }
        EntryKind::Symlink { target } | EntryKind::Hardlink { target } => out.bytes(target),
        EntryKind::CharDevice(device) | EntryKind::BlockDevice(device) => {
            out.varint(u64::from(device.major));
            out.varint(u64::from(device.minor));
        }
        EntryKind::Directory | EntryKind::Fifo | EntryKind::Whiteout | EntryKind::OpaqueWhiteout => {}
    }
}

fn kind_number(kind: &EntryKind) -> u8 {
    match kind {
        EntryKind::Directory => 0,
        EntryKind::File { .. } => 1,
        EntryKind::Symlink { .. } => 2,
        EntryKind::Hardlink { .. } => 3,
        EntryKind::CharDevice(_) => 4,
        EntryKind::BlockDevice(_) => 5,
        EntryKind::Fifo => 6,
        EntryKind::Whiteout => 7,
        EntryKind::OpaqueWhiteout => 8,
    }
}

fn read_table(input: &mut Reader<'_>) -> Result<Toc, TocError> {
    let mut toc = Toc::default();
    for _ in 0..input.varint_up_to(MAX_ENTRIES)? {
        toc.entries.push(read_entry(input)?);
    }
    for _ in 0..input.varint_up_to(16)? {
        let path = input.bytes(MAX_PATH)?.to_vec();
        path::check(&path)?;
        toc.inline.insert(path, input.bytes(MAX_INLINE as usize)?.to_vec());
    }
    if input.is_empty() { Ok(toc) } else { Err(TocError::Malformed) }
}

fn read_entry(input: &mut Reader<'_>) -> Result<Entry, TocError> {
    let path = input.bytes(MAX_PATH)?.to_vec();
    path::check(&path)?;
    let kind = input.byte()?;
    let mode = input.varint_up_to(0o7777)? as u32;
    let (uid, gid, mtime) = (input.varint()?, input.varint()?, input.zigzag()?);
    let xattrs = read_xattrs(input)?;
    let kind = read_kind(input, kind)?;
    if path.is_empty() && !matches!(kind, EntryKind::Directory | EntryKind::OpaqueWhiteout) {
        return Err(PathError::Empty.into());
    }
    Ok(Entry { path, kind, mode, uid, gid, mtime, xattrs })
}

fn read_xattrs(input: &mut Reader<'_>) -> Result<BTreeMap<String, Vec<u8>>, TocError> {
    let mut xattrs = BTreeMap::new();
    for _ in 0..input.varint_up_to(MAX_XATTRS)? {
        let name = String::from_utf8(input.bytes(MAX_XATTR)?.to_vec()).map_err(|_| TocError::Malformed)?;
        xattrs.insert(name, input.bytes(MAX_XATTR)?.to_vec());
    }
    Ok(xattrs)
}

fn read_kind(input: &mut Reader<'_>, number: u8) -> Result<EntryKind, TocError> {
    Ok(match number {
        0 => EntryKind::Directory,
        1 => EntryKind::File { size: input.varint()?, offset: input.varint()?, hash: ContentHash(input.array()?) },
        2 => EntryKind::Symlink { target: input.bytes(MAX_PATH)?.to_vec() },
        3 => {
            let target = input.bytes(MAX_PATH)?.to_vec();
            path::check(&target)?;
            EntryKind::Hardlink { target }
        }
        4 => EntryKind::CharDevice(read_device(input)?),
        5 => EntryKind::BlockDevice(read_device(input)?),
        6 => EntryKind::Fifo,
        7 => EntryKind::Whiteout,
        8 => EntryKind::OpaqueWhiteout,
        _ => return Err(TocError::Malformed),
    })
}

fn read_device(input: &mut Reader<'_>) -> Result<Device, TocError> {
    let mut number = || input.varint_up_to(u64::from(u32::MAX)).map(|number| number as u32);
    Ok(Device { major: number()?, minor: number()? })
}
