//! Signatures and attestations against a real registry that knows no referrers, checked with openssl.

#![allow(clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod hostile;
mod observing;
mod sharing;
mod signing;
mod statements;

use std::io::{Cursor, Read};
use std::path::Path;

use serde_json::Value;
use support::{Registry, run};
use yadokari::digest::Digest;
use yadokari::image::{Descriptor, Manifest, Reference, media_type};
use yadokari::registry::{Client, ClientOptions, Credentials, Purpose};
use yadokari::signature::{KeyPair, RANDOM_BYTES, SigningKey};

/// Without retries, so that a fault is a fault.
fn client() -> Client {
    let options = ClientOptions { retries: 0, ..ClientOptions::default() };
    Client::new(options, Credentials::none()).expect("a client")
}

/// One that asks again: docker-registry answers 500 while another writes the same tag.
fn patient_client() -> Client {
    Client::new(ClientOptions { retries: 8, ..ClientOptions::default() }, Credentials::none()).expect("a client")
}

fn key(seed: u8) -> SigningKey {
    let pair = KeyPair::new(&[seed; RANDOM_BYTES], b"").expect("made").expect("a key");
    SigningKey::from_pem(&pair.private, b"").expect("opens")
}

fn repository(registry: &Registry, name: &str) -> Reference {
    format!("{}/{name}:1", registry.address).parse().expect("a reference")
}

fn push_blob(client: &Client, to: &Reference, media_type: &str, bytes: &[u8]) -> Descriptor {
    let (blob, bytes) = (Descriptor::of(media_type, bytes), bytes.to_vec());
    let open = || -> std::io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(bytes.clone()))) };
    client.push_blob(to, &blob, &open, &|_| ()).expect("pushed");
    blob
}

/// An artifact of any kind.
fn manifest(client: &Client, to: &Reference, layers: Vec<Descriptor>, subject: Option<Descriptor>) -> Manifest {
    Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.into()),
        artifact_type: Some(yadokari::attest::BUNDLE.into()),
        config: push_blob(client, to, media_type::OCI_EMPTY, b"{}"),
        layers,
        subject,
        annotations: Default::default(),
    }
}

/// Some image under the tag of `to`.
fn push_image(client: &Client, to: &Reference, content: &str) -> Descriptor {
    let layer = push_blob(client, to, media_type::OCI_LAYER, content.as_bytes());
    let bytes = manifest(client, to, vec![layer], None).to_bytes();
    client.push_manifest(to, media_type::OCI_MANIFEST, &bytes).expect("pushed");
    Descriptor::of(media_type::OCI_MANIFEST, &bytes)
}

fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// The JSON document under a tag.
fn document(client: &Client, at: &Reference, tag: &str) -> Option<Value> {
    let found = client.fetch_manifest(&at.with_tag(tag), Purpose::Push).expect("answers")?;
    Some(serde_json::from_slice(&found.bytes).expect("JSON"))
}

fn blob(client: &Client, at: &Reference, descriptor: &Value) -> Vec<u8> {
    let descriptor: Descriptor = serde_json::from_value(descriptor.clone()).expect("a descriptor");
    client.fetch_small_blob(at, &descriptor, Purpose::Push).expect("there")
}

/// `openssl` says whether `signature` (base64) of `message` is by the key in `public`.
fn openssl_verifies(directory: &Path, public: &str, message: &[u8], signature: &str) -> bool {
    let file = |name: &str| directory.join(name).display().to_string();
    std::fs::write(file("message"), message).expect("written");
    std::fs::write(file("base64"), signature).expect("written");
    run("openssl", &["base64", "-d", "-A", "-in", &file("base64"), "-out", &file("signature")]);
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-verify", public, "-signature", &file("signature"), &file("message")]);
    openssl.output().expect("openssl").status.success()
}
