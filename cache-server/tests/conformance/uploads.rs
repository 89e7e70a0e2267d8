use std::io::Write;

use crate::registry::store::in_bucket;
use crate::registry::{Registry, noise, sha512, with_digest};
use yadokari::digest::Digest;

const SIZE: usize = 900_000;

fn patch(registry: &Registry, location: &str, content: &[u8], range: (usize, usize)) -> crate::registry::Reply {
    let (first, last) = range;
    let header = format!("{first}-{last}");
    let headers = [("Content-Range", header.as_str()), ("Content-Type", "application/octet-stream")];
    registry.send("PATCH", location, &headers, &content[first..=last])
}

#[track_caller]
fn assert_pullable(registry: &Registry, location: &str, content: &[u8]) {
    let reply = registry.get(location);
    assert!(reply.status == 200 && reply.body == content, "{} {}", reply.status, reply.body.len());
}

/// Asks until there is an answer; the test harness is the time limit.
fn eventually<T>(ask: impl Fn() -> Option<T>) -> T {
    loop {
        match ask() {
            Some(answer) => return answer,
            None => std::thread::yield_now(),
        }
    }
}

fn count(directory: &std::path::Path) -> usize {
    std::fs::read_dir(directory).expect("listed").count()
}

#[test]
fn post_then_put() {
    let registry = Registry::start();
    let content = noise(SIZE);
    for digest in [Digest::sha256(&content), sha512(&content)] {
        let location = registry.open_session("a/b");
        let reply = registry.send("PUT", &with_digest(&location, &digest), &[], &content);
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(reply.header("docker-content-digest"), Some(digest.to_string().as_str()));
        assert_pullable(&registry, &reply.location(), &content);
        registry.get(&location).is_error(404, "BLOB_UPLOAD_UNKNOWN");
    }
}

