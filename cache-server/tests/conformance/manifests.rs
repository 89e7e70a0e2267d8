use serde_json::{Value, json};
use yadokari::digest::Digest;
use yadokari::image::media_type;

use crate::registry::{Registry, descriptor, digest_of, image, noise, sha512};

fn index(children: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": children })
}

fn child(manifest: &Value) -> Value {
    descriptor(media_type::OCI_MANIFEST, manifest.to_string().as_bytes())
}

#[track_caller]
fn assert_served(registry: &Registry, target: &str, manifest: &Value, digest: &Digest) {
    let (head, get) = (registry.head(target), registry.get(target));
    assert_eq!((head.status, get.status), (200, 200), "{target}");
    let bytes = manifest.to_string().into_bytes();
    for reply in [&head, &get] {
        assert_eq!(reply.header("content-type"), manifest["mediaType"].as_str());
        assert_eq!(reply.header("content-length"), Some(bytes.len().to_string().as_str()));
        assert_eq!(reply.header("docker-content-digest"), Some(digest.to_string().as_str()));
        assert_eq!(reply.header("etag"), Some(format!("\"{digest}\"").as_str()));
    }
    assert_eq!(get.body, bytes);
}

#[test]
fn manifests_are_served_as_pushed_by_tag_and_digest() {
    let registry = Registry::start();
    let manifest = registry.push_parts("a/b", "image");
    let digest = digest_of(&manifest);
    let reply = registry.put_manifest("a/b", "v1", &manifest);
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.header("docker-content-digest"), Some(digest.to_string().as_str()));
    assert_eq!(reply.location(), format!("/v2/a/b/manifests/{digest}"));
    assert_served(&registry, "/v2/a/b/manifests/v1", &manifest, &digest);
    assert_served(&registry, &format!("/v2/a/b/manifests/{digest}"), &manifest, &digest);
    let tag = format!("\"{digest}\"");
    let reply = registry.send("GET", "/v2/a/b/manifests/v1", &[("If-None-Match", &tag)], b"");
    assert_eq!((reply.status, reply.body.len()), (304, 0));
}

#[test]
fn a_tag_moves() {
    let registry = Registry::start();
    let first = registry.push_image("a", "v1");
    let other = registry.push_parts("a", "other");
    assert_eq!(registry.put_manifest("a", "v1", &other).status, 201);
    assert_served(&registry, "/v2/a/manifests/v1", &other, &digest_of(&other));
    assert_eq!(registry.head(&format!("/v2/a/manifests/{first}")).status, 200, "the old one stays by digest");
}

#[test]
fn a_manifest_needs_its_blobs_in_the_same_repository() {
    let registry = Registry::start();
    let manifest = registry.push_parts("a", "image");
    let reply = registry.put_manifest("b", "v1", &manifest);
    reply.is_error(400, "MANIFEST_BLOB_UNKNOWN");
    let errors = reply.json()["errors"].as_array().expect("a list").clone();
    let mut named: Vec<&str> = errors.iter().filter_map(|e| e["detail"]["digest"].as_str()).collect();
    let mut expected = [&manifest["config"], &manifest["layers"][0]].map(|d| d["digest"].as_str().expect("text"));
    named.sort_unstable();
    expected.sort_unstable();
    assert_eq!(named, expected);
    assert_eq!(registry.head("/v2/b/manifests/v1").status, 404);
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let mut with_foreign = manifest;
    with_foreign["layers"][0] = descriptor(foreign, b"elsewhere");
    assert_eq!(registry.put_manifest("a", "foreign", &with_foreign).status, 201);
}

