use crate::registry::store::{in_bucket, is_redirected};
use crate::registry::{Registry, noise, sha512};
use yadokari::digest::Digest;

#[test]
fn the_probe_answers() {
    let registry = Registry::start();
    for target in ["/v2", "/v2/"] {
        let reply = registry.get(target);
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("docker-distribution-api-version"), Some("registry/2.0"));
        assert_eq!(registry.head(target).status, 200);
    }
}

#[test]
fn absent_blobs_are_unknown() {
    let registry = Registry::start();
    let digest = Digest::sha256(b"absent");
    registry.get(&format!("/v2/a/blobs/{digest}")).is_error(404, "BLOB_UNKNOWN");
    assert_eq!(registry.head(&format!("/v2/a/blobs/{digest}")).status, 404);
    registry.delete(&format!("/v2/a/blobs/{digest}")).is_error(404, "BLOB_UNKNOWN");
}

#[test]
fn head_and_get_agree() {
    let registry = Registry::start();
    for content in [&b""[..], b"{}", &noise(64 << 10), &noise((64 << 10) + 1), &noise(3_000_000)] {
        let digest = registry.push_blob("a/b", content);
        let target = format!("/v2/a/b/blobs/{digest}");
        let (head, get) = (registry.head(&target), registry.get(&target));
        assert_eq!((head.status, get.status), (200, 200));
        for reply in [&head, &get] {
            assert_eq!(reply.header("content-length"), Some(content.len().to_string().as_str()));
            assert_eq!(reply.header("docker-content-digest"), Some(digest.to_string().as_str()));
            // A store has entity tags of its own.
            if !is_redirected() || std::ptr::eq(reply, &head) {
                assert_eq!(reply.header("etag"), Some(format!("\"{digest}\"").as_str()));
            }
            assert_eq!(reply.header("accept-ranges"), Some("bytes"));
        }
        assert!(get.body == content, "{} bytes differ", content.len());
    }
}

#[test]
fn ranges() {
    let registry = Registry::start();
    // One below and one above the size that is answered in one piece.
    for size in [2048, 1 << 20] {
        let content = noise(size);
        let target = format!("/v2/a/blobs/{}", registry.push_blob("a", &content));
        for (range, first, last) in [
            ("bytes=500-1499", 500, 1499),
            ("bytes=500-", 500, size - 1),
            ("bytes=-500", size - 500, size - 1),
            (&format!("bytes={}-{}", size - 48, size * 2), size - 48, size - 1),
            ("bytes=0-0", 0, 0),
        ] {
            let reply = registry.send("GET", &target, &[("Range", range)], b"");
            assert_eq!(reply.status, 206, "{range}");
            let expected = format!("bytes {first}-{last}/{size}");
            assert_eq!(reply.header("content-range"), Some(expected.as_str()), "{range}");
            assert!(reply.body == content[first..=last], "{range}");
        }
        for range in ["bytes=500-0", "bytes=2000000-", "bytes=2000000-3000000"] {
            let reply = registry.send("GET", &target, &[("Range", range)], b"");
            reply.is_error(416, "RANGE_INVALID");
            assert_eq!(reply.header("content-range"), Some(format!("bytes */{size}").as_str()));
        }
        let several = registry.send("GET", &target, &[("Range", "bytes=0-1,5-6")], b"");
        assert!(several.status == 200 && several.body == content);
    }
}

#[test]
fn conditions() {
    let registry = Registry::start();
    let digest = registry.push_blob("a", b"content");
    let (target, tag) = (format!("/v2/a/blobs/{digest}"), format!("\"{digest}\""));
    for method in ["GET", "HEAD"] {
        let reply = registry.send(method, &target, &[("If-None-Match", &tag)], b"");
        assert_eq!((reply.status, reply.body.len()), (304, 0), "{method}");
        assert_eq!(reply.header("etag"), Some(tag.as_str()));
        let reply = registry.send(method, &target, &[("If-None-Match", "\"other\"")], b"");
        assert_eq!(reply.status, 200, "{method}");
    }
    let part = |tag: &str| registry.send("GET", &target, &[("Range", "bytes=0-1"), ("If-Range", tag)], b"");
    assert_eq!(part(&tag).body, b"co");
    assert_eq!(part("\"other\"").body, b"content");
    // Who lacks the blob learns so, whatever it claims to have.
    let absent = format!("/v2/b/blobs/{digest}");
    assert_eq!(registry.send("GET", &absent, &[("If-None-Match", &tag)], b"").status, 404);
}

#[test]
fn deleted_blobs_are_gone_at_once_and_from_one_repository_only() {
    let registry = Registry::start();
    let digest = registry.push_blob("a", b"content");
    registry.push_blob("b", b"content");
    assert_eq!(registry.delete(&format!("/v2/a/blobs/{digest}")).status, 202);
    assert_eq!(registry.head(&format!("/v2/a/blobs/{digest}")).status, 404);
    assert_eq!(registry.delete(&format!("/v2/a/blobs/{digest}")).status, 404);
    assert_eq!(registry.get(&format!("/v2/b/blobs/{digest}")).body, b"content");
    assert_eq!(registry.push_blob("a", b"content"), digest);
    assert_eq!(registry.head(&format!("/v2/a/blobs/{digest}")).status, 200);
}

#[test]
fn sha512_blobs_are_first_class() {
    let registry = Registry::start();
    let digest = sha512(b"content");
    let reply = registry.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], b"content");
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.header("docker-content-digest"), Some(digest.to_string().as_str()));
    assert_eq!(registry.get(&reply.location()).body, b"content");
    // The same bytes under another algorithm are another blob.
    assert_eq!(registry.head(&format!("/v2/a/blobs/{}", Digest::sha256(b"content"))).status, 404);
}

#[test]
fn a_damaged_blob_is_healed_by_its_next_push() {
    let registry = Registry::start();
    let digest = registry.push_blob("a", b"content");
    let (shard, _) = digest.hex().split_at(2);
    if in_bucket() {
        return;
    }
    let file = registry.data().join("blobs/sha256").join(shard).join(digest.hex());
    std::fs::write(&file, b"rubbish").expect("written");
    registry.push_blob("b", b"content");
    assert_eq!(registry.get(&format!("/v2/a/blobs/{digest}")).body, b"content");
}