#[test]
fn a_stream_without_length() {
    let registry = Registry::start();
    let content = noise(SIZE);
    // sha512 without a word beforehand: the server hashes again at the end.
    for digest in [Digest::sha256(&content), sha512(&content)] {
        let location = registry.open_session("a");
        let mut stream = registry.connect();
        let head = format!(
            "PATCH {location} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{SIZE:x}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(&content).expect("sent");
        stream.write_all(b"\r\n0\r\n\r\n").expect("sent");
        let reply = crate::registry::Reply::read(&mut std::io::BufReader::new(stream), false);
        assert_eq!((reply.status, reply.header("range")), (202, Some("0-899999")));
        let reply = registry.send("PUT", &with_digest(&reply.location(), &digest), &[], b"");
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_pullable(&registry, &reply.location(), &content);
    }
}

#[test]
fn chunks_in_order_with_the_last_one_in_the_put() {
    let registry = Registry::start();
    let content = noise(SIZE);
    let digest = Digest::sha256(&content);
    let location = registry.open_session("a");
    let reply = patch(&registry, &location, &content, (0, 299_999));
    assert_eq!((reply.status, reply.header("range")), (202, Some("0-299999")), "{reply:?}");
    let reply = patch(&registry, &reply.location(), &content, (300_000, 599_999));
    assert_eq!((reply.status, reply.header("range")), (202, Some("0-599999")));
    let target = with_digest(&reply.location(), &digest);
    let reply = registry.send("PUT", &target, &[("Content-Range", "600000-899999")], &content[600_000..]);
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_pullable(&registry, &reply.location(), &content);
}

#[test]
fn chunks_out_of_order_leave_the_session_usable() {
    let registry = Registry::start();
    let content = noise(SIZE);
    let location = registry.open_session("a");
    let fresh = registry.get(&location);
    assert_eq!((fresh.status, fresh.header("range")), (204, Some("0-0")));
    let early = patch(&registry, &location, &content, (300_000, 599_999));
    early.is_error(416, "RANGE_INVALID");
    assert_eq!(early.location(), location);
    assert_eq!(patch(&registry, &location, &content, (0, 299_999)).status, 202);
    patch(&registry, &location, &content, (0, 299_999)).is_error(416, "RANGE_INVALID");
    let target = with_digest(&location, &Digest::sha256(&content));
    let put = registry.send("PUT", &target, &[("Content-Range", "600000-899999")], &content[600_000..]);
    put.is_error(416, "RANGE_INVALID");
    assert_eq!(put.header("range"), Some("0-299999"));
    let nonsense = registry.send("PATCH", &location, &[("Content-Range", "bytes 300000-*/*")], b"x");
    nonsense.is_error(416, "RANGE_INVALID");
    let status = registry.get(&location);
    assert_eq!((status.status, status.header("range")), (204, Some("0-299999")));
    let reply = registry.send("PUT", &target, &[("Content-Range", "300000-899999")], &content[300_000..]);
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_pullable(&registry, &reply.location(), &content);
}

#[test]
fn a_chunk_of_another_length_than_announced_is_forgotten() {
    let registry = Registry::start();
    let location = registry.open_session("a");
    registry.send("PATCH", &location, &[("Content-Range", "0-1")], b"ab");
    for wrong in [&b"c"[..], b"cdef", &noise(600_000)] {
        let reply = registry.send("PATCH", &location, &[("Content-Range", "2-4")], wrong);
        reply.is_error(400, "SIZE_INVALID");
        assert_eq!(reply.header("range"), Some("0-1"));
    }
    let target = with_digest(&location, &Digest::sha256(b"abcde"));
    assert_eq!(registry.send("PUT", &target, &[("Content-Range", "2-4")], b"cde").status, 201);
}

#[test]
fn wrong_digests_are_refused_in_every_form() {
    let registry = Registry::start();
    let (digest, wrong) = (Digest::sha256(b"content"), b"content with more");
    let post = registry.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], wrong);
    post.is_error(400, "DIGEST_INVALID");
    let put = |location: &str, body| registry.send("PUT", &with_digest(location, &digest), &[], body);
    put(&registry.open_session("a"), wrong).is_error(400, "DIGEST_INVALID");
    let location = registry.open_session("a");
    assert_eq!(registry.send("PATCH", &location, &[], wrong).status, 202);
    put(&location, b"").is_error(400, "DIGEST_INVALID");
    let location = registry.open_session("a");
    assert_eq!(registry.send("PATCH", &location, &[("Content-Range", "0-3")], &wrong[..4]).status, 202);
    put(&location, &wrong[4..]).is_error(400, "DIGEST_INVALID");
    // Only the digest of nothing may come without content.
    put(&registry.open_session("a"), b"").is_error(400, "DIGEST_INVALID");
    assert_eq!(registry.head(&format!("/v2/a/blobs/{digest}")).status, 404);
    assert!(in_bucket() || count(&registry.data().join("uploads")) == 0);
}

#[test]
fn malformed_digests_are_refused() {
    let registry = Registry::start();
    for digest in ["sha256:abc", "latest", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:..%2f..%2fx"] {
        let target = format!("/v2/a/blobs/uploads/?digest={digest}");
        registry.send("POST", &target, &[], b"x").is_error(400, "DIGEST_INVALID");
        let location = registry.open_session("a");
        registry.send("PUT", &format!("{location}?digest={digest}"), &[], b"x").is_error(400, "DIGEST_INVALID");
        assert_eq!(registry.get(&location).status, 204, "the session survives");
    }
    registry.send("PUT", &registry.open_session("a"), &[], b"x").is_error(400, "DIGEST_INVALID");
    registry.post("/v2/a/blobs/uploads/?digest-algorithm=blake3").is_error(400, "DIGEST_INVALID");
    assert_eq!(registry.post("/v2/a/blobs/uploads/?digest-algorithm=sha512").status, 202);
}

