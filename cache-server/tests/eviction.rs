//! What goes and what stays: caps, quotas, collections, and kills in the middle of all that.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod registry;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use registry::command::{assert_clean, run};
use registry::{Registry, descriptor, digest_of, image, noise, store};
use serde_json::{Value, json};
use yadokari::digest::Digest;
use yadokari::image::media_type;

const MEBIBYTE: usize = 1 << 20;

/// Bytes of `seed`'s own.
fn content(seed: u32, length: usize) -> Vec<u8> {
    let mut bytes = noise(length);
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    bytes
}

/// Files below a directory, and the bytes that they take. One that is moved meanwhile counts once.
fn files(path: &Path, found: &mut BTreeMap<u64, u64>) {
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => files(&entry.path(), found),
            Ok(metadata) => drop(found.insert(metadata.ino(), metadata.blocks() * 512)),
            Err(_) => {}
        }
    }
}

fn disk_usage(path: &Path) -> u64 {
    let mut found = BTreeMap::new();
    files(path, &mut found);
    found.values().sum()
}

/// A record of a step: an image with the annotation that says how long it took.
fn record(layers: &[&[u8]], duration_ms: u64) -> Value {
    let mut manifest = image(layers[0]);
    manifest["layers"] = layers.iter().map(|layer| descriptor(media_type::OCI_LAYER, layer)).collect();
    manifest["annotations"] = json!({ "dev.yadokari.record": json!({ "duration_ms": duration_ms }).to_string() });
    manifest
}

fn push_record(registry: &Registry, repository: &str, tag: &str, layers: &[&[u8]], duration_ms: u64) -> u16 {
    for blob in layers.iter().copied().chain([&b"{}"[..]]) {
        let target = format!("/v2/{repository}/blobs/uploads/?digest={}", Digest::sha256(blob));
        let status = registry.send("POST", &target, &[], blob).status;
        if status != 201 {
            return status;
        }
    }
    registry.put_manifest(repository, tag, &record(layers, duration_ms)).status
}

fn has(registry: &Registry, repository: &str, tag: &str) -> bool {
    registry.head(&format!("/v2/{repository}/manifests/{tag}")).status == 200
}

#[test]
fn a_deleted_blob_frees_its_bytes_unless_another_repository_holds_it() {
    if store::in_bucket() {
        return;
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let registry = Registry::start_in_with(&data, &[]);
    let bytes = noise(MEBIBYTE);
    let digest = registry.push_blob("a", &bytes);
    registry.push_blob("b", &bytes);
    let path = data.join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex());
    assert_eq!(registry.delete(&format!("/v2/a/blobs/{digest}")).status, 202);
    assert!(path.exists());
    assert_eq!(registry.delete(&format!("/v2/b/blobs/{digest}")).status, 202);
    assert!(!path.exists());
    drop(registry);
    assert_clean(&data);
}

#[test]
fn a_blob_that_is_being_read_stays_until_it_was() {
    if store::in_bucket() {
        return;
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let registry = Registry::start_in_with(&data, &[]);
    let bytes = noise(32 * MEBIBYTE);
    let digest = registry.push_blob("a", &bytes);
    let mut stream = registry.connect();
    let head = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, head.as_bytes()).expect("sent");
    // The server answers: it has the file open.
    let mut first = [0; 1];
    std::io::Read::read_exact(&mut stream, &mut first).expect("an answer");
    assert_eq!(registry.delete(&format!("/v2/a/blobs/{digest}")).status, 202);
    let path = data.join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex());
    assert!(path.exists());
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut rest).expect("the rest");
    assert!(rest.ends_with(&bytes), "{}", rest.len());
    drop(registry);
    assert_clean(&data);
    assert!(!path.exists());
}

