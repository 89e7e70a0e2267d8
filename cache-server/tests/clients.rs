//! Real clients push and pull.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod registry;

#[path = "clients/flows.rs"]
mod flows;

use std::path::Path;
use std::process::Command;

use registry::{Registry, descriptor, digest_of, noise};
use serde_json::{Value, json};
use yadokari::digest::Digest;
use yadokari::image::media_type;

fn write_blob(layout: &Path, content: &[u8]) {
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("made");
    std::fs::write(blobs.join(Digest::sha256(content).hex()), content).expect("written");
}

/// A tar with one file.
fn layer() -> Vec<u8> {
    let directory = tempfile::tempdir().expect("temporary directory");
    std::fs::write(directory.path().join("file"), noise(2_000_000)).expect("written");
    let mut tar = Command::new("tar");
    tar.args(["-cf", "-", "file"]).current_dir(directory.path());
    tar.output().expect("tar runs").stdout
}

/// An OCI image layout with one image, unlike that of any other place; returns the image's manifest.
pub(crate) fn write_layout(layout: &Path) -> Value {
    let layer = layer();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "author": layout,
        "rootfs": { "type": "layers", "diff_ids": [Digest::sha256(&layer)] },
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(media_type::OCI_CONFIG, &config),
        "layers": [descriptor(media_type::OCI_LAYER, &layer)],
    });
    let bytes = manifest.to_string().into_bytes();
    for content in [&layer, &config, &bytes] {
        write_blob(layout, content);
    }
    let mut entry = descriptor(media_type::OCI_MANIFEST, &bytes);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "v1" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    std::fs::write(layout.join("index.json"), index.to_string()).expect("written");
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
    manifest
}

#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the client is installed");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn skopeo_pushes_copies_pulls_lists_and_deletes() {
    let (registry, directory) = (Registry::start(), tempfile::tempdir().expect("temporary directory"));
    let manifest = write_layout(directory.path());
    let source = format!("oci:{}:v1", directory.path().display());
    let remote = |name: &str| format!("docker://{}/{name}", registry.address());
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let copy = |from: &str, to: &str| run("skopeo", &["copy", plain[0], plain[1], "--preserve-digests", from, to]);
    copy(&source, &remote("team/app:v1"));
    copy(&remote("team/app:v1"), &remote("other:v2"));
    let target = tempfile::tempdir().expect("temporary directory");
    copy(&remote("other:v2"), &format!("oci:{}:v1", target.path().display()));
    let pulled = target.path().join("blobs/sha256").join(digest_of(&manifest).hex());
    assert_eq!(std::fs::read(pulled).expect("pulled"), manifest.to_string().as_bytes());
    let tags = run("skopeo", &["list-tags", "--tls-verify=false", &remote("other")]);
    assert_eq!(serde_json::from_str::<Value>(&tags).expect("JSON")["Tags"], json!(["v2"]));
    run("skopeo", &["delete", "--tls-verify=false", &remote("other:v2")]);
    assert_eq!(registry.head("/v2/other/manifests/v2").status, 404);
    assert_eq!(registry.head("/v2/team/app/manifests/v1").status, 200);
}

#[test]
fn podman_pulls_and_pushes() {
    let (registry, directory) = (Registry::start(), tempfile::tempdir().expect("temporary directory"));
    write_layout(directory.path());
    let source = format!("oci:{}:v1", directory.path().display());
    let name = format!("{}/app:v1", registry.address());
    run("skopeo", &["copy", "--dest-tls-verify=false", &source, &format!("docker://{name}")]);
    let storage = tempfile::tempdir().expect("temporary directory");
    let (root, state) = (storage.path().join("root"), storage.path().join("run"));
    let podman = |arguments: &[&str]| {
        let mut all = vec!["--root", root.to_str().expect("UTF-8"), "--runroot", state.to_str().expect("UTF-8")];
        all.extend(["--storage-driver", "vfs"]);
        all.extend(arguments);
        run("podman", &all)
    };
    podman(&["pull", "--tls-verify=false", &name]);
    let copy = format!("{}/copy:v2", registry.address());
    podman(&["push", "--tls-verify=false", &name, &copy]);
    assert_eq!(registry.head("/v2/copy/manifests/v2").status, 200);
}