#[test]
fn cancelled_sessions_are_gone() {
    let registry = Registry::start();
    let location = registry.open_session("a");
    assert_eq!(registry.send("PATCH", &location, &[], b"some").status, 202);
    assert_eq!(registry.delete(&location).status, 204);
    registry.get(&location).is_error(404, "BLOB_UPLOAD_UNKNOWN");
    registry.send("PATCH", &location, &[], b"more").is_error(404, "BLOB_UPLOAD_UNKNOWN");
    registry.delete(&location).is_error(404, "BLOB_UPLOAD_UNKNOWN");
    registry.get("/v2/a/blobs/uploads/nonsense").is_error(404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn mounts() {
    let registry = Registry::start();
    let digest = registry.push_blob("source", b"content");
    let mount = |target: &str, digest: &Digest, from: &str| {
        registry.post(&format!("/v2/{target}/blobs/uploads/?mount={digest}{from}"))
    };
    for (target, from) in [("named", "&from=source"), ("anonymous", ""), ("empty", "&from=")] {
        let reply = mount(target, &digest, from);
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_pullable(&registry, &reply.location(), b"content");
        assert!(reply.location().starts_with(&format!("/v2/{target}/blobs/")));
    }
    let absent = Digest::sha256(b"absent");
    for (digest, from) in [(&absent, "&from=source"), (&absent, ""), (&digest, "&from=other")] {
        let reply = mount("target", digest, from);
        assert_eq!(reply.status, 202, "{reply:?}");
        assert_eq!(registry.get(&reply.location()).status, 204, "a session like any other");
    }
    assert_eq!(registry.head(&format!("/v2/target/blobs/{digest}")).status, 404);
}

#[test]
fn a_deleted_blob_does_not_come_back_by_a_mount() {
    let registry = Registry::start();
    let digest = registry.push_blob("a", b"content");
    assert_eq!(registry.delete(&format!("/v2/a/blobs/{digest}")).status, 202);
    for from in ["", "&from=a"] {
        assert_eq!(registry.post(&format!("/v2/b/blobs/uploads/?mount={digest}{from}")).status, 202);
    }
}

#[test]
fn what_came_before_a_broken_connection_is_kept() {
    let registry = Registry::start();
    let content = noise(SIZE);
    let location = registry.open_session("a");
    let mut stream = registry.connect();
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {SIZE}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(&content[..500_000]).expect("sent");
    drop(stream);
    // Once the broken request is running, the answer waits until it has let go of the session.
    let last = eventually(|| {
        let range = registry.get(&location).header("range").expect("a range").to_owned();
        let last: usize = range.strip_prefix("0-").and_then(|n| n.parse().ok()).expect("a number");
        (last > 0).then_some(last)
    });
    assert!(last < 500_000, "{last}");
    let rest = last + 1;
    let target = with_digest(&location, &Digest::sha256(&content));
    let reply = registry.send("PUT", &target, &[("Content-Range", &format!("{rest}-899999"))], &content[rest..]);
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_pullable(&registry, &reply.location(), &content);
}

#[test]
fn a_whole_blob_that_breaks_off_leaves_nothing() {
    let registry = Registry::start();
    let content = noise(SIZE);
    let digest = Digest::sha256(&content);
    let mut stream = registry.connect();
    let head =
        format!("POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: {SIZE}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(&content[..500_000]).expect("sent");
    drop(stream);
    eventually(|| (in_bucket() || count(&registry.data().join("uploads")) == 0).then_some(()));
    assert_eq!(registry.head(&format!("/v2/a/blobs/{digest}")).status, 404);
    assert!(in_bucket() || count(&registry.data().join("blobs")) == 0);
    assert_eq!(registry.get("/v2/_catalog").json(), serde_json::json!({ "repositories": [] }));
}

#[test]
fn two_requests_cannot_write_the_same_chunk() {
    let registry = Registry::start();
    let content = noise(SIZE);
    let location = registry.open_session("a");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let send = || patch(&registry, &location, &content, (0, SIZE - 1)).status;
        let threads = [scope.spawn(send), scope.spawn(send)];
        threads.map(|thread| thread.join().expect("no panic")).into()
    });
    assert!(statuses.contains(&202) && statuses.contains(&416), "{statuses:?}");
    let reply = registry.send("PUT", &with_digest(&location, &Digest::sha256(&content)), &[], b"");
    assert_eq!(reply.status, 201, "{reply:?}");
}

#[test]
fn a_refusal_is_heard_although_the_body_is_long() {
    let registry = Registry::start();
    let content = noise(3_000_000);
    for _ in 0..5 {
        registry.send("PATCH", "/v2/a/blobs/uploads/none", &[], &content).is_error(404, "BLOB_UPLOAD_UNKNOWN");
        let location = registry.open_session("a");
        patch(&registry, &location, &content, (1, 2_999_999)).is_error(416, "RANGE_INVALID");
    }
}
