use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Platform;
use crate::digest::Digest;

/// Names a blob: media type, digest, size in bytes.
///
/// # Source
/// OCI image-spec, `descriptor.md`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// REQUIRED.
    pub media_type: String,
    /// REQUIRED.
    pub digest: Digest,
    /// REQUIRED. Bytes.
    pub size: u64,
    /// OPTIONAL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// OPTIONAL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "super::config::null_default")]
    pub annotations: BTreeMap<String, String>,
    /// OPTIONAL. Type of the artifact when the target is a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor with the required fields only.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            artifact_type: None,
        }
    }

    /// The descriptor of `bytes`.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }
}
