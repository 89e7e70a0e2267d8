//! Replicas under load: so many writes at once that a service must be fast to take them all in the time that servers
//! give it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use yadokari::digest::Digest;

use crate::registry::command::assert_clean;
use crate::registry::{Registry, image, noise, store};

/// Bytes of all objects of a place.
fn bucket_bytes(data: &Path) -> u64 {
    store::objects(data, "").iter().map(|(_, size)| size).sum()
}

#[test]
fn the_cap_holds_while_two_replicas_fill_it_and_read() {
    const CAP: u64 = 12 << 20;
    let data = PathBuf::from("/replicas/cap");
    let start = || Registry::start_in_with(&data, &["--max-bytes", "12MiB"]);
    let replicas = [start(), start()];
    let layer = |seed: u32| {
        let mut layer = noise(1 << 20);
        layer[..4].copy_from_slice(&seed.to_le_bytes());
        layer
    };
    let (done, pushed) = (AtomicBool::new(false), std::sync::atomic::AtomicU32::new(0));
    let (peak, served) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::SeqCst) {
                peak = peak.max(bucket_bytes(&data));
            }
            peak
        });
        let reader = scope.spawn(|| {
            let mut served = 0;
            for turn in (0_usize..).take_while(|_| !done.load(Ordering::SeqCst)) {
                let seed = pushed.load(Ordering::SeqCst).saturating_sub(3);
                let blob = replicas[turn % 2].get(&format!("/v2/a/blobs/{}", Digest::sha256(&layer(seed))));
                assert!(blob.status == 404 || blob.body == layer(seed), "{}", blob.status);
                served += u32::from(blob.status == 200);
            }
            served
        });
        let writers: Vec<_> = replicas
            .iter()
            .map(|registry| {
                let (pushed, layer) = (&pushed, &layer);
                scope.spawn(move || {
                    while let seed = pushed.fetch_add(1, Ordering::SeqCst)
                        && seed < 60
                    {
                        push(registry, &format!("t{seed}"), &layer(seed)).expect("room was made");
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().expect("all were taken"));
        done.store(true, Ordering::SeqCst);
        (watcher.join().expect("watched"), reader.join().expect("no wrong answer"))
    });
    assert!(peak <= CAP, "{peak}");
    assert!(served > 0);
    assert_clean(&data);
}
/// Pushes an image with a layer of its own; `None` when the replica is gone.
fn push(registry: &Registry, tag: &str, layer: &[u8]) -> Option<()> {
    let pushed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for blob in [layer, b"{}"] {
            let target = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(blob));
            assert_eq!(registry.send("POST", &target, &[], blob).status, 201);
        }
        assert_eq!(registry.put_manifest("a", tag, &image(layer)).status, 201);
    }));
    pushed.ok()
}

#[test]
fn killed_replicas_lose_nothing_that_was_confirmed_and_leave_nothing_half_done() {
    let data = PathBuf::from("/replicas/killed");
    let steady = Registry::start_in(&data);
    let confirmed = Mutex::new(BTreeMap::new());
    let note = |tag: String, layer: Vec<u8>| drop(confirmed.lock().expect("unpoisoned").insert(tag, layer));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (steady, note, done) = (&steady, &note, &done);
            scope.spawn(move || {
                for number in (0..).take_while(|_| !done.load(Ordering::SeqCst)) {
                    let (tag, mut layer) = (format!("steady-{writer}-{number}"), noise(40_000));
                    layer[..tag.len()].copy_from_slice(tag.as_bytes());
                    push(steady, &tag, &layer).expect("nobody kills this one");
                    note(tag, layer);
                }
            });
        }
        for round in 0..6_u64 {
            let mut doomed = Registry::start_in(&data);
            std::thread::scope(|inner| {
                for writer in 0..3 {
                    let (doomed, note) = (&doomed, &note);
                    inner.spawn(move || {
                        for number in 0.. {
                            let (tag, mut layer) = (format!("doomed-{round}-{writer}-{number}"), noise(40_000));
                            layer[..tag.len()].copy_from_slice(tag.as_bytes());
                            if push(doomed, &tag, &layer).is_none() {
                                return;
                            }
                            note(tag, layer);
                        }
                    });
                }
                let begun = format!("doomed-{round}-");
                while !confirmed.lock().expect("unpoisoned").keys().any(|tag: &String| tag.starts_with(&begun)) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                std::thread::sleep(Duration::from_millis(170 * round));
                doomed.signal("KILL");
            });
            doomed.wait();
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_clean(&data);
    let fresh = Registry::start_in(&data);
    let confirmed = confirmed.into_inner().expect("unpoisoned");
    assert!(confirmed.keys().any(|tag| tag.starts_with("doomed")), "{}", confirmed.len());
    for (tag, layer) in confirmed {
        for registry in [&steady, &fresh] {
            assert_eq!(registry.get(&format!("/v2/a/manifests/{tag}")).status, 200, "{tag}");
            let blob = registry.get(&format!("/v2/a/blobs/{}", Digest::sha256(&layer)));
            assert!(blob.body == layer, "{tag}");
        }
    }
}
