//! Writes beside an image: referrers and tags.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::bundle::{BUNDLE, bundle};
use super::error::AttestError;
use super::list::List;
use super::{IMAGE_SIGNATURE, STATEMENT, push_blob, signature_tag, simple, statement, tag_of};
use crate::image::{Descriptor, Manifest, Reference, media_type};
use crate::parallel::beside;
use crate::registry::Client;
use crate::signature::SigningKey;

/// Of referrers: what is in a bundle, and the type of its statement.
const CONTENT: &str = "dev.sigstore.bundle.content";
pub(super) const PREDICATE: &str = "dev.sigstore.bundle.predicateType";
/// BuildKit's annotation of a statement that is not signed.
const UNSIGNED_PREDICATE: &str = "in-toto.io/predicate-type";

const REFERRERS: List = List {
    name: "list of referrers",
    media_type: media_type::OCI_INDEX,
    field: "manifests",
    identity: &["digest"],
    config: None,
};
const SIGNATURES: List = List {
    name: "list of signatures",
    media_type: media_type::OCI_MANIFEST,
    field: "layers",
    identity: &["digest", "annotations"],
    config: Some(configuration),
};

/// Attaches to the images of one repository.
pub struct Attacher<'a> {
    client: &'a Client,
    /// Its tag and digest do not count.
    repository: &'a Reference,
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
        push_blob(self.client, self.repository, &config, EMPTY)?;
        push_blob(self.client, self.repository, &layer, &bytes)?;
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
        let tag = self.repository.with_tag(&tag_of(&subject.digest));
        REFERRERS.add(self.client, &tag, json!(entry))
    }

    /// # Source
    /// cosign `specs/SIGNATURE_SPEC.md`.
    fn sign_in_tag(&self, subject: &Descriptor, key: &SigningKey) -> Result<(), AttestError> {
        let payload = simple::payload(&self.repository.name(), &subject.digest);
        let signature = STANDARD.encode(key.sign(&payload));
        let annotations = BTreeMap::from([(simple::SIGNATURE.to_owned(), signature)]);
        let layer = Descriptor { annotations, ..Descriptor::of(simple::PAYLOAD, &payload) };
        push_blob(self.client, self.repository, &layer, &payload)?;
        let tag = self.repository.with_tag(&signature_tag(&subject.digest));
        SIGNATURES.add(self.client, &tag, json!(layer))
    }
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