#[test]
fn the_least_worthy_record_goes_first_and_as_a_whole() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let registry = Registry::start_in_with(&data, &["--max-bytes", "12MiB"]);
    let layers: Vec<Vec<u8>> = (0..10).map(|seed| content(seed, MEBIBYTE)).collect();
    // Costly but oldest; cheap ones after it.
    assert_eq!(push_record(&registry, "a", "costly", &[&layers[0], &layers[1]], 600_000), 201);
    assert_eq!(push_record(&registry, "a", "cheap", &[&layers[2], &layers[3], &layers[4]], 1), 201);
    assert_eq!(push_record(&registry, "b", "middle", &[&layers[5], &layers[6]], 30_000), 201);
    assert_eq!(push_record(&registry, "a", "new", &[&layers[7], &layers[8], &layers[9]], 1), 201);
    assert_eq!(push_record(&registry, "a", "newer", &[&content(99, MEBIBYTE), &content(98, MEBIBYTE)], 1), 201);
    let left: Vec<bool> = ["costly", "cheap", "new", "newer"].map(|tag| has(&registry, "a", tag)).to_vec();
    assert_eq!(left, [true, false, true, true]);
    assert!(has(&registry, "b", "middle"));
    for layer in &layers[2..5] {
        assert_eq!(registry.head(&format!("/v2/a/blobs/{}", Digest::sha256(layer))).status, 404);
    }
    for layer in &layers[..2] {
        assert!(registry.get(&format!("/v2/a/blobs/{}", Digest::sha256(layer))).body == *layer);
    }
    drop(registry);
    assert_clean(&data);
}

#[test]
fn what_was_used_lately_stays() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let registry = Registry::start_in_with(&directory.path().join("data"), &["--max-bytes", "12MiB"]);
    for seed in 0..3 {
        assert_eq!(push_record(&registry, "a", &format!("t{seed}"), &[&content(seed, 3 * MEBIBYTE)], 0), 201);
    }
    assert_eq!(registry.get("/v2/a/manifests/t0").status, 200);
    assert_eq!(push_record(&registry, "a", "t3", &[&content(3, 3 * MEBIBYTE)], 0), 201);
    assert!(has(&registry, "a", "t0"));
    assert!(!has(&registry, "a", "t1") || !has(&registry, "a", "t2"));
}

#[test]
fn an_index_goes_with_its_children_and_referrers() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let registry = Registry::start_in_with(&data, &["--max-bytes", "10MiB"]);
    let layer = content(1, 2 * MEBIBYTE);
    registry.push_blob("a", &layer);
    registry.push_blob("a", b"{}");
    let child = image(&layer);
    let by_digest = digest_of(&child).to_string();
    assert_eq!(registry.put_manifest("a", &by_digest, &child).status, 201);
    let entry = descriptor(media_type::OCI_MANIFEST, child.to_string().as_bytes());
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry] });
    assert_eq!(registry.put_manifest("a", "multi", &index).status, 201);
    let mut signature = image(b"{}");
    signature["subject"] = descriptor(media_type::OCI_INDEX, index.to_string().as_bytes());
    assert_eq!(registry.put_manifest("a", &digest_of(&signature).to_string(), &signature).status, 201);
    for seed in 10..14 {
        assert_eq!(push_record(&registry, "b", &format!("t{seed}"), &[&content(seed, 2 * MEBIBYTE)], 0), 201);
    }
    let signature = digest_of(&signature).to_string();
    let manifests = ["multi", by_digest.as_str(), signature.as_str()];
    let left = manifests.map(|reference| has(&registry, "a", reference));
    assert_eq!(left, [false; 3]);
    assert_eq!(registry.head(&format!("/v2/a/blobs/{}", Digest::sha256(&layer))).status, 404);
    drop(registry);
    assert_clean(&data);
}

#[test]
fn uploads_that_cannot_fit_are_refused_before_they_come() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let registry = Registry::start_in_with(&directory.path().join("data"), &["--max-bytes", "8MiB"]);
    let huge = content(1, 9 * MEBIBYTE);
    let target = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&huge));
    let reply = registry.send("POST", &target, &[], &huge);
    reply.is_error(413, "SIZE_INVALID");
    // Blobs that are about to get their manifest are not removed for others.
    registry.push_blob("a", &content(2, 4 * MEBIBYTE));
    let more = content(3, 4 * MEBIBYTE);
    let target = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&more));
    registry.send("POST", &target, &[], &more).is_error(507, "UNAVAILABLE");
    registry.push_blob("a", &content(4, MEBIBYTE));
}

