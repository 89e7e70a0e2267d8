use std::io::{BufReader, Read as _, Write as _};

use serde_json::json;
use yadokari::image::media_type;

use crate::registry::{Registry, Reply, noise};

#[test]
fn a_flood_of_headers_is_refused() {
    let registry = Registry::start();
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(1 << 20));
    for headers in [many, long] {
        let mut stream = registry.connect();
        // The server may close before it has read everything.
        let _ = stream.write_all(format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    assert_eq!(registry.get("/v2/").status, 200);
}

#[test]
fn many_half_requests_take_little_memory() {
    let registry = Registry::start();
    let before = registry.resident();
    let half = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nX: {}", "y".repeat(60_000));
    let connections: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = registry.connect();
            stream.write_all(half.as_bytes()).expect("sent");
            stream
        })
        .collect();
    assert_eq!(registry.get("/v2/").status, 200);
    assert!(registry.resident() - before < 100 << 20, "{}", registry.resident() - before);
    drop(connections);
}

#[test]
fn connections_beyond_the_limit_wait() {
    let registry = Registry::start_with(&["--max-connections", "2"]);
    let mut held: Vec<_> = (0..2).map(|_| BufReader::new(registry.connect())).collect();
    for stream in &mut held {
        stream.get_mut().write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        assert_eq!(Reply::read(stream, false).status, 200);
    }
    let mut waiting = registry.connect();
    waiting.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    held[0].get_mut().write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let metrics = String::from_utf8(Reply::read(&mut held[0], false).body).expect("UTF-8");
    assert!(metrics.contains("cache_server_connections 2\n"), "{metrics}");
    drop(held.pop());
    assert_eq!(Reply::read(&mut BufReader::new(waiting), false).status, 200);
}

#[test]
fn a_manifest_that_is_too_large_is_refused_and_one_that_fits_is_not() {
    let registry = Registry::start();
    registry.push_blob("a", b"{}");
    let put = |padding: usize| {
        let mut manifest = crate::registry::image(b"layer");
        manifest["annotations"] = json!({ "padding": "x".repeat(padding) });
        registry.put_manifest("a", "v1", &manifest)
    };
    registry.push_blob("a", b"layer");
    assert_eq!(put(4_000_000).status, 201);
    put(4 << 20).is_error(413, "SIZE_INVALID");
    // Nor without saying how long it is.
    let mut stream = registry.connect();
    let kind = media_type::OCI_MANIFEST;
    let head = format!(
        "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..10 {
        let _ = stream
            .write_all(b"100000\r\n")
            .and_then(|()| stream.write_all(&chunk))
            .and_then(|()| stream.write_all(b"\r\n"));
    }
    assert_eq!(Reply::read(&mut BufReader::new(stream), false).status, 413);
}

#[test]
fn a_manifest_that_lacks_very_much_gets_a_short_answer() {
    let registry = Registry::start();
    let children: Vec<_> = (0..20_000_u32)
        .map(|number| crate::registry::descriptor(media_type::OCI_MANIFEST, &number.to_le_bytes()))
        .collect();
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": children });
    let reply = registry.put_manifest("a", "v1", &index);
    reply.is_error(400, "MANIFEST_BLOB_UNKNOWN");
    assert!(reply.body.len() < 100_000, "{}", reply.body.len());
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let registry = Registry::start_with(&["--max-bytes", "100MB"]);
    let session = registry.open_session("a");
    let whole = format!("/v2/a/blobs/uploads/?digest=sha256:{}", "a".repeat(64));
    let lengths = ["9223372036854775807", "18446744073709551615", "99999999999999999999", "-1", "1e3", "0x10", "5, 6"];
    for (method, target) in [("PATCH", &session), ("POST", &whole)] {
        for length in lengths {
            let mut stream = registry.connect();
            let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\nxx");
            stream.write_all(head.as_bytes()).expect("sent");
            stream.shutdown(std::net::Shutdown::Write).expect("closed");
            let status = Reply::read(&mut BufReader::new(stream), false).status;
            assert!([400, 413, 431].contains(&status), "{method} {length} {status}");
        }
    }
    let ranges = ["0-18446744073709551614", "0-18446744073709551615", "18446744073709551615-0", "5-1", "-1-5", "0-0-0"];
    for range in ranges {
        let reply = registry.send("PATCH", &session, &[("Content-Range", range)], b"x");
        assert!([400, 416].contains(&reply.status), "{range} {reply:?}");
    }
    let status = registry.get(&session);
    assert_eq!((status.status, status.header("range")), (204, Some("0-0")), "the session lives, and is empty");
}

#[test]
fn long_targets_are_refused() {
    let registry = Registry::start();
    assert_eq!(registry.get(&format!("/v2/a/tags/list?last={}", "x".repeat(70_000))).status, 414);
    registry.get(&format!("/v2/{}tags/list", "a/".repeat(5_000))).is_error(400, "NAME_INVALID");
    registry.get(&format!("/v2/{}/tags/list", "a".repeat(256))).is_error(400, "NAME_INVALID");
}

#[test]
fn ranges_are_as_large_as_the_blob_at_most() {
    let registry = Registry::start();
    let content = noise(1000);
    let target = format!("/v2/a/blobs/{}", registry.push_blob("a", &content));
    for (range, status, expected) in [
        ("bytes=0-18446744073709551615", 206, &content[..]),
        ("bytes=990-99999999999999999999999", 206, &content[990..]),
        ("bytes=-18446744073709551615", 206, &content[..]),
        ("bytes=18446744073709551615-", 416, b""),
        ("bytes=99999999999999999999999-", 416, b""),
        ("bytes=0-0,2-2,4-4", 200, &content[..]),
    ] {
        let reply = registry.send("GET", &target, &[("Range", range)], b"");
        assert_eq!(reply.status, status, "{range}");
        if status != 416 {
            assert_eq!(reply.body, expected, "{range}");
        }
    }
}

#[test]
fn a_large_blob_passes_through_little_memory() {
    let registry = Registry::start();
    let content = vec![7; 150 << 20];
    let digest = registry.push_blob("a", &content);
    assert_eq!(registry.get(&format!("/v2/a/blobs/{digest}")).body.len(), content.len());
    assert!(registry.resident() < 100 << 20, "{}", registry.resident());
}
