//! The executor signs what it pushes, and verifies it.

use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;
use yadokari::image::Reference;
use yadokari::registry::{Client, Purpose};

use super::support::{Registry, assert_success, context, executor, run, text};
use super::{blob, client, document, fallback_tag, openssl_verifies, repository};

const DOCKERFILE: &str = "FROM scratch\nCOPY a /\n";

struct Signed {
    _registry: Registry,
    context: TempDir,
    client: Client,
    at: Reference,
}

impl Signed {
    fn new(more: &[&str]) -> Self {
        let registry = Registry::start();
        let context = context(DOCKERFILE, &[("a", "a")]);
        for prefix in ["ours", "others"] {
            let mut command = executor();
            command.args(["generate-key-pair", "--output-key-prefix"]).arg(context.path().join(prefix));
            assert_success(&command.env("COSIGN_PASSWORD", "secret").output().expect("runs"));
        }
        let (client, at) = (client(), repository(&registry, "app"));
        let signed = Self { _registry: registry, context, client, at };
        assert_success(&signed.build(more));
        signed
    }

    fn file(&self, name: &str) -> String {
        self.context.path().join(name).display().to_string()
    }

    fn build(&self, more: &[&str]) -> Output {
        let mut command = executor();
        command.arg("-c").arg(self.context.path()).args(["-d", &self.at.to_string()]).args(more);
        command.env("YADOKARI_SIGN_KEY", self.file("ours.key")).env("COSIGN_PASSWORD", "secret");
        command.output().expect("runs")
    }

    fn verify(&self, image: &str, key: &str, more: &[&str]) -> Output {
        executor().args(["verify", image, "--key", &self.file(key)]).args(more).output().expect("runs")
    }

    /// Of what has the name.
    fn digest(&self) -> yadokari::digest::Digest {
        self.client.head_manifest(&self.at, Purpose::Push).expect("asked").expect("there").digest
    }
}

#[test]
fn what_is_pushed_is_signed_and_verified() {
    let signed = Signed::new(&[]);
    let digest = signed.digest();
    let output = signed.verify(&signed.at.to_string(), "ours.pub", &[]);
    assert_success(&output);
    let printed = text(&output);
    assert!(printed.starts_with(&format!("{}@{digest}\n", signed.at)), "{printed}");
    assert_eq!(printed.matches("signed by").count(), 2, "{printed}");
    let output = signed.verify(&signed.at.with_digest(digest.clone()).to_string(), "ours.pub", &["--output=json"]);
    assert_success(&output);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["digest"], digest.to_string());
    assert_eq!(json["verified"][1]["payload"]["critical"]["image"]["docker-manifest-digest"], digest.to_string());
    // Another key, no key file, no such image.
    let output = signed.verify(&signed.at.to_string(), "others.pub", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("has no signature by a key that was given\n  sha256:"), "{}", text(&output));
    assert_eq!(signed.verify(&signed.at.to_string(), "ours.key", &[]).status.code(), Some(2));
    assert_eq!(signed.verify(&signed.at.with_tag("none").to_string(), "ours.pub", &[]).status.code(), Some(1));
    let nothing = signed.verify(&signed.at.to_string(), "ours.pub", &["--attestation=spdx"]);
    assert!(text(&nothing).contains("has no attestation"), "{}", text(&nothing));
}

/// The documents have cosign's form, and openssl agrees about what is signed in them.
#[test]
fn openssl_agrees_with_the_bundle_and_the_tag() {
    let signed = Signed::new(&[]);
    let (client, at, digest) = (&signed.client, &signed.at, signed.digest());
    let public = signed.file("ours.pub");
    let list = document(client, at, &fallback_tag(&digest)).expect("the list of referrers");
    let entry = &list["manifests"][0];
    assert_eq!(entry["artifactType"], "application/vnd.dev.sigstore.bundle.v0.3+json");
    assert_eq!(entry["annotations"]["dev.sigstore.bundle.predicateType"], "https://sigstore.dev/cosign/sign/v1");
    let manifest: Reference =
        format!("{}@{}", at.name(), entry["digest"].as_str().expect("text")).parse().expect("name");
    let manifest = client.fetch_manifest(&manifest, Purpose::Push).expect("asked").expect("there");
    let manifest: Value = serde_json::from_slice(&manifest.bytes).expect("JSON");
    assert_eq!(manifest["subject"]["digest"], digest.to_string());
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    let bundle: Value = serde_json::from_slice(&blob(client, at, &manifest["layers"][0])).expect("JSON");
    let envelope = &bundle["dsseEnvelope"];
    let fingerprint = run(
        "sh",
        &["-c", &format!("openssl pkey -pubin -in {public} -outform der | openssl dgst -sha256 -binary | base64")],
    );
    assert_eq!(bundle["verificationMaterial"]["publicKey"]["hint"], fingerprint.trim());
    assert_eq!(envelope["signatures"][0]["keyid"], fingerprint.trim());
    let payload = run("sh", &["-c", &format!("echo {} | base64 -d", envelope["payload"].as_str().expect("text"))]);
    let statement: Value = serde_json::from_str(&payload).expect("JSON");
    assert_eq!(statement["subject"], json!([{ "digest": { "sha256": digest.hex() } }]));
    let encoded = format!("DSSEv1 28 application/vnd.in-toto+json {} {payload}", payload.len());
    let signature = envelope["signatures"][0]["sig"].as_str().expect("text");
    assert!(openssl_verifies(signed.context.path(), &public, encoded.as_bytes(), signature));
    assert!(!openssl_verifies(signed.context.path(), &public, payload.as_bytes(), signature));

    let signatures = document(client, at, &format!("{}.sig", fallback_tag(&digest))).expect("the tag");
    let layer = &signatures["layers"][0];
    let payload = blob(client, at, layer);
    let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().expect("text");
    assert!(openssl_verifies(signed.context.path(), &public, &payload, signature));
    assert!(!openssl_verifies(signed.context.path(), &signed.file("others.pub"), &payload, signature));
    let payload: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!(payload["critical"]["identity"]["docker-reference"], at.name());
    assert_eq!(payload["critical"]["image"]["docker-manifest-digest"], digest.to_string());
}

