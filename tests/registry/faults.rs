//! Servers that lie, break off, and send us elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering};

use yadokari::digest::Digest;
use yadokari::image::{Descriptor, media_type};
use yadokari::registry::{BlobPrefix, Client, Credentials, Fault, Purpose};

use super::server::{Reply, Server};
use super::{anonymous, chain, credentials, layer, noise, options, read_all, reference};

/// Serves `bytes` as any blob, with the faults of `change`.
fn blob_server(bytes: Vec<u8>, change: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |_| change(Reply::new(200).body(bytes.clone())))
}

#[test]
fn wrong_bytes_are_never_given_out_whole() {
    let good = noise(300_000);
    let blob = layer(&good);
    let mut flipped = good.clone();
    flipped[299_999] ^= 1;
    let server = blob_server(flipped, |reply| reply);
    let error =
        read_all(anonymous().fetch_blob(&reference(&server.host(), "a:1"), &blob, Purpose::Pull).expect("open"))
            .expect_err("wrong bytes");
    assert!(matches!(&*error.fault, Fault::DigestMismatch { expected, .. } if *expected == blob.digest), "{error:?}");

    let mut reader = anonymous().fetch_blob(&reference(&server.host(), "a:1"), &blob, Purpose::Pull).expect("open");
    let mut given = 0;
    let mut buffer = [0; 4096];
    while let Ok(count) = std::io::Read::read(&mut reader, &mut buffer) {
        given += count;
    }
    assert!(given < good.len(), "the last bytes stay back");
    assert!(std::io::Read::read(&mut reader, &mut buffer).is_err(), "and it stays broken");
}

#[test]
fn wrong_sizes_are_refused() {
    let bytes = noise(1000);
    let blob = layer(&bytes);
    for extra in [&bytes[..999], &[bytes.as_slice(), b"x"].concat()] {
        let server = blob_server(extra.to_vec(), |reply| reply);
        let opened = anonymous().fetch_blob(&reference(&server.host(), "a:1"), &blob, Purpose::Pull);
        let error = opened.expect_err("announced another size");
        assert!(matches!(*error.fault, Fault::SizeMismatch { expected: 1000, .. }), "{error:?}");
    }
    // Not announced: found out at the end.
    let long = format!("3e9\r\n{}\r\n0\r\n\r\n", "y".repeat(1001));
    let server = blob_server(long.into_bytes(), |reply| {
        reply.with("Transfer-Encoding", "chunked").with("Content-Length-Off", 1)
    });
    let blob = layer("y".repeat(1000).as_bytes());
    let opened = anonymous().fetch_blob(&reference(&server.host(), "a:1"), &blob, Purpose::Pull);
    assert!(opened.and_then(read_all).is_err());
}

#[test]
fn small_blobs_are_bounded() {
    let mut blob = layer(b"x");
    blob.size = (16 << 20) + 1;
    let server = Server::start(|_| Reply::new(200).body("x"));
    let read = anonymous().fetch_small_blob(&reference(&server.host(), "a:1"), &blob, Purpose::Pull);
    assert!(matches!(*read.expect_err("too large").fault, Fault::TooLarge { .. }));
    assert_eq!(server.seen().len(), 0, "nothing is asked for");
}

#[test]
fn broken_downloads_go_on_where_they_broke() {
    let bytes = noise(5_000_000);
    let blob = layer(&bytes);
    for knows_ranges in [true, false] {
        let served = bytes.clone();
        let server = Server::start(move |request| {
            let start = request.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
            match start.filter(|_| knows_ranges) {
                Some(start) => {
                    let range: usize = start;
                    let rest = &served[range..];
                    let reply =
                        Reply::new(206).with("Content-Range", format!("bytes {range}-4999999/5000000")).body(rest);
                    if rest.len() > 2_000_000 { reply.cut(1_500_000) } else { reply }
                }
                None if request.header("range").is_some() => Reply::new(200).body(served.clone()),
                None => Reply::new(200).with("ETag", "\"strong\"").body(served.clone()).cut(1_500_000),
            }
        });
        let reader = anonymous().fetch_blob(&reference(&server.host(), "a:1"), &blob, Purpose::Pull).expect("open");
        assert!(read_all(reader).expect("read") == bytes);
        let seen = server.seen();
        assert_eq!(seen.len(), if knows_ranges { 3 } else { 2 }, "knows ranges: {knows_ranges}");
        assert_eq!(seen[1].header("if-range"), Some("\"strong\""));
    }
}

