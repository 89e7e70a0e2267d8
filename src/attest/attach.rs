//! Writes beside an image: referrers and tags.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{Cursor, Read};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::bundle::{BUNDLE, bundle};
use super::error::AttestError;
use super::{IMAGE_SIGNATURE, STATEMENT, signature_tag, simple, statement, tag_of};
use crate::digest::Digest;
use crate::image::{Descriptor, Manifest, Reference, media_type};
use crate::parallel::beside;
use crate::registry::{Client, Fetched, Purpose};
use crate::signature::SigningKey;

/// Tries to add to a tag that others write at the same time.
const TRIES: u32 = 20;
/// Least time before looking whether an addition is still there: others that read before may be slower.
const SETTLING: Duration = Duration::from_millis(250);
/// Most that is added at random so that writers do not come back together, in milliseconds.
const SPREAD: u64 = 40;
/// Of referrers: what is in a bundle, and the type of its statement.
const CONTENT: &str = "dev.sigstore.bundle.content";
pub(super) const PREDICATE: &str = "dev.sigstore.bundle.predicateType";
/// BuildKit's annotation of a statement that is not signed.
const UNSIGNED_PREDICATE: &str = "in-toto.io/predicate-type";

/// Attaches to the images of one repository.
pub struct Attacher<'a> {
    client: &'a Client,
    /// Its tag and digest do not count.
    repository: &'a Reference,
}

/// A document to push, and its media type.
struct Document {
    media_type: String,
    bytes: Vec<u8>,
    /// A blob that it names.
    config: Option<Vec<u8>>,
}

impl<'a> Attacher<'a> {
    /// For images that are in `repository` already.
    pub fn new(client: &'a Client, repository: &'a Reference) -> Self {
        Self { client, repository }
    }

    /// Signs the manifest or index `subject`: with a bundle that refers to it, and in its signature tag, where
    /// the signatures of others stay. Done once more by the same key it changes nothing.
    ///
    /// # Errors
    /// [`AttestError`].
    pub fn sign(&self, subject: &Descriptor, key: &SigningKey) -> Result<(), AttestError> {
        let signed = statement(&subject.digest, None, IMAGE_SIGNATURE, &json!({}));
        let attach = || self.attach_bundle(subject, IMAGE_SIGNATURE, bundle(key, signed));
        let (attached, signed) = beside(attach, || self.sign_in_tag(subject, key));
        attached.and(signed)
    }

    /// Says `predicate` about `subject`: as a bundle signed by `key`, else as a bare statement.
    ///
    /// # Errors
    /// [`AttestError`].
    pub fn attest(
        &self,
        subject: &Descriptor,
        (predicate_type, predicate): (&str, &Value),
        key: Option<&SigningKey>,
    ) -> Result<(), AttestError> {
        let said = statement(&subject.digest, Some(&self.repository.name()), predicate_type, predicate);
        match key {
            Some(key) => self.attach_bundle(subject, predicate_type, bundle(key, said)),
            None => {
                let predicate = BTreeMap::from([(UNSIGNED_PREDICATE.into(), predicate_type.into())]);
                let layer = Descriptor { annotations: predicate.clone(), ..Descriptor::of(STATEMENT, &said) };
                self.refer(subject, STATEMENT, (layer, said), predicate)
            }
        }
    }

    fn attach_bundle(&self, subject: &Descriptor, predicate_type: &str, bytes: Vec<u8>) -> Result<(), AttestError> {
        let annotations = BTreeMap::from([
            (CONTENT.to_owned(), "dsse-envelope".to_owned()),
            (PREDICATE.to_owned(), predicate_type.to_owned()),
        ]);
        self.refer(subject, BUNDLE, (Descriptor::of(BUNDLE, &bytes), bytes), annotations)
    }

