//! What a registry, or whoever may write to it, can put beside an image.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use yadokari::attest::{Attacher, BUNDLE, Claim, IMAGE_SIGNATURE, PROVENANCE, Verification, statement, verify};
use yadokari::image::{Descriptor, Reference, media_type};
use yadokari::registry::Client;
use yadokari::signature::{Envelope, SigningKey};

use super::support::Registry;
use super::{blob, client, document, fallback_tag, key, manifest, push_blob, push_image, repository};

struct Stage {
    _registry: Registry,
    client: Client,
    at: Reference,
    image: Descriptor,
    key: SigningKey,
}

impl Stage {
    fn new() -> Self {
        let registry = Registry::start();
        let (client, at) = (client(), repository(&registry, "app"));
        let image = push_image(&client, &at, "good");
        Self { _registry: registry, client, at, image, key: key(1) }
    }

    /// Puts the manifest with this one layer into the list of referrers.
    fn list(&self, media_type: &str, bytes: &[u8], subject: Option<&Descriptor>) {
        let layer = push_blob(&self.client, &self.at, media_type, bytes);
        let manifest = manifest(&self.client, &self.at, vec![layer], subject.cloned()).to_bytes();
        self.client.push_referrer(&self.at, media_type::OCI_MANIFEST, &manifest).expect("pushed");
        self.list_entry(json!(Descriptor::of(media_type::OCI_MANIFEST, &manifest)));
    }

    fn list_entry(&self, entry: Value) {
        let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry] });
        let tag = self.at.with_tag(&fallback_tag(&self.image.digest));
        self.client.push_manifest(&tag, media_type::OCI_INDEX, index.to_string().as_bytes()).expect("pushed");
    }

    fn found(&self) -> Verification {
        verify(&self.client, &self.at, &[self.key.public()], &Claim::Signature).expect("asked")
    }

    /// Nothing counts, and this is why.
    fn rejects(&self, why: &str) {
        let found = self.found();
        assert!(found.verified.is_empty(), "{why}: {found:?}");
        let reasons: Vec<String> = found.rejected.iter().map(|rejected| rejected.why.to_string()).collect();
        assert!(reasons.iter().any(|reason| reason.contains(why)), "{why}: {reasons:?}");
    }

    fn signed(&self, payload_type: &str, payload: Vec<u8>) -> Value {
        Envelope::sign(&self.key, "", payload_type, payload).to_json()
    }
}

fn bundle(envelope: &Value) -> Vec<u8> {
    json!({ "mediaType": BUNDLE, "verificationMaterial": {}, "dsseEnvelope": envelope }).to_string().into_bytes()
}

#[test]
fn bundles_that_do_not_count() {
    let stage = Stage::new();
    let (image, other) = (&stage.image.digest, Descriptor::of(media_type::OCI_MANIFEST, b"other"));
    let about = |digest| statement(digest, None, IMAGE_SIGNATURE, &json!({}));
    let in_toto = "application/vnd.in-toto+json";
    let subject = Some(&stage.image);

    stage.list(BUNDLE, &bundle(&stage.signed(in_toto, about(image))), subject);
    assert_eq!(stage.found().verified.len(), 1, "what all below is a change of");

    stage.list(BUNDLE, &bundle(&stage.signed(in_toto, about(&other.digest))), subject);
    stage.rejects("is about another image");
    let mut swapped = stage.signed(in_toto, about(&other.digest));
    swapped["payload"] = STANDARD.encode(about(image)).into();
    stage.list(BUNDLE, &bundle(&swapped), subject);
    stage.rejects("no key that is trusted");
    let foreign = Envelope::sign(&key(2), "", in_toto, about(image)).to_json();
    stage.list(BUNDLE, &bundle(&foreign), subject);
    stage.rejects("no key that is trusted");
    stage.list(BUNDLE, &bundle(&stage.signed("text/plain", about(image))), subject);
    stage.rejects("in-toto");
    let mut twice = stage.signed(in_toto, about(image));
    twice["signatures"] = json!([twice["signatures"][0], twice["signatures"][0]]);
    stage.list(BUNDLE, &bundle(&twice), subject);
    stage.rejects("2 signatures");
    stage.list(BUNDLE, &bundle(&stage.signed(in_toto, b"{}".to_vec())), subject);
    stage.rejects("malformed");
    stage.list(BUNDLE, b"{\"mediaType\":", subject);
    stage.rejects("malformed");
    stage.list("text/html", b"<html>", subject);
    stage.rejects("text/html");
    stage.list(BUNDLE, &vec![b' '; (16 << 20) + 1], subject);
    stage.rejects("more than");
}