#[test]
fn a_repository_keeps_to_its_quota() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let registry = Registry::start_in_with(&directory.path().join("data"), &["--quota", "team/*=5MiB"]);
    for seed in 0..4 {
        assert_eq!(push_record(&registry, "team/a", &format!("t{seed}"), &[&content(seed, 2 * MEBIBYTE)], 0), 201);
        assert_eq!(push_record(&registry, "other", &format!("t{seed}"), &[&content(seed, 2 * MEBIBYTE)], 0), 201);
    }
    let left = |repository: &str| (0..4).filter(|seed| has(&registry, repository, &format!("t{seed}"))).count();
    assert_eq!((left("team/a"), left("other")), (2, 4));
    assert!(has(&registry, "team/a", "t3"));
}

#[test]
fn collection_removes_what_nothing_needs() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let registry = Registry::start_in_with(&data, &[]);
    let (loose, layer, gone) = (content(1, MEBIBYTE), content(2, MEBIBYTE), content(3, MEBIBYTE));
    registry.push_blob("a", &loose);
    assert_eq!(push_record(&registry, "a", "whole", &[&layer], 0), 201);
    assert_eq!(push_record(&registry, "a", "broken", &[&gone, &layer], 0), 201);
    assert_eq!(registry.delete(&format!("/v2/a/blobs/{}", Digest::sha256(&gone))).status, 202);
    drop(registry);
    let (code, text) = run(&["gc", "--grace", "0s", "--ttl=1d"], &data);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("removed 1 manifests, 1 blobs"), "{text}");
    assert_clean(&data);
    let registry = Registry::start_in_with(&data, &[]);
    assert!(has(&registry, "a", "whole") && !has(&registry, "a", "broken"));
    assert_eq!(registry.head(&format!("/v2/a/blobs/{}", Digest::sha256(&loose))).status, 404);
    assert!(registry.get(&format!("/v2/a/blobs/{}", Digest::sha256(&layer))).body == layer);
}

#[test]
fn stats_say_what_takes_the_space() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let registry = Registry::start_in_with(&data, &[]);
    registry.push_image("small", "v1");
    assert_eq!(push_record(&registry, "large", "v1", &[&noise(MEBIBYTE)], 0), 201);
    drop(registry);
    let (code, text) = run(&["stats"], &data);
    assert_eq!(code, Some(0), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("3 blobs of 1056768 bytes, 0 unfinished uploads"), "{text}");
    assert_eq!(lines[1], "large: 1 manifests, 1 tags, 0 pins, blobs of 1048578 bytes");
    assert!(lines[2].starts_with("small: 1 manifests, 1 tags"), "{text}");
    let json: Value = serde_json::from_str(&run(&["stats", "--json"], &data).1).expect("JSON");
    assert_eq!(json["repositories"][0]["name"], json!("large"));
}

#[test]
fn verify_finds_damage() {
    if store::in_bucket() {
        return;
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let registry = Registry::start_in_with(&data, &[]);
    let digest = registry.push_blob("a", &noise(5000));
    drop(registry);
    assert_clean(&data);
    let path = data.join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex());
    std::fs::write(&path, vec![0; 5000]).expect("written");
    let (code, text) = run(&["verify"], &data);
    assert!(code == Some(1) && text.contains("the content has the digest"), "{text}");
    assert_eq!(run(&["verify", "--quick"], &data).0, Some(0));
    std::fs::write(&path, b"short").expect("written");
    assert_eq!(run(&["verify", "--quick"], &data).0, Some(1));
    std::fs::write(path.with_file_name("0".repeat(64)), b"").expect("written");
    assert!(run(&["verify"], &data).1.contains("belongs to nothing"));
    assert!(run(&["verify"], directory.path()).1.contains("not a data directory"));
}

