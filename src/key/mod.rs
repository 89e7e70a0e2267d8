//! Cache keys: a hash over a documented, framed list of fields. Pure.
//!
//! | key | fields, in order |
//! |---|---|
//! | root | chain ID of the base layers, platform |
//! | run | parent, salt, argv, script, environment, user, working directory, mounts, network |
//! | copy (definition) | parent, salt, sources with what they are and the names of links among them, destination, flags |
//! | workdir | parent, salt, path, user |
//! | content of a written layer (COPY, ADD, WORKDIR) | salt, every member that the layer will have: path, type, mode, owner, content hash, link target, xattrs |
//! | stage | the key of its last step |
//! | rewritten layer (`--rewrite-timestamp`) | diff ID of the layer, epoch |
//! | merged layer (`--single-snapshot`) | diff IDs of the base image's layers, of the merged ones |
//!
//! *Definition keys* take the parent's definition key as parent and are known before anything
//! runs. The *content key* of a RUN takes the state digest of its parent instead, since a process
//! may read anything. COPY, ADD and WORKDIR are pure functions of what they read, so their
//! content key is a hash over what they are about to write, ancestors included: it says exactly
//! what they touch, and nothing else.
//!
//! The *content key* of a RUN also has the files of stages that it mounts, where its definition key has
//! these stages' keys.
//!
//! Thrown out on purpose: modification times, the order of `--build-arg`s, proxies, secrets'
//! values, display names, where a file came from once its content is known. Variables keep the order
//! of the Dockerfile: a process sees it.
//!
//! A changed field or order needs a new [`KEY_VERSION`]; golden values in the tests keep it so.

mod explain;
mod frame;
mod input;
mod step;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{ChainId, ContentHash, DiffId, DigestError};
use crate::image::Platform;
use frame::Frame;

pub use explain::{Difference, explain, nearest, printable, same_instruction};
pub use frame::Keyed;
pub use input::{InputFile, InputKind, SourceInput};
pub use step::{Parent, content_key, copy_key, run_content_key, run_key, workdir_key};

/// Part of every key; a new value makes every old record a miss.
pub const KEY_VERSION: u32 = 1;

/// Names the result of a step. Its hex form is a valid registry tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CacheKey(pub ContentHash);

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for CacheKey {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse().map(Self)
    }
}

/// The key of a stage's start: the base layers' chain ID (`None` for scratch) and the platform.
/// What a process sees of the base's configuration is in the fields of each step.
pub fn root_key(chain: Option<&ChainId>, platform: &Platform) -> CacheKey {
    let mut frame = Frame::new("root");
    frame.field("chain", chain.map(ToString::to_string).unwrap_or_default().as_bytes());
    frame.field("platform", platform.to_string().as_bytes());
    CacheKey(frame.hash())
}

/// The key of a stage record: all layers of a finished stage.
pub fn stage_key(last: &CacheKey) -> CacheKey {
    let mut frame = Frame::new("stage");
    frame.field("last", &last.0.0);
    CacheKey(frame.hash())
}

/// The key of the layer that `layer` becomes when no file in it may be later than `epoch`, in seconds.
pub fn rewritten_key(layer: &DiffId, epoch: i64) -> CacheKey {
    let mut frame = Frame::new("rewritten");
    frame.field("layer", layer.to_string().as_bytes());
    frame.field("epoch", &epoch.to_le_bytes());
    CacheKey(frame.hash())
}

/// The key of the layer that `layers` become when they are one, on top of `base`.
pub fn merged_key(base: &[DiffId], layers: &[DiffId]) -> CacheKey {
    let mut frame = Frame::new("merged");
    for (name, list) in [("base", base), ("layer", layers)] {
        for layer in list {
            frame.field(name, layer.to_string().as_bytes());
        }
    }
    CacheKey(frame.hash())
}

/// The state digest after a layer whose table of contents has the digest `toc`.
///
/// `None` as parent is the empty file system. Equal file systems made by equal chains are equal
/// states; modification times are not part of it.
pub fn state_digest(parent: Option<&ContentHash>, toc: &ContentHash) -> ContentHash {
    let mut frame = Frame::new("state");
    frame.field("parent", parent.map(|p| p.0.as_slice()).unwrap_or_default());
    frame.field("toc", &toc.0);
    frame.hash()
}

#[cfg(test)]
mod tests;
