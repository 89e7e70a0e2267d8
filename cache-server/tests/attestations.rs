//! Signatures beside an image, on a server that keeps the list of referrers itself.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod registry;

use std::io::{Cursor, Read};

use registry::Registry;
use serde_json::json;
use yadokari::attest::{Attacher, BUNDLE, Claim, PROVENANCE, Way, verify};
use yadokari::image::{Descriptor, Manifest, Reference, media_type};
use yadokari::registry::{Client, ClientOptions, Credentials, Purpose};
use yadokari::signature::{KeyPair, RANDOM_BYTES, SigningKey};

fn key(seed: u8) -> SigningKey {
    let pair = KeyPair::new(&[seed; RANDOM_BYTES], b"").expect("made").expect("a key");
    SigningKey::from_pem(&pair.private, b"").expect("opens")
}

fn push_image(client: &Client, at: &Reference) -> Descriptor {
    let config = Descriptor::of(media_type::OCI_EMPTY, b"{}");
    let open = || -> std::io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(b"{}"))) };
    client.push_blob(at, &config, &open, &|_| ()).expect("pushed");
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.into()),
        artifact_type: Some("application/x-image".into()),
        config,
        layers: Vec::new(),
        subject: None,
        annotations: Default::default(),
    };
    let bytes = manifest.to_bytes();
    client.push_manifest(at, media_type::OCI_MANIFEST, &bytes).expect("pushed");
    Descriptor::of(media_type::OCI_MANIFEST, &bytes)
}

#[test]
fn signatures_are_found_by_the_list_of_the_server() {
    let registry = Registry::start();
    let client = Client::new(ClientOptions::default(), Credentials::none()).expect("a client");
    let at: Reference = format!("{}/app:1", registry.address()).parse().expect("a reference");
    let image = push_image(&client, &at);
    let (ours, others) = (key(1), key(2));
    let attacher = Attacher::new(&client, &at);
    attacher.sign(&image, &ours).expect("signed");
    attacher.sign(&image, &others).expect("signed");
    attacher.attest(&image, (PROVENANCE, &json!({ "a": 1 })), Some(&ours)).expect("said");

    let listed = client.referrers(&at, &image.digest, Some(BUNDLE)).expect("asked").expect("a list");
    assert_eq!(listed.len(), 3);
    let tag = at.with_tag(&format!("sha256-{}", image.digest.hex()));
    assert!(client.head_manifest(&tag, Purpose::Push).expect("asked").is_none(), "no tag where there is a list");

    let found = verify(&client, &at, &[others.public()], &Claim::Signature).expect("asked");
    assert!(
        matches!(&found.verified[..], [bundle, tag] if matches!(bundle.way, Way::Bundle(_)) && matches!(tag.way, Way::Tag(_)))
    );
    let claim = Claim::Attestation(PROVENANCE.to_owned());
    let found = verify(&client, &at, &[others.public(), ours.public()], &claim).expect("asked");
    assert_eq!(found.verified.len(), 1, "{found:?}");
    assert_eq!(found.verified[0].key, ours.public().id());
}
