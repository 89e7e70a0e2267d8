//! Layers: their tables of contents, the tar codec, compression, extraction.

mod change;
mod entry;

pub use change::*;
pub use entry::*;

/// Whether a table of contents holds the bytes of the file at that path.
pub(crate) fn is_inlined(path: &[u8]) -> bool {
    path == b"etc/passwd" || path == b"etc/group"
}
