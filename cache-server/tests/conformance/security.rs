use std::io::{BufReader, Write};

use yadokari::digest::Digest;

use crate::registry::store::is_redirected;
use crate::registry::{Registry, Reply};

#[test]
fn names_cannot_leave_their_place() {
    let registry = Registry::start();
    registry.push_image("a", "v1");
    for target in [
        "/v2/../../etc/manifests/v1",
        "/v2/%2e%2e/%2e%2e/manifests/v1",
        "/v2/a%2f..%2fa/manifests/v1",
        "/v2/%252e%252e/manifests/v1",
        "/v2/a%5c..%5ca/manifests/v1",
        "/v2/a%00/manifests/v1",
        "/v2/_uploads/manifests/v1",
        "/v2/a/_tags/manifests/v1",
        "/v2/A/manifests/v1",
        "/v2//manifests/v1",
    ] {
        registry.get(target).is_error(400, "NAME_INVALID");
    }
    for reference in ["..", "%2e%2e%2fv1", "v1%00", "%2fetc%2fpasswd"] {
        registry.get(&format!("/v2/a/manifests/{reference}")).is_error(404, "MANIFEST_UNKNOWN");
    }
    for digest in ["sha256:..%2f..%2flock", "..", &format!("sha256:{}", "A".repeat(64))] {
        registry.get(&format!("/v2/a/blobs/{digest}")).is_error(400, "DIGEST_INVALID");
    }
    for id in ["..", "..%2f..", "%2e%2e", "x%00"] {
        registry.delete(&format!("/v2/a/blobs/uploads/{id}")).is_error(404, "BLOB_UPLOAD_UNKNOWN");
    }
    let encoded = format!("/v2/a/manifests/{}", registry.push_image("a", "v2").to_string().replace(':', "%3A"));
    assert_eq!(registry.get(&encoded).status, 200);
}

#[test]
fn knowing_a_digest_is_not_having_the_blob() {
    let registry = Registry::start();
    let digest = registry.push_blob("a", b"secret");
    for method in ["GET", "HEAD", "DELETE"] {
        assert_eq!(registry.send(method, &format!("/v2/b/blobs/{digest}"), &[], b"").status, 404, "{method}");
    }
    registry.post(&format!("/v2/b/blobs/uploads/?digest={digest}")).is_error(400, "DIGEST_INVALID");
    assert_eq!(registry.head(&format!("/v2/b/blobs/{digest}")).status, 404);
}

#[test]
fn mounts_name_digests_and_repositories() {
    let registry = Registry::start();
    let digest = Digest::sha256(b"secret");
    for bad in ["x", "sha256:..%2f..%2flock", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        registry.post(&format!("/v2/b/blobs/uploads/?mount={bad}")).is_error(400, "DIGEST_INVALID");
    }
    for bad in ["..", "..%2fa", "A", "a%00", "%2fetc", "_uploads"] {
        registry.post(&format!("/v2/b/blobs/uploads/?mount={digest}&from={bad}")).is_error(400, "NAME_INVALID");
    }
}

#[test]
fn a_session_belongs_to_its_repository() {
    let registry = Registry::start();
    let elsewhere = registry.open_session("a").replace("/v2/a/", "/v2/b/");
    registry.get(&elsewhere).is_error(404, "BLOB_UPLOAD_UNKNOWN");
    registry.send("PATCH", &elsewhere, &[], b"x").is_error(404, "BLOB_UPLOAD_UNKNOWN");
    let put = format!("{elsewhere}?digest={}", Digest::sha256(b"x"));
    registry.send("PUT", &put, &[], b"x").is_error(404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn other_paths_and_methods_are_refused() {
    let registry = Registry::start();
    for target in ["/v1/", "/v2/a", "/v2/a/tags"] {
        assert_eq!(registry.get(target).status, 404, "{target}");
    }
    for (method, target, allowed) in [
        ("POST", "/v2/", "GET, HEAD"),
        ("PUT", "/v2/a/tags/list", "GET, HEAD"),
        ("GET", "/v2/a/blobs/uploads/", "POST"),
        ("POST", "/v2/a/manifests/v1", "GET, HEAD, PUT, DELETE"),
    ] {
        let reply = registry.send(method, target, &[], b"");
        reply.is_error(405, "UNSUPPORTED");
        assert_eq!(reply.header("allow"), Some(allowed), "{method} {target}");
    }
}

#[test]
fn one_connection_carries_many_requests() {
    let registry = Registry::start();
    let digest = registry.push_blob("a", b"content");
    let mut stream = BufReader::new(registry.connect());
    for _ in 0..3 {
        let head = format!("HEAD /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.get_mut().write_all(head.as_bytes()).expect("sent");
        assert_eq!(Reply::read(&mut stream, true).header("content-length"), Some("7"));
        let get = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.get_mut().write_all(get.as_bytes()).expect("sent");
        let expected = if is_redirected() { &b""[..] } else { b"content" };
        assert_eq!(Reply::read(&mut stream, false).body, expected);
    }
}