#[test]
fn an_index_and_each_of_its_images_are_signed() {
    let signed = Signed::new(&["--platform=linux/amd64,linux/arm64"]);
    let index = document(&signed.client, &signed.at, "1").expect("the index");
    let images = index["manifests"].as_array().expect("a list");
    assert_eq!(images.len(), 2);
    assert_success(&signed.verify(&signed.at.to_string(), "ours.pub", &[]));
    for image in images {
        let name = format!("{}@{}", signed.at.name(), image["digest"].as_str().expect("text"));
        assert_success(&signed.verify(&name, "ours.pub", &[]));
    }
}

#[test]
fn an_image_that_is_there_already_is_signed_by_the_next_build() {
    let signed = Signed::new(&["--sign-key=", "--reproducible"]);
    let output = signed.verify(&signed.at.to_string(), "ours.pub", &[]);
    assert!(text(&output).contains("nothing of the kind is beside it"), "{}", text(&output));
    let digest = signed.digest();
    assert_success(&signed.build(&["--reproducible"]));
    assert_eq!(signed.digest(), digest);
    assert_success(&signed.verify(&signed.at.to_string(), "ours.pub", &[]));
}

#[test]
fn a_wrong_password_ends_the_build_before_it_began() {
    let signed = Signed::new(&["--sign-key="]);
    let mut command = executor();
    command.arg("-c").arg(signed.context.path()).args(["-d", &signed.at.with_tag("2").to_string()]);
    command.arg(format!("--sign-key={}", signed.file("ours.key"))).env("COSIGN_PASSWORD", "wrong");
    let output = command.output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let printed = text(&output);
    assert!(printed.contains("password does not open it") && !printed.contains("wrong"), "{printed}");
    assert!(document(&signed.client, &signed.at, "2").is_none());
}

#[test]
fn what_is_there_already_is_signed_by_a_push() {
    let signed = Signed::new(&[]);
    let layout = format!("--oci-layout-path={}", signed.file("layout"));
    assert_success(&signed.build(&["--platform=linux/amd64,linux/arm64", "--no-push", &layout]));
    let push = |name: &str, key: &str| {
        let mut command = executor();
        command.arg("push").arg(signed.file("layout")).args(["-d", name]);
        command.env("YADOKARI_SIGN_KEY", key).env("COSIGN_PASSWORD", "secret").output().expect("runs")
    };
    let name = signed.at.with_tag("pushed").to_string();
    // Unsigned first: the name is there, the signature is added later.
    assert_success(&push(&name, ""));
    assert!(!signed.verify(&name, "ours.pub", &[]).status.success());
    for _ in 0..2 {
        assert_success(&push(&name, &signed.file("ours.key")));
        let output = signed.verify(&name, "ours.pub", &[]);
        assert_success(&output);
        assert_eq!(text(&output).matches("signed by").count(), 2, "{}", text(&output));
    }
    assert!(!signed.verify(&name, "others.pub", &[]).status.success());
    // Each image of the index, too, under another name that is signed from the beginning.
    let index = document(&signed.client, &signed.at, "pushed").expect("there");
    let images: Vec<&str> =
        index["manifests"].as_array().expect("list").iter().filter_map(|image| image["digest"].as_str()).collect();
    assert_eq!(images.len(), 2);
    let other = signed.at.with_tag("other");
    assert_success(&push(&other.to_string(), &signed.file("ours.key")));
    for image in images.into_iter().map(|digest| digest.parse().expect("a digest")) {
        assert_success(&signed.verify(&signed.at.with_digest(image).to_string(), "ours.pub", &[]));
    }
    let wrong = push(&name, &signed.file("gone.key"));
    assert!(!wrong.status.success() && text(&wrong).contains("gone.key"), "{}", text(&wrong));
}
