//! Layers: their tables of contents, the tar codec, compression, extraction.

mod change;
mod entry;

pub use change::*;
pub use entry::*;