#[test]
fn a_download_goes_on_in_another_process() {
    let bytes = noise(3_000_000);
    let blob = layer(&bytes);
    let prefix = |of: &[u8]| BlobPrefix::read(&blob, of).expect("memory");
    for knows_ranges in [true, false] {
        let served = bytes.clone();
        let server = Server::start(move |request| match request.header("range").filter(|_| knows_ranges) {
            Some(range) => {
                assert_eq!((range, request.header("if-range")), ("bytes=1000000-", None));
                let reply = Reply::new(206).with("Content-Range", "bytes 1000000-2999999/3000000");
                reply.body(&served[1_000_000..])
            }
            None => Reply::new(200).body(served.clone()),
        });
        let (client, name) = (anonymous(), reference(&server.host(), "a:1"));
        let fetch = |have: &[u8]| client.fetch_blob_after(&name, &blob, Purpose::Pull, &prefix(have)).expect("open");
        assert!(read_all(fetch(&bytes[..1_000_000])).expect("read") == bytes[1_000_000..]);
        // What was there before is part of what is verified.
        let error = read_all(fetch(&vec![0; 1_000_000])).expect_err("damaged");
        assert!(matches!(*error.fault, Fault::DigestMismatch { .. }), "{error:?}");
    }
}

#[test]
fn a_connection_without_progress_is_given_up() {
    let bytes = noise(5_000_000);
    let blob = layer(&bytes);
    let server = Server::start(move |request| {
        let start: usize = request.header("range").map_or(0, |r| r[6..r.len() - 1].parse().expect("range"));
        let status = if start == 0 { 200 } else { 206 };
        let range = format!("bytes {start}-4999999/5000000");
        Reply::new(status).with("Content-Range", range).body(&bytes[start..]).cut(10)
    });
    let reader = anonymous().fetch_blob(&reference(&server.host(), "a:1"), &blob, Purpose::Pull).expect("open");
    let error = read_all(reader).expect_err("no progress");
    assert!(matches!(*error.fault, Fault::Interrupted { .. }), "{error:?}");
    assert_eq!(server.seen().len(), 2, "one retry is allowed");
}

#[test]
fn a_wrong_range_is_not_stitched_in() {
    let bytes = noise(2_000_000);
    let blob = layer(&bytes);
    let server = Server::start(move |request| match request.header("range") {
        Some(_) => Reply::new(206).with("Content-Range", "bytes 5-9/2000000").body(&bytes[5..10]),
        None => Reply::new(200).body(bytes.clone()).cut(1_500_000),
    });
    let reader = anonymous().fetch_blob(&reference(&server.host(), "a:1"), &blob, Purpose::Pull).expect("open");
    assert!(matches!(*read_all(reader).expect_err("wrong range").fault, Fault::Malformed { .. }));
}

#[test]
fn manifests_by_digest_are_verified() {
    let server = Server::start(|_| Reply::new(200).with("Content-Type", media_type::OCI_MANIFEST).body("{}"));
    let wanted = reference(&server.host(), "a:1").with_digest(Digest::sha256(b"other"));
    let error = anonymous().fetch_manifest(&wanted, Purpose::Pull).expect_err("another manifest");
    assert!(matches!(*error.fault, Fault::DigestMismatch { .. }), "{error:?}");
    let head = anonymous().head_manifest(&wanted, Purpose::Pull).expect_err("HEAD says nothing, GET lies");
    assert!(matches!(*head.fault, Fault::DigestMismatch { .. }), "{head:?}");
}

#[test]
fn manifests_are_bounded_and_typed() {
    let server = Server::start(|request| match request.path.as_str() {
        "/v2/a/manifests/large" => Reply::new(200).body(vec![b' '; (8 << 20) + 1]),
        _ => Reply::new(200)
            .with("Content-Type", "application/json; charset=utf-8")
            .body(format!(r#"{{"mediaType":"{}"}}"#, media_type::DOCKER_LIST)),
    });
    let client = anonymous();
    let error = client.fetch_manifest(&reference(&server.host(), "a:large"), Purpose::Pull).expect_err("too large");
    assert!(matches!(*error.fault, Fault::TooLarge { .. }), "{error:?}");
    let fetched =
        client.fetch_manifest(&reference(&server.host(), "a:1"), Purpose::Pull).expect("fetch").expect("there");
    assert_eq!(fetched.descriptor.media_type, media_type::DOCKER_LIST);
    let accept = server.seen()[0].header("accept").expect("accept").to_owned();
    for kind in [media_type::OCI_INDEX, media_type::OCI_MANIFEST, media_type::DOCKER_LIST, media_type::DOCKER_MANIFEST]
    {
        assert!(accept.contains(kind), "{accept}");
    }
}

#[test]
fn credentials_do_not_follow_a_redirect() {
    let bytes = noise(1000);
    let blob = layer(&bytes);
    let storage = blob_server(bytes, |reply| reply);
    let elsewhere = format!("http://{}/signed?token=s", storage.host());
    let server = Server::start(move |request| match (request.header("authorization"), request.path.as_str()) {
        (None, _) => Reply::challenge("Basic realm=\"test\""),
        (Some(_), path) if path.contains("same") => Reply::new(307).with("Location", "/v2/moved/blobs/x"),
        (Some(_), path) if path.contains("moved") => Reply::new(302).with("Location", &elsewhere),
        (Some(_), _) => Reply::new(307).with("Location", &elsewhere),
    });
    let known = credentials(&[&server.host(), &storage.host()], "u", "p");
    let client = Client::new(options(), known).expect("client");
    for repository in ["a:1", "same:1"] {
        let reader = client.fetch_blob(&reference(&server.host(), repository), &blob, Purpose::Pull).expect("open");
        assert_eq!(read_all(reader).expect("read").len(), 1000);
    }
    assert_eq!(storage.seen().len(), 2);
    assert!(storage.seen().iter().all(|request| request.header("authorization").is_none()));
    assert!(storage.seen().iter().all(|request| request.path == "/signed?token=s"));
    let moved = server.seen().into_iter().find(|r| r.path.contains("moved")).expect("followed");
    assert!(moved.header("authorization").is_some(), "the same origin gets them");
}

#[test]
fn redirects_end() {
    let server = Server::start(|request| Reply::new(302).with("Location", format!("{}x", request.path)));
    let error = anonymous().fetch_manifest(&reference(&server.host(), "a:1"), Purpose::Pull).expect_err("endless");
    assert!(chain(&error).contains("too many redirects"), "{}", chain(&error));
    assert!(server.seen().len() <= 11);
}

#[test]
fn what_may_pass_is_tried_again() {
    for (status, tries) in [(500, 2), (503, 2), (429, 2), (408, 2), (400, 1), (403, 1), (405, 1)] {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::new(status).with("Retry-After", 0),
            _ => Reply::new(200).with("Content-Type", media_type::OCI_MANIFEST).body("{}"),
        });
        let fetched = anonymous().fetch_manifest(&reference(&server.host(), "a:1"), Purpose::Pull);
        assert_eq!(fetched.is_ok(), tries == 2, "{status}");
        assert_eq!(server.seen().len(), tries, "{status}");
    }
}

