//! Layers: their tables of contents, the tar codec, compression.

mod binary;
mod blocks;
mod buffers;
mod change;
mod compress;
mod decode;
mod encode;
mod entry;
mod header;
mod members;
pub(crate) mod path;
mod pipeline;
mod queue;
mod ranges;
pub(crate) mod scan;
mod toc;

pub use change::*;
pub use compress::{GZIP_LEVEL, LayerCompression, ZSTD_LEVEL, decompress, sniff};
pub use decode::{DecodeError, expand_sparse};
pub use encode::{EncodeError, Encoded, OpenContent, Unwritten, encode, encode_ahead, encode_files};
pub use entry::*;
pub use path::PathError;
pub use ranges::read_files;
pub use scan::{Scanned, scan};
pub use toc::TocError;

/// What names that start with `.wh.` mean in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Removals: it is a layer.
    Layer,
    /// Nothing: it is an archive of files.
    Plain,
}

/// What a member's name starts with when it removes something.
const WHITEOUT_PREFIX: &[u8; 4] = b".wh.";

/// Whether a table of contents holds the bytes of the file at that path.
pub(crate) fn is_inlined(path: &[u8]) -> bool {
    path == b"etc/passwd" || path == b"etc/group"
}

/// Whether layers keep an extended attribute of that name.
fn is_kept_xattr(name: &str) -> bool {
    name == "security.capability"
}

#[cfg(test)]
pub(crate) mod tests;
