//! Real clients, and clients that are sent to the store.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::registry::{Registry, noise, store};

fn skopeo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("skopeo").args(arguments).output().expect("skopeo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn skopeo_copies_in_and_out() {
    let data = Path::new("/clients/skopeo");
    let (one, other) = (Registry::start_in(data), Registry::start_in(data));
    let layer = noise(9_000_000);
    one.push_blob("source", &layer);
    one.push_blob("source", b"{}");
    assert_eq!(one.put_manifest("source", "v1", &crate::registry::image(&layer)).status, 201);
    let directory = tempfile::tempdir().expect("temporary directory");
    let layout = format!("oci:{}:v1", directory.path().join("layout").display());
    let at = |registry: &Registry, name: &str| format!("docker://{}/{name}:v1", registry.address());
    skopeo(&["copy", "--src-tls-verify=false", &at(&other, "source"), &layout]);
    skopeo(&["copy", "--dest-tls-verify=false", &layout, &at(&other, "target")]);
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &at(&one, "target")]);
    let manifest: Value = serde_json::from_slice(&raw).expect("JSON");
    let digest = manifest["layers"][0]["digest"].as_str().expect("a digest");
    assert!(one.get(&format!("/v2/target/blobs/{digest}")).body == layer);
}

#[test]
fn clients_are_sent_to_the_store_when_that_is_wished() {
    let registry = Registry::start_with(&["--redirect"]);
    let content = noise(7_000_000);
    let digest = registry.push_blob("a", &content);
    let path = format!("/v2/a/blobs/{digest}");
    let reply = registry.get(&path);
    assert_eq!(reply.status, 307, "{reply:?}");
    let (status, body) = store::request_bytes(store::signed_target(&reply.location()));
    assert_eq!(status, 200);
    assert!(body == content);
    assert_eq!(registry.head(&path).header("content-length"), Some("7000000"));
    registry.get(&format!("/v2/b/blobs/{digest}")).is_error(404, "BLOB_UNKNOWN");
}
