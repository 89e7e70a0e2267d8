//! Reading any layer tar: ustar, old V7, PAX with global headers, GNU long names and numbers.

mod fields;
mod pax;
mod sparse;

use std::io::{self, BufRead};

pub use sparse::expand_sparse;

use fields::Header;
use pax::Records;

use super::header::RECORD;
use super::path::{self, MAX_PATH, PathError};
use super::toc::MAX_ENTRIES;
use super::{Entry, EntryKind, EntryPath, Names, WHITEOUT_PREFIX};
use crate::digest::ContentHash;

/// Longest extended header or GNU long name, bytes.
const MAX_EXTENDED: u64 = 1 << 20;
/// Most extended headers before one member.
const MAX_EXTENDED_COUNT: usize = 16;
/// Base name of the marker of an opaque directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What aufs starts its own bookkeeping with; layers of old carry it.
const AUFS_PREFIX: &[u8] = b".wh..wh.";

/// Why an archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The stream failed: the network, the disk, the compression.
    #[error("failed to read layer")]
    Read(#[from] io::Error),
    /// It ends in the middle of a member.
    #[error("layer ends in the middle of a member, at byte {offset}")]
    Truncated {
        /// Bytes read of the tar.
        offset: u64,
    },
    /// A header has a wrong checksum or a field that is no number.
    #[error("invalid tar header at byte {offset}: {problem}")]
    Header {
        /// Where the header starts in the tar.
        offset: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// A member's name or the target of its link is not one that we write.
    #[error("invalid member {:?} in layer", String::from_utf8_lossy(name))]
    Name {
        /// As the archive has it.
        name: Vec<u8>,
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// A file stored without its holes; see [`expand_sparse`].
    #[error("unsupported member {:?} in layer: sparse file", String::from_utf8_lossy(name))]
    Sparse {
        /// As the archive has it.
        name: Vec<u8>,
    },
    /// A kind of member that layers do not have.
    #[error("unsupported member {:?} in layer: {problem}", String::from_utf8_lossy(name))]
    Unsupported {
        /// As the archive has it.
        name: Vec<u8>,
        /// What it is.
        problem: &'static str,
    },
    /// More members than any honest layer has.
    #[error("layer has more than {MAX_ENTRIES} members")]
    TooMany,
}

/// A tar being read member by member. Bounded: whatever the archive says, no more than
/// [`MAX_EXTENDED`] bytes and one member are held.
pub(super) struct Archive<R> {
    input: R,
    names: Names,
    /// Bytes taken from the input.
    position: u64,
    /// Bytes of the current member's content still to come.
    content: u64,
    /// Bytes that fill up its last record.
    padding: u64,
    /// Records that hold for all members to come.
    global: Records,
    members: u64,
}

/// What the headers before a member's own say about it.
#[derive(Default)]
struct Prelude {
    records: Records,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    count: usize,
}

impl<R: BufRead> Archive<R> {
    pub(super) fn new(input: R, names: Names) -> Self {
        Self { input, names, position: 0, content: 0, padding: 0, global: Records::default(), members: 0 }
    }

    /// The next member; what is left of the content of the one before is skipped. Its content
    /// follows in [`Archive::chunk`]; until somebody hashed that, a file has the hash of nothing.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, DecodeError> {
        let mut prelude = Prelude::default();
        loop {
            let left = self.content + self.padding;
            self.skip(left)?;
            (self.content, self.padding) = (0, 0);
            let offset = self.position;
            let Some(header) = self.header()? else { return Ok(None) };
            if self.read_extended(&header, &mut prelude, offset)? {
                continue;
            }
            self.members += 1;
            if self.members > MAX_ENTRIES {
                return Err(DecodeError::TooMany);
            }
            if let Some(entry) = self.entry(&header, &prelude, offset)? {
                return Ok(Some(entry));
            }
            prelude = Prelude::default();
        }
    }

    /// The next bytes of the current member's content, as many as are at hand; empty at its end.
    pub(super) fn chunk(&mut self) -> Result<&[u8], DecodeError> {
        if self.content == 0 {
            return Ok(b"");
        }
        let offset = self.position;
        let chunk = self.input.fill_buf()?;
        if chunk.is_empty() {
            return Err(DecodeError::Truncated { offset });
        }
        let length = usize::try_from(self.content).unwrap_or(chunk.len()).min(chunk.len());
        Ok(&chunk[..length])
    }

    /// Goes on after `length` bytes of what [`Archive::chunk`] returned.
    pub(super) fn consume(&mut self, length: usize) {
        self.input.consume(length);
        self.position += length as u64;
        self.content = self.content.saturating_sub(length as u64);
    }

    /// Reads what follows the last member, to the end of the stream.
    pub(super) fn drain(&mut self) -> Result<(), DecodeError> {
        loop {
            let length = self.input.fill_buf()?.len();
            if length == 0 {
                return Ok(());
            }
            self.input.consume(length);
        }
    }

    fn skip(&mut self, mut left: u64) -> Result<(), DecodeError> {
        while left > 0 {
            let available = self.input.fill_buf()?.len() as u64;
            if available == 0 {
                return Err(DecodeError::Truncated { offset: self.position });
            }
            let length = left.min(available);
            self.input.consume(length as usize);
            self.position += length;
            left -= length;
        }
        Ok(())
    }

    /// The next header; `None` at the end of the archive, marked or not.
    fn header(&mut self) -> Result<Option<Header>, DecodeError> {
        let offset = self.position;
        let Some(record) = self.record()? else { return Ok(None) };
        if record.iter().any(|byte| *byte != 0) {
            return Header::new(record).map(Some).map_err(|problem| DecodeError::Header { offset, problem });
        }
        match self.record()? {
            Some(next) if next.iter().any(|byte| *byte != 0) => {
                Err(DecodeError::Header { offset, problem: "a lone zero block stands before it" })
            }
            _ => Ok(None),
        }
    }

    /// 512 bytes; `None` when there are none.
    fn record(&mut self) -> Result<Option<[u8; RECORD]>, DecodeError> {
        let mut record = [0; RECORD];
        let mut filled = 0;
        while filled < RECORD {
            let available = self.input.fill_buf()?;
            if available.is_empty() {
                break;
            }
            let length = available.len().min(RECORD - filled);
            record[filled..filled + length].copy_from_slice(&available[..length]);
            self.input.consume(length);
            filled += length;
        }
        self.position += filled as u64;
        match filled {
            0 => Ok(None),
            RECORD => Ok(Some(record)),
            _ => Err(DecodeError::Truncated { offset: self.position }),
        }
    }

    /// Whether the header is no member but says something about those that follow.
    fn read_extended(&mut self, header: &Header, prelude: &mut Prelude, offset: u64) -> Result<bool, DecodeError> {
        let invalid = |problem| DecodeError::Header { offset, problem };
        let flag = header.type_flag();
        if !matches!(flag, b'x' | b'g' | b'L' | b'K') {
            return Ok(false);
        }
        prelude.count += 1;
        if prelude.count > MAX_EXTENDED_COUNT {
            return Err(invalid("too many extended headers"));
        }
        let body = self.extended_body(header, offset)?;
        match flag {
            b'x' => prelude.records = Records::parse(&body).map_err(invalid)?,
            b'g' => self.global = Records::parse(&body).map_err(invalid)?.over(&self.global),
            b'L' => prelude.long_name = Some(fields::until_nul(&body).to_vec()),
            _ => prelude.long_link = Some(fields::until_nul(&body).to_vec()),
        }
        Ok(true)
    }

    fn extended_body(&mut self, header: &Header, offset: u64) -> Result<Vec<u8>, DecodeError> {
        let size = header.size().map_err(|problem| DecodeError::Header { offset, problem })?;
        if size > MAX_EXTENDED {
            return Err(DecodeError::Header { offset, problem: "extended header longer than 1 MiB" });
        }
        self.set_content(size);
        let mut body = Vec::new();
        while self.content > 0 {
            let chunk = self.chunk()?;
            let length = chunk.len();
            body.extend_from_slice(chunk);
            self.consume(length);
        }
        Ok(body)
    }

    fn set_content(&mut self, size: u64) {
        self.content = size;
        self.padding = size.wrapping_neg() % RECORD as u64;
    }

    /// `None` for members that mean nothing in a layer.
    fn entry(&mut self, header: &Header, prelude: &Prelude, offset: u64) -> Result<Option<Entry>, DecodeError> {
        let invalid = |problem| DecodeError::Header { offset, problem };
        let records = prelude.records.over(&self.global);
        let name = prelude.long_name.clone().or(records.path).unwrap_or_else(|| header.name());
        let link = prelude.long_link.clone().or(records.link_path).unwrap_or_else(|| header.link().to_vec());
        if records.sparse {
            return Err(DecodeError::Sparse { name });
        }
        let size = records.size.map_or_else(|| header.size(), Ok).map_err(invalid)?;
        let kind = self.kind(header, &name, link, size, offset)?;
        if let EntryKind::File { size, .. } = kind {
            self.set_content(size);
        }
        let Some((path, kind)) = located(&name, kind, self.names)? else { return Ok(None) };
        Ok(Some(Entry {
            path,
            kind,
            mode: header.mode().map_err(invalid)?,
            uid: records.uid.map_or_else(|| header.uid(), Ok).map_err(invalid)?,
            gid: records.gid.map_or_else(|| header.gid(), Ok).map_err(invalid)?,
            mtime: records.mtime.map_or_else(|| header.mtime(), Ok).map_err(invalid)?,
            xattrs: records.xattrs,
        }))
    }

    fn kind(
        &self,
        header: &Header,
        name: &[u8],
        link: Vec<u8>,
        size: u64,
        offset: u64,
    ) -> Result<EntryKind, DecodeError> {
        let bad_name = |source| DecodeError::Name { name: name.to_vec(), source };
        let unsupported = |problem| DecodeError::Unsupported { name: name.to_vec(), problem };
        let device = || header.device().map_err(|problem| DecodeError::Header { offset, problem });
        Ok(match header.type_flag() {
            // Archives older than ustar tell directories by the slash.
            0 if name.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' => EntryKind::File { size, hash: ContentHash::of(b""), offset: self.position },
            b'1' => EntryKind::Hardlink { target: hardlink_target(&link).map_err(bad_name)? },
            b'2' => EntryKind::Symlink { target: symlink_target(link).map_err(bad_name)? },
            b'3' => EntryKind::CharDevice(device()?),
            b'4' => EntryKind::BlockDevice(device()?),
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            b'S' => return Err(DecodeError::Sparse { name: name.to_vec() }),
            _ => return Err(unsupported("unknown type")),
        })
    }
}

fn hardlink_target(link: &[u8]) -> Result<EntryPath, PathError> {
    let target = path::clean(link)?;
    if target.is_empty() { Err(PathError::Empty) } else { Ok(target) }
}

fn symlink_target(link: Vec<u8>) -> Result<Vec<u8>, PathError> {
    match link {
        link if link.is_empty() => Err(PathError::Empty),
        link if link.len() > MAX_PATH => Err(PathError::Length),
        link if link.contains(&0) => Err(PathError::Nul),
        link => Ok(link),
    }
}

/// Path and kind of a member once whiteout names are understood; `None` for aufs bookkeeping.
fn located(name: &[u8], kind: EntryKind, names: Names) -> Result<Option<(EntryPath, EntryKind)>, DecodeError> {
    let bad = |source| DecodeError::Name { name: name.to_vec(), source };
    let path = path::clean(name).map_err(bad)?;
    let Some((parent, base)) = path::split(&path) else {
        let is_root = matches!(kind, EntryKind::Directory);
        return if is_root { Ok(Some((path, kind))) } else { Err(bad(PathError::Empty)) };
    };
    if names == Names::Plain {
        return Ok(Some((path, kind)));
    }
    if base == OPAQUE {
        return Ok(Some((parent.to_vec(), EntryKind::OpaqueWhiteout)));
    }
    if path.split(|byte| *byte == b'/').any(|component| component.starts_with(AUFS_PREFIX)) {
        return Ok(None);
    }
    match base.strip_prefix(WHITEOUT_PREFIX) {
        None => Ok(Some((path, kind))),
        Some(b"" | b".") => Err(bad(PathError::Empty)),
        Some(b"..") => Err(bad(PathError::Parent)),
        Some(removed) => Ok(Some((path::join(parent, removed), EntryKind::Whiteout))),
    }
}

#[cfg(test)]
mod tests;
