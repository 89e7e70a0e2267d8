//! Records and tables of contents as image manifests of a cache repository. Pure.

use std::collections::BTreeMap;

use super::{Record, RecordError, RecordSignature};
use crate::digest::{DiffId, Digest};
use crate::image::{
    ContainerConfig, Descriptor, Document, ImageConfig, Manifest, ManifestError, Platform, RootFs, media_type,
};
use crate::key::CacheKey;

/// Holds a record's JSON.
const RECORD: &str = "dev.yadokari.record";
/// Holds the layer that a table of contents is of.
pub(super) const DIFF_ID: &str = "dev.yadokari.diff-id";
/// Holds the signature of a table of contents, as JSON.
const SIGNATURE: &str = "dev.yadokari.signature";
pub(super) const CREATED: &str = "org.opencontainers.image.created";

/// Registries refuse manifests beyond 4 MiB. A larger record goes without the parts of its key.
const MAX_ANNOTATION_BYTES: usize = 1 << 20;

/// The blob of [`media_type::OCI_EMPTY`].
pub(super) const EMPTY_JSON: &[u8] = b"{}";

/// Some registries take only what looks like an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// With an artifact type and the empty configuration.
    Artifact,
    /// With an image configuration and layer media types only.
    Image,
}

/// Why a manifest holds no usable record or table of contents.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("it is an image index")]
    Index,
    #[error("it has no annotation {0}")]
    NoAnnotation(&'static str),
    #[error("its annotation {DIFF_ID} names another layer")]
    OtherLayer,
    #[error("its record names blob {0}, which the manifest does not")]
    ForeignBlob(Digest),
    #[error("it has no layers")]
    NoLayers,
}

/// What the tags of tables of contents begin with.
pub(super) const TOC_PREFIX: &str = "toc-";

/// The tag of a layer's table of contents; `None` when it would be longer than a tag may be.
pub(super) fn toc_tag(layer: &DiffId) -> Option<String> {
    let tag = format!("{TOC_PREFIX}{}", layer.0.hex());
    (tag.len() <= 128).then_some(tag)
}

/// A manifest and the bytes of the configuration that it names.
pub(super) struct Packed {
    pub(super) manifest: Manifest,
    pub(super) config: Vec<u8>,
}

pub(super) fn pack_record(record: &Record, form: Form) -> Packed {
    let diff_ids = record.layers.iter().flat_map(|layer| [layer.diff_id.clone(), toc_diff_id(&layer.toc)]);
    let mut packed = pack(media_type::RECORD, record.blobs(), diff_ids.collect(), form);
    let annotations = &mut packed.manifest.annotations;
    annotations.insert(RECORD.into(), annotation(record));
    if let Ok(created) = jiff::Timestamp::from_second(record.created) {
        annotations.insert(CREATED.into(), created.to_string());
    }
    packed
}

pub(super) fn pack_toc(layer: &DiffId, toc: &Descriptor, signature: Option<&RecordSignature>, form: Form) -> Packed {
    let mut packed = pack(media_type::TOC, [toc].into_iter(), vec![toc_diff_id(toc)], form);
    packed.manifest.annotations.insert(DIFF_ID.into(), layer.to_string());
    // Strings only: nothing can fail.
    let signature = signature.and_then(|signature| serde_json::to_string(signature).ok());
    packed.manifest.annotations.extend(signature.map(|json| (SIGNATURE.into(), json)));
    packed
}

fn annotation(record: &Record) -> String {
    let mut bytes = record.to_bytes();
    if bytes.len() > MAX_ANNOTATION_BYTES {
        bytes = Record { parts: BTreeMap::new(), ..record.clone() }.to_bytes();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A table of contents is no tar, so it has no diff ID; an image needs one per layer.
fn toc_diff_id(toc: &Descriptor) -> DiffId {
    DiffId(toc.digest.clone())
}

pub(super) fn pack<'a>(
    kind: &str,
    blobs: impl Iterator<Item = &'a Descriptor>,
    diff_ids: Vec<DiffId>,
    form: Form,
) -> Packed {
    let empty = Descriptor::of(media_type::OCI_EMPTY, EMPTY_JSON);
    let mut layers: Vec<Descriptor> = blobs.cloned().collect();
    let (config_type, config, artifact_type) = match form {
        Form::Artifact => (media_type::OCI_EMPTY, EMPTY_JSON.to_vec(), Some(kind.to_owned())),
        Form::Image => (media_type::OCI_CONFIG, image_config(diff_ids), None),
    };
    if form == Form::Image {
        layers.iter_mut().for_each(disguise);
    } else if layers.is_empty() {
        layers.push(empty);
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.into()),
        artifact_type,
        config: Descriptor::of(config_type, &config),
        layers,
        subject: None,
        annotations: BTreeMap::new(),
    };
    Packed { manifest, config }
}

fn disguise(layer: &mut Descriptor) {
    if media_type::layer_compression(&layer.media_type).is_none() {
        layer.media_type = media_type::OCI_LAYER_ZSTD.into();
    }
}

fn image_config(diff_ids: Vec<DiffId>) -> Vec<u8> {
    let platform = Platform::host();
    let config = ImageConfig {
        architecture: platform.architecture,
        os: platform.os,
        config: ContainerConfig::default(),
        rootfs: RootFs { diff_ids, ..RootFs::default() },
        ..ImageConfig::default()
    };
    config.to_bytes()
}

/// The record in a manifest that was found under the tag `key`.
pub(super) fn unpack_record(bytes: &[u8], key: &CacheKey) -> Result<Record, Unusable> {
    let manifest = image_manifest(bytes)?;
    let json = manifest.annotations.get(RECORD).ok_or(Unusable::NoAnnotation(RECORD))?;
    let record = Record::from_bytes(json.as_bytes(), key)?;
    // The registry keeps what the manifest names; a blob that only the record names may be gone,
    // or be another repository's.
    let named = |blob: &Descriptor| manifest.layers.iter().any(|l| l.digest == blob.digest && l.size == blob.size);
    let foreign = record.blobs().find(|blob| !named(blob)).map(|blob| blob.digest.clone());
    foreign.map_or(Ok(record), |digest| Err(Unusable::ForeignBlob(digest)))
}

/// The table of contents in a manifest that was found under the tag of `layer`, and its signature.
pub(super) fn unpack_toc(bytes: &[u8], layer: &DiffId) -> Result<(Descriptor, Option<RecordSignature>), Unusable> {
    let manifest = image_manifest(bytes)?;
    let named = manifest.annotations.get(DIFF_ID).ok_or(Unusable::NoAnnotation(DIFF_ID))?;
    if *named != layer.to_string() {
        return Err(Unusable::OtherLayer);
    }
    let signature = manifest.annotations.get(SIGNATURE).and_then(|json| serde_json::from_str(json).ok());
    let toc = manifest.layers.into_iter().next().ok_or(Unusable::NoLayers)?;
    Ok((Descriptor::new(media_type::TOC, toc.digest, toc.size), signature))
}

pub(super) fn image_manifest(bytes: &[u8]) -> Result<Manifest, Unusable> {
    match Document::parse(bytes, Some(media_type::OCI_MANIFEST))? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(Unusable::Index),
    }
}
