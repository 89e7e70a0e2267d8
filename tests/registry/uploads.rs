//! Uploads against registries with quirks.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use yadokari::image::media_type;
use yadokari::registry::{Client, ClientOptions, Credentials, Fault};

use super::server::{Reply, Server};
use super::{anonymous, chain, credentials, layer, noise, options, push, reference};

/// Accepts everything; `change` may answer first.
fn registry(change: impl Fn(&super::server::Request) -> Option<Reply> + Send + Sync + 'static) -> Server {
    Server::start(move |request| {
        if let Some(reply) = change(request) {
            return reply;
        }
        match request.method.as_str() {
            "POST" => Reply::new(202).with("Location", "/upload/1?_state=a%2Fb"),
            "PATCH" => Reply::new(202).with("Location", "/upload/2?_state=c"),
            "PUT" => Reply::new(201),
            "DELETE" => Reply::new(204),
            _ => Reply::new(404),
        }
    })
}

#[test]
fn small_blobs_take_two_requests_and_large_ones_three() {
    let server = registry(|_| None);
    let to = reference(&server.host(), "app:1");
    let small = push(&anonymous(), &to, b"small").expect("push");
    let seen = server.seen();
    assert_eq!(seen[0].header("content-length"), Some("0"));
    assert_eq!(seen[1].path, format!("/upload/1?_state=a%2Fb&digest=sha256%3A{}", small.digest.hex()));
    assert_eq!(seen[1].body, b"small");
    let bytes = noise((4 << 20) + 1);
    push(&anonymous(), &to, &bytes).expect("push");
    let seen = &server.seen()[2..];
    let methods: Vec<&str> = seen.iter().map(|r| r.method.as_str()).collect();
    assert_eq!(methods, ["POST", "PATCH", "PUT"]);
    assert!(seen[1].body == bytes && seen[1].header("content-range").is_none());
    assert!(seen[2].body.is_empty() && seen[2].path.starts_with("/upload/2?_state=c&digest="), "the newest location");
}

#[test]
fn chunks_respect_the_minimum() {
    let server = registry(|r| {
        let first = r.method == "POST";
        first.then(|| Reply::new(202).with("Location", "/upload/1").with("OCI-Chunk-Min-Length", 400))
    });
    let settings = ClientOptions { chunk_bytes: Some(100), ..options() };
    let client = Client::new(settings, Credentials::none()).expect("client");
    push(&client, &reference(&server.host(), "app:1"), &noise(1000)).expect("push");
    let patches = server.seen().into_iter().filter(|r| r.method == "PATCH");
    let ranges: Vec<(String, usize)> =
        patches.map(|r| (r.header("content-range").expect("range").to_owned(), r.body.len())).collect();
    let expected = [("0-399", 400), ("400-799", 400), ("800-999", 200)];
    assert_eq!(ranges, expected.map(|(range, length)| (range.to_owned(), length)));
}

#[test]
fn a_broken_upload_starts_over() {
    let tries = AtomicUsize::new(0);
    let server =
        registry(move |r| (r.method == "PUT" && tries.fetch_add(1, Ordering::SeqCst) == 0).then(|| Reply::new(503)));
    let opened = AtomicUsize::new(0);
    let progress = Mutex::new(Vec::new());
    let bytes = noise(1000);
    let open = || {
        opened.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(io::Cursor::new(bytes.clone())) as Box<dyn Read + Send>)
    };
    let to = reference(&server.host(), "app:1");
    anonymous().push_blob(&to, &layer(&bytes), &open, &|sent| progress.lock().expect("lock").push(sent)).expect("push");
    assert_eq!(opened.load(Ordering::SeqCst), 2);
    assert_eq!(progress.into_inner().expect("lock"), [1000, 1000]);
    assert_eq!(server.count("POST", "/v2/app/blobs/uploads/"), 2);
    assert_eq!(server.count("DELETE", "/upload/1"), 1, "the failed session is cancelled");
}

#[test]
fn a_lost_session_starts_over_and_a_wrong_digest_does_not() {
    for (status, code, tries) in
        [(404, "BLOB_UPLOAD_UNKNOWN", 2), (416, "RANGE_INVALID", 2), (400, "DIGEST_INVALID", 1), (403, "DENIED", 1)]
    {
        let server = registry(move |r| {
            let body = format!(r#"{{"errors":[{{"code":"{code}","message":"m"}}]}}"#);
            (r.method == "PUT").then(|| Reply::new(status).body(body))
        });
        let error = push(&anonymous(), &reference(&server.host(), "app:1"), b"x").expect_err(code);
        assert_eq!(server.count("POST", "/v2/"), tries, "{code}");
        assert!(chain(&error).contains(&format!("{status} {code}: m")), "{}", chain(&error));
    }
}

#[test]
fn the_source_is_told_from_the_network() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk on fire"))
        }
    }
    let server = registry(|_| None);
    let to = reference(&server.host(), "app:1");
    let blob = layer(&noise(1000));
    let sources: [&dyn Fn() -> io::Result<Box<dyn Read + Send>>; 3] =
        [&|| Ok(Box::new(Broken)), &|| Ok(Box::new(io::Cursor::new(noise(999)))), &|| {
            Err(io::Error::other("no such file"))
        }];
    for open in sources {
        let error = anonymous().push_blob(&to, &blob, open, &|_| {}).expect_err("no source");
        assert!(matches!(*error.fault, Fault::Source(_)), "{error:?}");
    }
    assert_eq!(server.count("POST", "/v2/"), 3, "each is tried once");
}