#[test]
fn nobody_waits_for_hours() {
    let server = Server::start(|_| {
        let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#;
        Reply::new(429).with("Retry-After", 21_600).body(body)
    });
    let error = anonymous().fetch_manifest(&reference(&server.host(), "a:1"), Purpose::Pull).expect_err("limited");
    assert_eq!(server.seen().len(), 1);
    assert!(chain(&error).ends_with("429 TOOMANYREQUESTS: pull rate limit (retry after 21600 s)"), "{}", chain(&error));
}

#[test]
fn lists_follow_links_within_reason() {
    let server = Server::start(|request| match request.path.as_str() {
        "/v2/a/tags/list?n=1000" => Reply::new(200)
            .with("Link", "</v2/a/tags/list?n=1000&last=b>; rel=\"next\"")
            .body(r#"{"name":"a","tags":["a","b"]}"#),
        "/v2/loop/tags/list?n=1000" => {
            Reply::new(200).with("Link", "</v2/loop/tags/list?n=1000>; rel=\"next\"").body(r#"{"tags":[]}"#)
        }
        "/v2/inside/tags/list?n=1000" => {
            Reply::new(200).with("Link", "<http://169.254.169.254/>; rel=\"next\"").body(r#"{"tags":[]}"#)
        }
        "/v2/odd/tags/list?n=1000" => Reply::new(200).body("7"),
        _ => Reply::new(200).body(r#"{"name":"a","tags":null}"#),
    });
    let list = |name: &str| anonymous().list_tags(&reference(&server.host(), name));
    assert_eq!(list("a:1").expect("list"), ["a", "b"]);
    assert_eq!(list("none:1").expect("list"), [""; 0]);
    for name in ["loop:1", "inside:1", "odd:1"] {
        assert!(list(name).is_err(), "{name}");
    }
}

#[test]
fn proxies_are_used_and_told_who_we_are() {
    // After CONNECT the same connection leads to the registry; here the proxy plays both.
    let proxy = Server::start(|request| match request.method.as_str() {
        "CONNECT" => Reply::new(200),
        _ => Reply::new(404),
    });
    let mut settings = options();
    settings.insecure_registries.insert("registry.invalid:5000".to_owned());
    settings.proxy.http = Some(format!("http://me:secret@{}", proxy.host()));
    let client = Client::new(settings.clone(), Credentials::none()).expect("client");
    let image = reference("registry.invalid:5000", "app:1");
    assert_eq!(client.fetch_manifest(&image, Purpose::Pull).expect("no fault"), None);
    let seen = proxy.seen();
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("CONNECT", "registry.invalid:5000"));
    assert_eq!(seen[0].header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
    assert!(seen[1..].iter().all(|request| request.header("proxy-authorization").is_none()));

    let direct = Server::start(|_| Reply::new(404));
    assert!(!client.has_blob(&reference(&direct.host(), "app:1"), &Digest::sha256(b"")).expect("direct"));
    settings.proxy.http = Some("ftp://proxy.example".to_owned());
    assert!(Client::new(settings, Credentials::none()).is_err());
}

#[test]
fn requests_name_their_sender() {
    let server = Server::start(|_| Reply::new(404));
    let found = anonymous().has_blob(&reference(&server.host(), "a:1"), &Descriptor::of("", b"").digest);
    assert!(!found.expect("no fault"));
    assert!(server.seen()[0].header("user-agent").is_some_and(|agent| agent.starts_with("yadokari/")));
    assert_eq!(server.seen()[0].header("authorization"), None);
}
