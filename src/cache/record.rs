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
    /// Base first. A step has one or none ("no change"), a stage all that it adds to its base.
    pub layers: Vec<RecordLayer>,
    /// Identity of the file system after it (see [`crate::key`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ContentHash>,
    /// Seconds since the epoch.
    pub created: i64,
    /// How long the step took, milliseconds.
    pub duration_ms: u64,
    /// `yadokari <version>`.
    pub executor: String,
}

impl Record {
    /// Version of the format.
    pub const VERSION: u32 = 1;
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
