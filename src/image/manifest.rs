use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Descriptor, Platform, media_type};

/// What a manifest request can return.
// One lives at a time and for a moment: boxing would only add noise.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A list of images, one per platform.
    Index(Index),
}

/// One image: its configuration and its layers, base first.
///
/// # Source
/// OCI image-spec, `manifest.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Absent in some old OCI manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// OPTIONAL. Type of the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration blob.
    pub config: Descriptor,
    /// Base first. Written even when empty.
    #[serde(default, deserialize_with = "super::config::null_default")]
    pub layers: Vec<Descriptor>,
    /// OPTIONAL. The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// OPTIONAL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "super::config::null_default")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of images.
///
/// # Source
/// OCI image-spec, `image-index.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Absent in some old OCI indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// In order of preference.
    #[serde(default, deserialize_with = "super::config::null_default")]
    pub manifests: Vec<Descriptor>,
    /// OPTIONAL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "super::config::null_default")]
    pub annotations: BTreeMap<String, String>,
}

/// Why bytes are no manifest or index.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or fields of the wrong type.
    #[error("malformed manifest")]
    Json(#[from] serde_json::Error),
    /// Schema 1, or a type that is no image.
    #[error("unsupported manifest type {0:?}")]
    Unsupported(String),
    /// Both an image and an index: a confusion attack.
    #[error("manifest has both `manifests` and `layers` or `config`")]
    Ambiguous,
}

impl Document {
    /// Reads a manifest or index. `content_type` is what the server called it; the
    /// document's own `mediaType` wins, and the fields decide when both are absent.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        let value: serde_json::Value = serde_json::from_slice(bytes)?;
        let has = |name: &str| value.get(name).is_some_and(|v| !v.is_null());
        if has("manifests") && (has("layers") || has("config")) {
            return Err(ManifestError::Ambiguous);
        }
        let named = value.get("mediaType").and_then(|v| v.as_str()).or(content_type);
        let is_index = match named {
            Some(media_type::OCI_INDEX | media_type::DOCKER_LIST) => true,
            Some(media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST) => false,
            _ if has("manifests") => true,
            _ if has("config") => false,
            other => return Err(ManifestError::Unsupported(other.unwrap_or("unknown").into())),
        };
        if is_index {
            return Ok(Self::Index(serde_json::from_value(value)?));
        }
        Ok(Self::Manifest(serde_json::from_value(value)?))
    }
}

impl Manifest {
    /// The media type: its own, else OCI's.
    pub fn media_type(&self) -> &str {
        self.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST)
    }

    /// The bytes to store: two-space indentation, as BuildKit writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        pretty(self)
    }
}

impl Index {
    /// The bytes to store: two-space indentation.
    pub fn to_bytes(&self) -> Vec<u8> {
        pretty(self)
    }

    /// The entry that suits `wanted` best, ties by order.
    ///
    /// # Source
    /// containerd `platforms` ordering; attestation entries (`unknown/unknown`) are skipped.
    pub fn select(&self, wanted: &Platform) -> Option<&Descriptor> {
        let rank = |d: &Descriptor| d.platform.as_ref().and_then(|p| wanted.rank(p));
        self.manifests
            .iter()
            .filter(|d| !d.annotations.contains_key("vnd.docker.reference.type"))
            .filter_map(|d| rank(d).map(|r| (r, d)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, d)| d)
    }
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    // These types hold strings, numbers and maps with string keys only: nothing can fail.
    serde_json::to_vec_pretty(value).unwrap_or_default()
}
