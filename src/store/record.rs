use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::{ContentHash, DiffId};
use crate::image::Descriptor;
use crate::key::CacheKey;

/// The stored result found under a cache key; immutable. Its JSON form is the format of
/// record files and of the record annotation (see `docs/format.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`Record::VERSION`]; others are misses.
    pub version: u32,
    /// The key that it was stored under first.
    pub key: CacheKey,
    /// A second key under which the same result is found, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_key: Option<CacheKey>,
    /// The parts of the key, by field name, for explaining misses. Never a secret's value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, String>,
    /// The instruction as the Dockerfile has it, one line, for people; variables are not expanded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instruction: String,
    /// Base first. A step has one or none ("no change"), a stage all that it adds to its base.
    pub layers: Vec<RecordLayer>,
    /// Names the layers up to this one: the BLAKE3 hash of their chain ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ContentHash>,
    /// Seconds since the epoch.
    pub created: i64,
    /// How long the step took, milliseconds.
    pub duration_ms: u64,
    /// `yadokari <version>`.
    pub executor: String,
    /// By whoever saved it; the cache judges it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<RecordSignature>,
}

/// A signature over a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSignature {
    /// Whose: hex of the SHA-256 of the public key (SPKI, DER).
    pub key: String,
    /// Base64; ECDSA in DER.
    pub value: String,
}

/// Why bytes are no record of a key.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not JSON, or fields missing or of the wrong type.
    #[error("malformed record")]
    Json(#[from] serde_json::Error),
    /// Written by another version of this program.
    #[error("record of version {0}, expected {current}", current = Record::VERSION)]
    Version(u32),
    /// It is bound to another key.
    #[error("record belongs to key {0}")]
    Key(CacheKey),
}

impl Record {
    /// Version of the format.
    pub const VERSION: u32 = 1;

    /// Longer ones are neither written nor read.
    pub const MAX_BYTES: usize = 4 << 20;

    /// Reads what was found under `key`.
    ///
    /// # Errors
    /// [`RecordError`] when it is no record of this version and key.
    pub fn from_bytes(bytes: &[u8], key: &CacheKey) -> Result<Self, RecordError> {
        // Another version's other fields may be of any form: what cannot be read tells its version.
        let read = serde_json::from_slice::<Self>(bytes);
        let version = read.as_ref().map_or_else(|_| version_of(bytes), |record| Some(record.version));
        match (read, version) {
            (_, Some(version)) if version != Self::VERSION => Err(RecordError::Version(version)),
            (read, _) => read.map_err(RecordError::Json).and_then(|record| record.checked(key)),
        }
    }

    fn checked(self, key: &CacheKey) -> Result<Self, RecordError> {
        if self.belongs_to(key) { Ok(self) } else { Err(RecordError::Key(self.key)) }
    }

    /// The JSON form, compact.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings, numbers and maps with string keys only: nothing can fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// True when `key` is one of its keys.
    pub fn belongs_to(&self, key: &CacheKey) -> bool {
        self.key == *key || self.content_key.as_ref() == Some(key)
    }

    /// All blobs that it names: of each layer the layer itself, then its table of contents.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.layers.iter().flat_map(|layer| [&layer.blob, &layer.toc])
    }
}

fn version_of(bytes: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    serde_json::from_slice(bytes).ok().map(|Version { version }| version)
}

/// A layer of a [`Record`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordLayer {
    /// The compressed blob.
    pub blob: Descriptor,
    /// Of its uncompressed tar.
    pub diff_id: DiffId,
    /// Bytes of the uncompressed tar.
    pub uncompressed_size: u64,
    /// The table of contents' blob.
    pub toc: Descriptor,
    /// Seconds since the epoch: when the step that made it ended.
    pub created: i64,
}
