//! Finds what is attached to an image, and tells what of it counts.

use serde_json::Value;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::attach::PREDICATE;
use super::bundle::{self, BUNDLE, is_bundle};
use super::error::{AttestError, Rejection, printable};
use super::statement::predicate_type;
use super::{IMAGE_SIGNATURE, signature_tag, simple, tag_of};
use crate::digest::Digest;
use crate::image::{Descriptor, Document, Manifest, Reference};
use crate::registry::{Client, Fault, Purpose, RegistryError};
use crate::signature::TrustedKey;

/// Bundles and payloads that are larger are not read, in bytes.
const MAX_BLOB: u64 = 16 << 20;
/// In all, in bytes: cosign's limit for one.
const MAX_TOTAL: u64 = 128 << 20;
/// Of referrers and of signatures in the tag.
const MAX_LOOKED_AT: usize = 500;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// A signature of the image. An attestation alone is none.
    Signature,
    /// A statement with this type of predicate.
    Attestation(String),
}

/// What was found.
#[derive(Debug)]
pub struct Verification {
    /// Of the image: what a tag was resolved to, once. Everything below is about this.
    pub digest: Digest,
    /// What counts; nothing is said where it is empty.
    pub verified: Vec<Verified>,
    /// What does not, and why.
    pub rejected: Vec<Rejected>,
}

/// One signature or attestation that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How it was found.
    pub way: Way,
    /// [`TrustedKey::id`] of who signed it.
    pub key: String,
    /// The bytes that were signed: a statement, or a payload.
    pub payload: Vec<u8>,
}

/// How something was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// In a bundle that refers to the image; the digest is of its manifest.
    Bundle(Digest),
    /// In the signature tag.
    Tag(String),
}

/// One that does not count.
#[derive(Debug)]
pub struct Rejected {
    /// Its digest, or its tag.
    pub what: String,
    /// Why.
    pub why: Rejection,
}

/// Verifies what is attached to `image` with any of `keys`. Nothing but the registry that `image` names is asked:
/// mirrors may lack what is beside an image.
///
/// # Errors
/// The image is not there, or its registry does not answer. What is wrong with one attachment is among the
/// rejected.
pub fn verify(
    client: &Client,
    image: &Reference,
    keys: &[TrustedKey],
    claim: &Claim,
) -> Result<Verification, AttestError> {
    let found = client.head_manifest(image, Purpose::Push)?;
    let digest = found.ok_or_else(|| AttestError::NoImage(image.to_string()))?.digest;
    let mut search = Search { client, image, keys, claim, left: MAX_TOTAL, digest, verified: vec![], rejected: vec![] };
    search.referrers();
    if *claim == Claim::Signature {
        search.signature_tag();
    }
    let Search { digest, verified, rejected, .. } = search;
    Ok(Verification { digest, verified, rejected })
}

struct Search<'a> {
    client: &'a Client,
    image: &'a Reference,
    keys: &'a [TrustedKey],
    claim: &'a Claim,
    digest: Digest,
    /// Bytes that may still be read.
    left: u64,
    verified: Vec<Verified>,
    rejected: Vec<Rejected>,
}