#[test]
fn lists_that_lie() {
    let stage = Stage::new();
    let signature = statement(&stage.image.digest, None, IMAGE_SIGNATURE, &json!({}));
    let bundle = bundle(&stage.signed("application/vnd.in-toto+json", signature));
    let other = push_image(&stage.client, &stage.at.with_tag("other"), "other");
    stage.list(BUNDLE, &bundle, Some(&other));
    stage.rejects(&other.digest.to_string());
    stage.list(BUNDLE, &bundle, None);
    stage.rejects("nothing");
    let tag = stage.at.with_tag(&fallback_tag(&stage.image.digest));
    stage
        .client
        .push_manifest(&tag, media_type::OCI_MANIFEST, &{
            let layer = push_blob(&stage.client, &stage.at, BUNDLE, &bundle);
            manifest(&stage.client, &stage.at, vec![layer], Some(stage.image.clone())).to_bytes()
        })
        .expect("pushed");
    stage.rejects("no list of referrers");
}

#[test]
fn an_attestation_alone_is_no_signature() {
    let stage = Stage::new();
    let attacher = Attacher::new(&stage.client, &stage.at);
    attacher.attest(&stage.image, (PROVENANCE, &json!({ "a": 1 })), Some(&stage.key)).expect("said");
    assert!(stage.found().verified.is_empty());
    let ask = |kind: &str| {
        let claim = Claim::Attestation(kind.to_owned());
        verify(&stage.client, &stage.at, &[stage.key.public()], &claim).expect("asked").verified
    };
    let said = ask(PROVENANCE);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].json().expect("JSON")["predicate"], json!({ "a": 1 }));
    assert!(ask(IMAGE_SIGNATURE).is_empty());
    attacher.attest(&stage.image, ("https://e.example/unsigned", &json!({})), None).expect("said");
    assert!(ask("https://e.example/unsigned").is_empty(), "nobody signed it");
}

/// The same signature in a tag, with one thing changed.
#[test]
fn signatures_in_a_tag_that_do_not_count() {
    let stage = Stage::new();
    let tag = format!("{}.sig", fallback_tag(&stage.image.digest));
    let at = stage.at.with_tag(&tag);
    let other = push_image(&stage.client, &stage.at.with_tag("other"), "other");
    let attacher = Attacher::new(&stage.client, &stage.at);
    attacher.sign(&other, &stage.key).expect("signed");
    let signed = document(&stage.client, &stage.at, &format!("{}.sig", fallback_tag(&other.digest))).expect("there");
    stage.client.push_manifest(&at, media_type::OCI_MANIFEST, signed.to_string().as_bytes()).expect("pushed");
    stage.rejects("is about another image");

    let payload = String::from_utf8(blob(&stage.client, &stage.at, &signed["layers"][0])).expect("text");
    let payload = payload.replace(&other.digest.to_string(), &stage.image.digest.to_string());
    let mut swapped = signed.clone();
    let kind = signed["layers"][0]["mediaType"].as_str().expect("text");
    let mut layer = json!(push_blob(&stage.client, &stage.at, kind, payload.as_bytes()));
    layer["annotations"] = signed["layers"][0]["annotations"].clone();
    swapped["layers"][0] = layer;
    stage.client.push_manifest(&at, media_type::OCI_MANIFEST, swapped.to_string().as_bytes()).expect("pushed");
    stage.rejects("no key that is trusted");

    swapped["layers"][0]["annotations"] = json!({});
    stage.client.push_manifest(&at, media_type::OCI_MANIFEST, swapped.to_string().as_bytes()).expect("pushed");
    stage.rejects("no signature is with it");
    swapped["layers"][0]["size"] = json!(1u64 << 40);
    stage.client.push_manifest(&at, media_type::OCI_MANIFEST, swapped.to_string().as_bytes()).ok();
    assert!(stage.found().verified.is_empty());
}
