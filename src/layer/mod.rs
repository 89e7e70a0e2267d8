//! Layers: their tables of contents, the tar codec, compression, extraction.

mod entry;

pub use entry::*;