#[test]
fn a_body_limit_leads_to_chunks() {
    let server = registry(|r| (r.body.len() > (100 << 20)).then(|| Reply::new(413)));
    let size = (100 << 20) + 1;
    let open = || Ok(Box::new(io::repeat(7)) as Box<dyn Read + Send>);
    let blob = yadokari::image::Descriptor::new(media_type::OCI_LAYER, layer(b"x").digest, size);
    anonymous().push_blob(&reference(&server.host(), "app:1"), &blob, &open, &|_| {}).expect("push");
    let patches = server.seen().into_iter().filter(|r| r.method == "PATCH");
    assert_eq!(patches.map(|r| r.body.len()).collect::<Vec<_>>(), [size as usize, 64 << 20, (36 << 20) + 1]);
}

#[test]
fn credentials_do_not_follow_the_upload_location() {
    let storage = registry(|_| None);
    let elsewhere = format!("http://{}/put?signed=1", storage.host());
    let server = registry(move |r| match r.header("authorization") {
        None => Some(Reply::challenge("Basic realm=\"test\"")),
        Some(_) if r.method == "POST" => Some(Reply::new(202).with("Location", &elsewhere)),
        Some(_) => None,
    });
    let client = Client::new(options(), credentials(&[&server.host(), &storage.host()], "u", "p")).expect("client");
    push(&client, &reference(&server.host(), "app:1"), &noise(5 << 20)).expect("push");
    assert_eq!(storage.count("PUT", "/upload/2"), 1);
    assert!(storage.seen().iter().all(|r| r.header("authorization").is_none()));
    for bad in ["http://169.254.169.254/x", "file:///x", "http://u:p@127.0.0.1/x"] {
        let server = registry(move |r| (r.method == "POST").then(|| Reply::new(202).with("Location", bad)));
        assert!(push(&anonymous(), &reference(&server.host(), "app:1"), b"x").is_err(), "{bad}");
    }
    let server = registry(|r| (r.method == "POST").then(|| Reply::new(202)));
    assert!(push(&anonymous(), &reference(&server.host(), "app:1"), b"x").is_err(), "no location");
}

#[test]
fn a_token_that_dies_under_way_is_renewed() {
    let tokens = AtomicUsize::new(0);
    let server = Server::start_with(move |host| {
        move |r| {
            if r.path.starts_with("/token") {
                return Reply::new(200).body(format!(r#"{{"token":"t{}"}}"#, tokens.fetch_add(1, Ordering::SeqCst)));
            }
            let challenge = Reply::challenge(format!(r#"Bearer realm="http://{host}/token""#));
            match (r.header("authorization"), r.method.as_str()) {
                (None, _) => challenge,
                (Some("Bearer t0"), "PUT" | "PATCH") => challenge,
                (_, "POST") => Reply::new(202).with("Location", "/upload/1"),
                (_, "DELETE") => Reply::new(204),
                _ => Reply::new(201),
            }
        }
    });
    push(&anonymous(), &reference(&server.host(), "app:1"), b"x").expect("push");
    assert_eq!(server.count("GET", "/token"), 2);
}

#[test]
fn a_server_that_stores_something_else_is_noticed() {
    let digest = layer(b"other").digest;
    let server = registry(move |r| (r.method == "PUT").then(|| Reply::new(201).with("Docker-Content-Digest", &digest)));
    let to = reference(&server.host(), "app:1");
    let error = anonymous().push_manifest(&to, media_type::OCI_MANIFEST, b"{}").expect_err("another digest");
    assert!(matches!(*error.fault, Fault::DigestMismatch { .. }), "{error:?}");
    assert_eq!(server.seen()[0].header("content-type"), Some(media_type::OCI_MANIFEST));
}

#[test]
fn a_digest_that_was_right_is_sent_again() {
    let refusals = AtomicUsize::new(1);
    let server = registry(move |r| {
        let refused = r.is("PUT", "/v2/app/manifests/")
            && refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        refused.then(|| {
            Reply::new(400).body(r#"{"errors":[{"code":"DIGEST_INVALID","message":"another upload is under way"}]}"#)
        })
    });
    let to = reference(&server.host(), "app:1");
    anonymous().push_manifest(&to, media_type::OCI_MANIFEST, b"{}").expect("push");
    assert_eq!(server.count("PUT", "/v2/app/manifests/1"), 2);
}