#[test]
fn the_cap_holds_while_it_is_filled_many_times_over_and_read() {
    if store::in_bucket() {
        return;
    }
    const CAP: u64 = 10 << 20;
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let registry = Registry::start_in_with(&data, &["--max-bytes", "10MiB"]);
    let (done, pushed, served) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let peak = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::SeqCst) {
                peak = peak.max(disk_usage(&data));
            }
            peak
        });
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| read_back(&registry, &done, &pushed, &served))).collect();
        let writers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while let seed = pushed.fetch_add(1, Ordering::SeqCst)
                        && seed < 210
                    {
                        let layer = content(seed, MEBIBYTE);
                        assert_eq!(push_record(&registry, "a", &format!("t{seed}"), &[&layer], 0), 201);
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().expect("all were taken"));
        done.store(true, Ordering::SeqCst);
        readers.into_iter().for_each(|reader| reader.join().expect("no wrong answer"));
        watcher.join().expect("watched")
    });
    // A look at many files takes a while: what was removed and what came instead may both be seen.
    assert!(peak <= CAP + 2 * MEBIBYTE as u64, "{peak}");
    assert!(served.load(Ordering::SeqCst) > 0);
    drop(registry);
    assert_clean(&data);
}

/// Pulls what was pushed last: it is there as a whole, or it is absent.
fn read_back(registry: &Registry, done: &AtomicBool, pushed: &AtomicU32, served: &AtomicU32) {
    while !done.load(Ordering::SeqCst) {
        let seed = pushed.load(Ordering::SeqCst).saturating_sub(5);
        let manifest = registry.get(&format!("/v2/a/manifests/t{seed}"));
        if manifest.status == 404 {
            continue;
        }
        assert_eq!(manifest.status, 200);
        let digest = manifest.json()["layers"][0]["digest"].as_str().expect("a digest").to_owned();
        let blob = registry.get(&format!("/v2/a/blobs/{digest}"));
        match blob.status {
            200 => assert!(blob.body == content(seed, MEBIBYTE)),
            other => assert_eq!(other, 404),
        }
        served.fetch_add(u32::from(blob.status == 200), Ordering::SeqCst);
    }
}

#[test]
fn kills_among_uploads_and_collections_leave_everything_in_order() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let data = directory.path().join("data");
    let mut seed = 0;
    for round in 0..6 {
        let mut registry = Registry::start_in_with(&data, &["--max-bytes", "16MiB", "--grace", "0s"]);
        let confirmed = std::thread::scope(|scope| {
            let first = seed;
            let writers: Vec<_> = (0..4)
                .map(|n| {
                    scope.spawn({
                        let registry = &registry;
                        move || push_until_killed(registry, first + n * 1000)
                    })
                })
                .collect();
            std::thread::sleep(std::time::Duration::from_millis(150 + 70 * round));
            registry.signal("KILL");
            writers.into_iter().flat_map(|writer| writer.join().expect("ended")).collect::<Vec<u32>>()
        });
        registry.wait();
        assert_clean(&data);
        let (code, text) = run(&["gc", "--grace", "0s"], &data);
        assert_eq!(code, Some(0), "{text}");
        assert_clean(&data);
        // The last ones that were confirmed are there as a whole.
        let registry = Registry::start_in_with(&data, &["--max-bytes", "16MiB"]);
        for seed in confirmed.iter().rev().take(1) {
            let layer = content(*seed, 200_000);
            assert!(has(&registry, "a", &format!("t{seed}")));
            assert!(registry.get(&format!("/v2/a/blobs/{}", Digest::sha256(&layer))).body == layer);
        }
        seed += 10_000;
    }
}

/// Pushes records until the server is gone; returns those that it confirmed.
fn push_until_killed(registry: &Registry, first: u32) -> Vec<u32> {
    let mut confirmed = Vec::new();
    for seed in first.. {
        let layer = content(seed, 200_000);
        // The client panics where the server does not answer.
        let pushed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            push_record(registry, "a", &format!("t{seed}"), &[&layer], 0)
        }));
        match pushed {
            Ok(201) => confirmed.push(seed),
            Ok(status) => assert_eq!(status, 400, "a blob that no manifest named was collected"),
            Err(_) => break,
        }
    }
    confirmed
}
