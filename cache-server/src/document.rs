//! Reads a pushed manifest: what it is, and what it needs. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use yadokari::digest::Digest;
use yadokari::image::{Descriptor, media_type};

/// A manifest or index, as far as a registry cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    /// Content type to serve it with.
    pub(crate) media_type: String,
    /// What referrer lists call it: its own artifact type, else an image's configuration type.
    pub(crate) artifact_type: Option<String>,
    /// Config and layers: blobs that must be in the repository.
    pub(crate) blobs: Vec<Digest>,
    /// Entries of an index: each must be in the repository, as a manifest or (BuildKit's
    /// cache index) as a blob.
    pub(crate) children: Vec<Digest>,
    /// The manifest that this one is about; need not exist.
    pub(crate) subject: Option<Digest>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Bytes of its blobs, as it says.
    pub(crate) bytes: u64,
}

/// Why bytes are no manifest that this registry takes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error("malformed manifest: {0}")]
    Json(#[from] serde_json::Error),
    #[error("schemaVersion must be 2, not {0}")]
    Schema(u32),
    #[error("Content-Type {content_type:?} differs from the manifest's mediaType {media_type:?}")]
    MediaType { content_type: String, media_type: String },
    #[error("unsupported manifest type {0:?}")]
    Unsupported(String),
    #[error("neither Content-Type nor mediaType says what the manifest is")]
    Untyped,
    #[error("manifest has the fields of both an image and an index")]
    Ambiguous,
    #[error("manifest lacks the field `{0}`")]
    Missing(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    schema_version: u32,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Document {
    /// Everything that it needs.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Digest> {
        self.blobs.iter().chain(&self.children)
    }

    /// Reads `bytes`, which the client called `content_type` (without parameters).
    pub(crate) fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, DocumentError> {
        let fields: Fields = serde_json::from_slice(bytes)?;
        if fields.schema_version != 2 {
            return Err(DocumentError::Schema(fields.schema_version));
        }
        let media_type = agreed_type(content_type, fields.media_type.as_deref())?;
        match media_type.as_str() {
            media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => fields.into_image(media_type),
            media_type::OCI_INDEX | media_type::DOCKER_LIST => fields.into_index(media_type),
            _ => Err(DocumentError::Unsupported(media_type)),
        }
    }
}

fn agreed_type(content_type: Option<&str>, inner: Option<&str>) -> Result<String, DocumentError> {
    match (content_type, inner) {
        (Some(content_type), Some(inner)) if content_type != inner => {
            Err(DocumentError::MediaType { content_type: content_type.into(), media_type: inner.into() })
        }
        (Some(named), _) | (None, Some(named)) => Ok(named.into()),
        (None, None) => Err(DocumentError::Untyped),
    }
}

impl Fields {
    fn into_image(self, media_type: String) -> Result<Document, DocumentError> {
        if self.manifests.is_some() {
            return Err(DocumentError::Ambiguous);
        }
        let config = self.config.ok_or(DocumentError::Missing("config"))?;
        let layers = self.layers.unwrap_or_default();
        let distributable = layers.into_iter().filter(|layer| !is_foreign(&layer.media_type));
        let (mut blobs, mut bytes) = (vec![config.digest], config.size);
        blobs.extend(distributable.map(|layer| {
            bytes = bytes.saturating_add(layer.size);
            layer.digest
        }));
        Ok(Document {
            media_type,
            artifact_type: non_empty(self.artifact_type).or(Some(config.media_type)),
            blobs: distinct(blobs),
            children: Vec::new(),
            subject: self.subject.map(|subject| subject.digest),
            annotations: self.annotations.unwrap_or_default(),
            bytes,
        })
    }

    fn into_index(self, media_type: String) -> Result<Document, DocumentError> {
        if self.config.is_some() || self.layers.is_some() {
            return Err(DocumentError::Ambiguous);
        }
        let manifests = self.manifests.ok_or(DocumentError::Missing("manifests"))?;
        Ok(Document {
            media_type,
            artifact_type: non_empty(self.artifact_type),
            blobs: Vec::new(),
            children: distinct(manifests.into_iter().map(|child| child.digest).collect()),
            subject: self.subject.map(|subject| subject.digest),
            annotations: self.annotations.unwrap_or_default(),
            bytes: 0,
        })
    }
}

/// Layers that their licence keeps out of registries.
fn is_foreign(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|t| !t.is_empty())
}

fn distinct(mut digests: Vec<Digest>) -> Vec<Digest> {
    digests.sort();
    digests.dedup();
    digests
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn descriptor(media_type: &str, content: &str) -> serde_json::Value {
        json!({"mediaType": media_type, "digest": Digest::sha256(content.as_bytes()), "size": content.len()})
    }

    fn image() -> serde_json::Value {
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": descriptor(media_type::OCI_CONFIG, "config"),
            "layers": [descriptor(media_type::OCI_LAYER, "a"), descriptor(foreign, "b"), descriptor(media_type::OCI_LAYER, "a")],
            "subject": descriptor(media_type::OCI_MANIFEST, "subject"),
        })
    }

    fn parse(value: &serde_json::Value, content_type: Option<&str>) -> Result<Document, DocumentError> {
        Document::parse(value.to_string().as_bytes(), content_type)
    }

    #[test]
    fn an_image_needs_its_config_and_distributable_layers() {
        let document = parse(&image(), Some(media_type::OCI_MANIFEST)).expect("valid");
        let expected = distinct(vec![Digest::sha256(b"config"), Digest::sha256(b"a")]);
        assert_eq!(document.blobs, expected);
        assert_eq!(document.subject, Some(Digest::sha256(b"subject")));
        assert_eq!(document.artifact_type.as_deref(), Some(media_type::OCI_CONFIG));
    }

    #[test]
    fn an_index_needs_its_children_and_has_no_artifact_type_of_its_own() {
        let index = json!({"schemaVersion": 2, "manifests": [descriptor(media_type::OCI_MANIFEST, "m")]});
        let document = parse(&index, Some(media_type::OCI_INDEX)).expect("valid");
        assert_eq!(document.children, [Digest::sha256(b"m")]);
        assert_eq!(document.artifact_type, None);
    }

    #[test]
    fn confusing_documents_are_refused() {
        let mut both = image();
        both["manifests"] = json!([]);
        assert!(matches!(parse(&both, None), Err(DocumentError::Ambiguous)));
        let other = Some(media_type::DOCKER_MANIFEST);
        assert!(matches!(parse(&image(), other), Err(DocumentError::MediaType { .. })));
        let mut upper = image();
        upper["config"]["digest"] = json!(format!("sha256:{}", "A".repeat(64)));
        assert!(matches!(parse(&upper, None), Err(DocumentError::Json(_))));
        let one = json!({"schemaVersion": 1, "mediaType": media_type::OCI_INDEX, "manifests": []});
        assert!(matches!(parse(&one, None), Err(DocumentError::Schema(1))));
        let plain = json!({"schemaVersion": 2, "manifests": []});
        assert!(matches!(parse(&plain, None), Err(DocumentError::Untyped)));
        assert!(matches!(parse(&plain, Some("text/plain")), Err(DocumentError::Unsupported(_))));
        assert!(matches!(parse(&plain, Some(media_type::OCI_MANIFEST)), Err(DocumentError::Ambiguous)));
    }
}