impl Search<'_> {
    fn note(&mut self, what: String, result: Result<Option<Verified>, Rejection>) {
        match result {
            Ok(verified) => self.verified.extend(verified),
            Err(why) => self.rejected.push(Rejected { what, why }),
        }
    }

    fn referrers(&mut self) {
        let listed = match self.listed() {
            Ok(listed) => listed,
            Err(why) => return self.note("referrers".into(), Err(why)),
        };
        let wanted = self.wanted().to_owned();
        let mut candidates: Vec<&Descriptor> = listed.iter().filter(|entry| may_be(entry, &wanted)).collect();
        if candidates.len() > MAX_LOOKED_AT {
            self.note("referrers".into(), Err(Rejection::TooMany("the list of referrers is too long")));
            candidates.truncate(MAX_LOOKED_AT);
        }
        for entry in candidates {
            let result = self.referrer(&entry.digest);
            self.note(entry.digest.to_string(), result);
        }
    }

    /// The registry's own list; the tag where there is none, or where it was written before there was one.
    fn listed(&self) -> Result<Vec<Descriptor>, Rejection> {
        let listed = self.client.referrers(self.image, &self.digest, Some(BUNDLE))?.unwrap_or_default();
        if !listed.is_empty() {
            return Ok(listed);
        }
        let tag = self.image.with_tag(&tag_of(&self.digest));
        let Some(fetched) = self.client.fetch_manifest(&tag, Purpose::Push)? else { return Ok(listed) };
        match Document::parse(&fetched.bytes, None) {
            Ok(Document::Index(index)) => Ok(index.manifests),
            _ => Err(Rejection::Malformed(format!("{tag} is no list of referrers"))),
        }
    }

    fn wanted(&self) -> &str {
        match self.claim {
            Claim::Signature => IMAGE_SIGNATURE,
            Claim::Attestation(predicate_type) => predicate_type,
        }
    }

    /// `None` for a statement of another kind: it is no business of this search.
    fn referrer(&mut self, manifest: &Digest) -> Result<Option<Verified>, Rejection> {
        let layer = self.layer(manifest)?;
        let bundle = self.blob(&layer)?;
        let envelope = bundle::envelope(&bundle)?;
        let key = envelope.signer(self.keys).ok_or(Rejection::NoTrustedKey)?.id().to_owned();
        if predicate_type(&envelope.payload, &self.digest)? != self.wanted() {
            return Ok(None);
        }
        Ok(Some(Verified { way: Way::Bundle(manifest.clone()), key, payload: envelope.payload }))
    }

    /// The one layer of a manifest that is a bundle about this image.
    fn layer(&self, digest: &Digest) -> Result<Descriptor, Rejection> {
        let manifest = self.manifest(&self.image.with_digest(digest.clone()))?.ok_or(Rejection::NotThere)?;
        let subject = manifest.subject.map(|subject| subject.digest);
        if subject.as_ref() != Some(&self.digest) {
            let other = subject.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string());
            return Err(Rejection::OtherSubject(other));
        }
        match <[Descriptor; 1]>::try_from(manifest.layers) {
            Ok([layer]) if is_bundle(&layer.media_type) => Ok(layer),
            Ok([layer]) => Err(Rejection::Kind { found: printable(&layer.media_type), wanted: "a bundle" }),
            Err(layers) => Err(Rejection::Malformed(format!("{} layers, where a bundle is one", layers.len()))),
        }
    }

    fn manifest(&self, name: &Reference) -> Result<Option<Manifest>, Rejection> {
        let Some(fetched) = self.client.fetch_manifest(name, Purpose::Push)? else { return Ok(None) };
        match Document::parse(&fetched.bytes, Some(&fetched.descriptor.media_type)) {
            Ok(Document::Manifest(manifest)) => Ok(Some(manifest)),
            Ok(Document::Index(_)) => Err(Rejection::Malformed("an index, where a manifest was expected".into())),
            Err(error) => Err(Rejection::Malformed(error.to_string())),
        }
    }

    /// Verified against its digest; what is too large is not asked for.
    fn blob(&mut self, blob: &Descriptor) -> Result<Vec<u8>, Rejection> {
        if blob.size > MAX_BLOB {
            return Err(Rejection::TooLarge { size: blob.size, limit: MAX_BLOB });
        }
        let left = self.left.checked_sub(blob.size);
        self.left = left.ok_or(Rejection::TooMany("there is too much beside this image"))?;
        self.client.fetch_small_blob(self.image, blob, Purpose::Push).map_err(missing)
    }

    fn signature_tag(&mut self) {
        let tag = signature_tag(&self.digest);
        let manifest = match self.manifest(&self.image.with_tag(&tag)) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return,
            Err(why) => return self.note(tag, Err(why)),
        };
        if manifest.layers.len() > MAX_LOOKED_AT {
            self.note(tag.clone(), Err(Rejection::TooMany("it has too many signatures")));
        }
        for (number, layer) in manifest.layers.iter().take(MAX_LOOKED_AT).enumerate() {
            let result = self.signature(&tag, layer);
            self.note(format!("{tag}, signature {}", number + 1), result);
        }
    }

    fn signature(&mut self, tag: &str, layer: &Descriptor) -> Result<Option<Verified>, Rejection> {
        if layer.media_type != simple::PAYLOAD {
            return Err(Rejection::Kind { found: printable(&layer.media_type), wanted: simple::PAYLOAD });
        }
        let signature = layer.annotations.get(simple::SIGNATURE).and_then(|text| STANDARD.decode(text).ok());
        let signature = signature.ok_or_else(|| Rejection::Malformed("no signature is with it".into()))?;
        let payload = self.blob(layer)?;
        let key = self.keys.iter().find(|key| key.verifies(&payload, &signature)).ok_or(Rejection::NoTrustedKey)?;
        simple::check(&payload, &self.digest)?;
        Ok(Some(Verified { way: Way::Tag(tag.to_owned()), key: key.id().to_owned(), payload }))
    }
}

/// Whether an entry of a list can be a bundle with what is wanted. Registries may leave annotations and types out.
fn may_be(entry: &Descriptor, wanted: &str) -> bool {
    let empty = [crate::image::media_type::OCI_EMPTY, crate::image::media_type::OCI_CONFIG];
    let kind = entry.artifact_type.as_deref();
    let is_candidate = kind.is_none_or(|kind| is_bundle(kind) || empty.contains(&kind));
    is_candidate && entry.annotations.get(PREDICATE).is_none_or(|predicate| predicate == wanted)
}

fn missing(error: RegistryError) -> Rejection {
    match *error.fault {
        Fault::NotFound(_) => Rejection::NotThere,
        _ => error.into(),
    }
}

impl Verified {
    /// What was signed, as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.payload).ok()
    }
}
