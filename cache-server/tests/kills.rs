//! A kill in the middle of hundreds of uploads, with collections running.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod registry;

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use registry::command::{assert_clean, run};
use registry::{Registry, noise, with_digest};
use yadokari::digest::Digest;

const UPLOADS: usize = 500;
const BYTES: usize = 60_000;
/// Of each upload, before the kill.
const SENT: usize = 40_000;

fn start(data: &Path) -> Registry {
    Registry::start_in_with(data, &["--grace=0s", "--max-bytes=80MiB"])
}

fn content(number: usize) -> Vec<u8> {
    let mut bytes = noise(BYTES);
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    bytes
}

/// Begins to send a body and leaves it unfinished.
fn begin(registry: &Registry, location: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = registry.connect();
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {BYTES}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(&bytes[..SENT]).expect("sent");
    stream
}

/// Stores and deletes images until the server is gone: every deletion is followed by a collection.
fn churn(registry: &Registry, stop: &AtomicBool, rounds: &AtomicU32) {
    while !stop.load(Ordering::SeqCst) {
        let tag = format!("t{}", rounds.fetch_add(1, Ordering::SeqCst));
        // The client panics where the server does not answer.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let digest = registry.push_image("churn", &tag);
            registry.delete(&format!("/v2/churn/manifests/{digest}"));
            registry.delete(&format!("/v2/churn/blobs/{}", Digest::sha256(format!("layer of {tag}").as_bytes())));
        }));
    }
}

#[test]
fn five_hundred_uploads_survive_a_kill() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let mut registry = start(&data);
    let locations: Vec<String> = (0..UPLOADS).map(|_| registry.open_session("a")).collect();
    let (stop, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(|| churn(&registry, &stop, &rounds))));
        let open: Vec<TcpStream> =
            locations.iter().enumerate().map(|(number, at)| begin(&registry, at, &content(number))).collect();
        while rounds.load(Ordering::SeqCst) < 20 {
            std::thread::yield_now();
        }
        registry.signal("KILL");
        stop.store(true, Ordering::SeqCst);
        drop(open);
    });
    registry.wait();
    assert_clean(&data);
    let (code, text) = run(&["gc", "--grace", "0s"], &data);
    assert_eq!(code, Some(0), "{text}");
    assert_clean(&data);
    let registry = start(&data);
    for (number, location) in locations.iter().enumerate().step_by(50) {
        let status = registry.get(location);
        assert_eq!(status.status, 204, "{status:?}");
        let range = status.header("range").expect("a range").to_owned();
        let last: usize = range.strip_prefix("0-").and_then(|text| text.parse().ok()).expect("a number");
        // An empty session says 0-0 as well; what it has is hashed at the end either way.
        let have = if last == 0 { 0 } else { last + 1 };
        assert!(have <= SENT, "{have}");
        let bytes = content(number);
        let target = with_digest(location, &Digest::sha256(&bytes));
        let header = format!("{have}-{}", BYTES - 1);
        let reply = registry.send("PUT", &target, &[("Content-Range", &header)], &bytes[have..]);
        assert_eq!(reply.status, 201, "{reply:?}");
        assert!(registry.get(&reply.location()).body == bytes);
    }
    drop(registry);
    assert_clean(&data);
}