#[test]
fn an_index_needs_its_children() {
    let registry = Registry::start();
    let manifest = registry.push_parts("a", "image");
    let top = index(&[child(&manifest)]);
    registry.put_manifest("a", "top", &top).is_error(400, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(registry.put_manifest("a", &digest_of(&manifest).to_string(), &manifest).status, 201);
    assert_eq!(registry.put_manifest("a", "top", &top).status, 201);
    let nested = index(&[descriptor(media_type::OCI_INDEX, top.to_string().as_bytes())]);
    assert_eq!(registry.put_manifest("a", "nested", &nested).status, 201);
    assert_eq!(registry.put_manifest("a", "empty", &index(&[])).status, 201);
    // BuildKit's cache index lists blobs.
    let cache = index(&[descriptor(media_type::OCI_LAYER_GZIP, b"layer of image")]);
    assert_eq!(registry.put_manifest("a", "cache", &cache).status, 201);
}

#[test]
fn docker_types_and_content_type_parameters_are_taken() {
    let registry = Registry::start();
    let mut manifest = registry.push_parts("a", "image");
    manifest["mediaType"] = json!(media_type::DOCKER_MANIFEST);
    assert_eq!(registry.put_manifest("a", "docker", &manifest).status, 201);
    assert_served(&registry, "/v2/a/manifests/docker", &manifest, &digest_of(&manifest));
    let content_type = format!("{}; charset=utf-8", media_type::DOCKER_MANIFEST);
    let headers = [("Content-Type", content_type.as_str())];
    let reply = registry.send("PUT", "/v2/a/manifests/p", &headers, manifest.to_string().as_bytes());
    assert_eq!(reply.status, 201);
    assert_eq!(registry.head("/v2/a/manifests/p").header("content-type"), Some(media_type::DOCKER_MANIFEST));
}

#[test]
fn bad_manifests_are_refused() {
    let registry = Registry::start();
    let manifest = registry.push_parts("a", "image");
    let put = |content_type: &str, body: &str| {
        registry.send("PUT", "/v2/a/manifests/v1", &[("Content-Type", content_type)], body.as_bytes())
    };
    let mut both = manifest.clone();
    both["manifests"] = json!([]);
    for (content_type, body) in [
        (media_type::OCI_MANIFEST, String::new()),
        (media_type::OCI_MANIFEST, "{".into()),
        (media_type::OCI_MANIFEST, "[]".into()),
        (media_type::OCI_MANIFEST, "[".repeat(100_000)),
        (media_type::OCI_MANIFEST, both.to_string()),
        (media_type::OCI_INDEX, manifest.to_string()),
        (media_type::DOCKER_MANIFEST, manifest.to_string()),
        ("application/json", r#"{"schemaVersion":2}"#.into()),
    ] {
        put(content_type, &body).is_error(400, "MANIFEST_INVALID");
    }
    let wrong = format!("/v2/a/manifests/{}", Digest::sha256(b"other"));
    let headers = [("Content-Type", media_type::OCI_MANIFEST)];
    registry.send("PUT", &wrong, &headers, manifest.to_string().as_bytes()).is_error(400, "DIGEST_INVALID");
    registry.put_manifest("a", "sha256:baddigeststring", &manifest).is_error(400, "DIGEST_INVALID");
    registry.put_manifest("a", ".tag", &manifest).is_error(400, "TAG_INVALID");
    assert_eq!(registry.get("/v2/a/tags/list").json()["tags"], json!([]));
}

#[test]
fn manifests_of_up_to_4_mib_are_taken_and_larger_ones_refused() {
    const LIMIT: usize = 4 << 20;
    let registry = Registry::start();
    let mut manifest = registry.push_parts("a", "image");
    manifest["annotations"] = json!({ "padding": "" });
    let padding = |manifest: &mut Value, size: usize| {
        manifest["annotations"]["padding"] = json!("");
        manifest["annotations"]["padding"] = json!("A".repeat(size - manifest.to_string().len()));
        assert_eq!(manifest.to_string().len(), size);
    };
    padding(&mut manifest, LIMIT);
    assert_eq!(registry.put_manifest("a", "large", &manifest).status, 201);
    assert_served(&registry, "/v2/a/manifests/large", &manifest, &digest_of(&manifest));
    for size in [LIMIT + 1, 3 * LIMIT] {
        padding(&mut manifest, size);
        registry.put_manifest("a", "huge", &manifest).is_error(413, "SIZE_INVALID");
        assert_eq!(registry.head("/v2/a/manifests/huge").status, 404);
    }
}

#[test]
fn absent_manifests_are_unknown() {
    let registry = Registry::start();
    let digest = Digest::sha256(b"absent");
    for reference in ["missing", ".INVALID_MANIFEST_NAME", &digest.to_string()] {
        let target = format!("/v2/a/manifests/{reference}");
        registry.get(&target).is_error(404, "MANIFEST_UNKNOWN");
        assert_eq!(registry.head(&target).status, 404);
        registry.delete(&target).is_error(404, "MANIFEST_UNKNOWN");
    }
    registry.get("/v2/a/manifests/sha256:baddigeststring").is_error(400, "DIGEST_INVALID");
}

#[test]
fn deleting_a_tag_leaves_the_manifest() {
    let registry = Registry::start();
    let digest = registry.push_image("a", "v1");
    assert_eq!(registry.delete("/v2/a/manifests/v1").status, 202);
    assert_eq!(registry.head("/v2/a/manifests/v1").status, 404);
    assert_eq!(registry.head(&format!("/v2/a/manifests/{digest}")).status, 200);
    assert_eq!(registry.delete("/v2/a/manifests/v1").status, 404);
}

#[test]
fn deleting_a_manifest_takes_its_tags_and_no_others() {
    let registry = Registry::start();
    let manifest = registry.push_parts("a", "image");
    for tag in ["one", "two"] {
        assert_eq!(registry.put_manifest("a", tag, &manifest).status, 201);
    }
    registry.push_image("a", "other");
    let target = format!("/v2/a/manifests/{}", digest_of(&manifest));
    assert_eq!(registry.delete(&target).status, 202);
    for gone in [&target, "/v2/a/manifests/one", "/v2/a/manifests/two"] {
        assert_eq!(registry.head(gone).status, 404, "{gone}");
    }
    assert_eq!(registry.get("/v2/a/tags/list").json()["tags"], json!(["other"]));
    assert_eq!(registry.delete(&target).status, 404);
}

#[test]
fn a_put_by_digest_sets_tags() {
    let registry = Registry::start();
    let manifest = registry.push_parts("a", "image");
    let bytes = manifest.to_string();
    for digest in [digest_of(&manifest), sha512(bytes.as_bytes())] {
        let tags: Vec<String> = (0..12).map(|i| format!("v{i}")).collect();
        let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let reply = registry.put_manifest("a", &format!("{digest}?{}", query.join("&")), &manifest);
        assert_eq!(reply.status, 201, "{reply:?}");
        let echoed = reply.headers.iter().filter(|(name, _)| name == "oci-tag").map(|(_, tag)| tag.clone());
        assert_eq!(echoed.collect::<Vec<_>>(), tags);
        assert_served(&registry, "/v2/a/manifests/v7", &manifest, &digest);
    }
    let many: Vec<String> = (0..101).map(|i| format!("tag=v{i}")).collect();
    let target = format!("{}?{}", digest_of(&manifest), many.join("&"));
    registry.put_manifest("a", &target, &manifest).is_error(414, "TAG_INVALID");
    let bad = format!("{}?tag=..", digest_of(&manifest));
    registry.put_manifest("a", &bad, &manifest).is_error(400, "TAG_INVALID");
}

#[test]
fn a_manifest_is_no_blob_and_a_blob_no_manifest() {
    let registry = Registry::start();
    let digest = registry.push_image("a", "v1");
    assert_eq!(registry.head(&format!("/v2/a/blobs/{digest}")).status, 404);
    let manifest = image(&noise(10)).to_string();
    let blob = registry.push_blob("a", manifest.as_bytes());
    assert_eq!(registry.head(&format!("/v2/a/manifests/{blob}")).status, 404);
}
