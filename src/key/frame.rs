use std::collections::BTreeMap;

use super::{CacheKey, KEY_VERSION};
use crate::digest::ContentHash;

/// A key with the parts that it was made of, so that a miss can be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The key.
    pub key: CacheKey,
    /// Field name to a short, printable value; never a secret's value.
    pub parts: BTreeMap<String, String>,
}

/// So many bytes are hashed at once: BLAKE3 works on 16 chunks of 1 KiB side by side.
const BLOCK: usize = 16 << 10;

/// Hashes what comes in small pieces, a block at a time.
#[derive(Default)]
pub(super) struct Pieces {
    hasher: blake3::Hasher,
    block: Vec<u8>,
}

impl Pieces {
    pub(super) fn add(&mut self, bytes: &[u8]) -> &mut Self {
        self.block.extend_from_slice(bytes);
        if self.block.len() >= BLOCK {
            self.hasher.update(&self.block);
            self.block.clear();
        }
        self
    }

    pub(super) fn hash(&self) -> blake3::Hash {
        self.hasher.clone().update(&self.block).finalize()
    }
}

/// Collects the fields of a key: each tagged and length-prefixed, so that no two lists of
/// fields have the same bytes.
pub(super) struct Frame {
    pieces: Pieces,
    parts: BTreeMap<String, String>,
}

impl Frame {
    /// Starts a frame of `kind` (`run`, `copy`, …).
    pub(super) fn new(kind: &str) -> Self {
        let mut frame = Self { pieces: Pieces::default(), parts: BTreeMap::new() };
        frame.pieces.add(&KEY_VERSION.to_le_bytes());
        frame.bytes(kind.as_bytes());
        frame
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.pieces.add(&(bytes.len() as u64).to_le_bytes()).add(bytes);
    }

    /// Adds a field that is not kept for explaining.
    pub(super) fn field(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.bytes(name.as_bytes());
        self.bytes(value);
        self
    }

    /// Adds a field whose value stands behind its length already.
    pub(super) fn framed_field(&mut self, name: &str, framed: &[u8]) {
        self.bytes(name.as_bytes());
        self.pieces.add(framed);
    }

    /// Adds a field and keeps its text for explaining.
    pub(super) fn part(&mut self, name: &str, value: &str) -> &mut Self {
        self.parts.insert(name.to_owned(), shorten(value));
        self.field(name, value.as_bytes())
    }

    /// Adds a field and keeps only a hash of it: values that may be confidential (arguments,
    /// environment) can be compared, not read.
    pub(super) fn sealed_part(&mut self, name: &str, value: &str) -> &mut Self {
        self.parts.insert(name.to_owned(), short_hash(value.as_bytes()));
        self.field(name, value.as_bytes())
    }

    /// Notes something for explaining that is in the key by another field.
    pub(super) fn note(&mut self, name: String, value: String) {
        self.parts.insert(name, value);
    }

    /// Opens a list of `len` elements; the elements follow as fields.
    pub(super) fn list(&mut self, name: &str, len: usize) -> &mut Self {
        self.field(name, &(len as u64).to_le_bytes())
    }

    pub(super) fn finish(self) -> Keyed {
        Keyed { key: CacheKey(self.hash()), parts: self.parts }
    }

    pub(super) fn hash(&self) -> ContentHash {
        ContentHash(*self.pieces.hash().as_bytes())
    }
}

/// Sixteen hex digits are enough to tell two values apart in an explanation.
pub(super) fn short_hash(bytes: &[u8]) -> String {
    ContentHash::of(bytes).to_string().chars().take(16).collect()
}

/// Parts are stored in records: long ones are cut, with a hash of the whole.
fn shorten(value: &str) -> String {
    const LIMIT: usize = 400;
    if value.len() <= LIMIT {
        return value.to_owned();
    }
    let head: String = value.chars().take(LIMIT / 2).collect();
    format!("{head}… [{}]", short_hash(value.as_bytes()))
}