    /// Pushes an artifact with one blob that refers to `subject`.
    ///
    /// # Source
    /// OCI image-spec, `manifest.md`, "Guidelines for Artifact Usage".
    fn refer(
        &self,
        subject: &Descriptor,
        artifact_type: &str,
        (layer, bytes): (Descriptor, Vec<u8>),
        annotations: BTreeMap<String, String>,
    ) -> Result<(), AttestError> {
        const EMPTY: &[u8] = b"{}";
        let config = Descriptor::of(media_type::OCI_EMPTY, EMPTY);
        self.push_blob(&config, EMPTY)?;
        self.push_blob(&layer, &bytes)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.into()),
            artifact_type: Some(artifact_type.to_owned()),
            config,
            layers: vec![layer],
            subject: Some(Descriptor::new(&subject.media_type, subject.digest.clone(), subject.size)),
            annotations: annotations.clone(),
        };
        let bytes = manifest.to_bytes();
        if self.client.push_referrer(self.repository, media_type::OCI_MANIFEST, &bytes)? {
            return Ok(());
        }
        let entry = Descriptor {
            artifact_type: Some(artifact_type.to_owned()),
            annotations,
            ..Descriptor::of(media_type::OCI_MANIFEST, &bytes)
        };
        self.list(subject, &entry)
    }

    /// # Source
    /// OCI distribution-spec, "Referrers Tag Schema".
    fn list(&self, subject: &Descriptor, entry: &Descriptor) -> Result<(), AttestError> {
        let empty = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [] });
        let digest = entry.digest.to_string();
        self.add_to(&tag_of(&subject.digest), "list of referrers", |there| {
            let mut index = there.unwrap_or_else(|| empty.clone());
            let entries = index.get_mut("manifests").and_then(Value::as_array_mut).ok_or(Unfit)?;
            if entries.iter().any(|known| known.get("digest").and_then(Value::as_str) == Some(&digest)) {
                return Ok(None);
            }
            entries.push(json!(entry));
            Ok(Some(document(media_type::OCI_INDEX, &index)))
        })
    }

    /// # Source
    /// cosign `specs/SIGNATURE_SPEC.md`.
    fn sign_in_tag(&self, subject: &Descriptor, key: &SigningKey) -> Result<(), AttestError> {
        let payload = simple::payload(&self.repository.name(), &subject.digest);
        let signature = STANDARD.encode(key.sign(&payload));
        let annotations = BTreeMap::from([(simple::SIGNATURE.to_owned(), signature)]);
        let layer = Descriptor { annotations, ..Descriptor::of(simple::PAYLOAD, &payload) };
        self.push_blob(&layer, &payload)?;
        let empty = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "layers": [] });
        let layer = json!(layer);
        self.add_to(&signature_tag(&subject.digest), "list of signatures", |there| {
            let mut manifest = there.unwrap_or_else(|| empty.clone());
            let layers = manifest.get_mut("layers").and_then(Value::as_array_mut).ok_or(Unfit)?;
            let same =
                |known: &Value| ["digest", "annotations"].iter().all(|field| known.get(field) == layer.get(field));
            if layers.iter().any(same) {
                return Ok(None);
            }
            layers.push(layer.clone());
            let config = configuration(layers);
            let descriptor = Descriptor::of(media_type::OCI_CONFIG, &config);
            manifest.as_object_mut().ok_or(Unfit)?.insert("config".into(), json!(descriptor));
            Ok(Some(Document { config: Some(config), ..document(media_type::OCI_MANIFEST, &manifest) }))
        })
    }

    /// Changes what a tag names with `edit`, until it says that there is nothing to change. The registry has no
    /// lock, and others may have read before and write after us: so we look again, after longer than it took.
    fn add_to(
        &self,
        tag: &str,
        expected: &'static str,
        mut edit: impl FnMut(Option<Value>) -> Result<Option<Document>, Unfit>,
    ) -> Result<(), AttestError> {
        let name = self.repository.with_tag(tag);
        for tried in 0..TRIES {
            let started = Instant::now();
            let occupied = |_| AttestError::Occupied { tag: name.to_string(), expected };
            let there = self.client.fetch_manifest(&name, Purpose::Push)?;
            let seen = there.as_ref().map(|there| there.descriptor.digest.clone());
            let there = there.map(|Fetched { bytes, .. }| serde_json::from_slice(&bytes).map_err(|_| Unfit));
            let there = there.transpose().map_err(occupied)?;
            let Some(document) = edit(there).map_err(occupied)? else { return Ok(()) };
            if self.is_still(&name, seen.as_ref(), document.config.as_deref())? {
                self.client.push_manifest(&name, &document.media_type, &document.bytes)?;
            }
            // Each `RandomState` has keys of its own.
            let random = Duration::from_millis(RandomState::new().hash_one(tried) % SPREAD);
            thread::sleep(SETTLING.max(started.elapsed() * 3) + random * (tried + 1));
        }
        Err(AttestError::Contended(name.to_string()))
    }

    /// Pushes the `config` of what is about to be written; false when the tag was changed meanwhile.
    fn is_still(&self, name: &Reference, seen: Option<&Digest>, config: Option<&[u8]>) -> Result<bool, AttestError> {
        let Some(config) = config else { return Ok(true) };
        self.push_blob(&Descriptor::of(media_type::OCI_CONFIG, config), config)?;
        let named = self.client.head_manifest(name, Purpose::Push)?;
        Ok(named.map(|document| document.digest).as_ref() == seen)
    }

    fn push_blob(&self, blob: &Descriptor, bytes: &[u8]) -> Result<(), AttestError> {
        if self.client.has_blob(self.repository, &blob.digest)? {
            return Ok(());
        }
        let bytes = bytes.to_vec();
        let open = || -> std::io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(bytes.clone()))) };
        Ok(self.client.push_blob(self.repository, blob, &open, &|_| ())?)
    }
}

/// What a tag holds is not what it should.
struct Unfit;

fn document(media_type: &str, value: &Value) -> Document {
    // Strings, numbers and maps: nothing can fail.
    Document { media_type: media_type.to_owned(), bytes: serde_json::to_vec(value).unwrap_or_default(), config: None }
}

/// cosign's: an image with the payloads as its layers.
fn configuration(layers: &[Value]) -> Vec<u8> {
    let digests: Vec<&Value> = layers.iter().filter_map(|layer| layer.get("digest")).collect();
    let config = json!({
        "architecture": "",
        "os": "",
        "config": {},
        "created": "0001-01-01T00:00:00Z",
        "rootfs": { "type": "layers", "diff_ids": digests },
    });
    config.to_string().into_bytes()
}
