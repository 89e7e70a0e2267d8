//! An index that is lost, damaged or old is made again from the journal, with all that was confirmed.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod registry;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use registry::command::{assert_clean, run, serve_in};
use registry::{Registry, noise};
use serde_json::json;

/// All that a client sees of a repository: tags and pins, and what each tag names, to the last byte.
fn seen(registry: &Registry) -> Vec<Vec<u8>> {
    let tags = registry.get("/v2/a/tags/list");
    let mut all = vec![registry.get("/v2/a/_yadokari/pins").body, tags.body.clone()];
    for tag in tags.json()["tags"].as_array().expect("tags").iter().filter_map(|tag| tag.as_str()) {
        let manifest = registry.get(&format!("/v2/a/manifests/{tag}"));
        assert_eq!(manifest.status, 200, "{tag}");
        let layer = manifest.json()["layers"][0]["digest"].as_str().expect("a layer").to_owned();
        let blob = registry.get(&format!("/v2/a/blobs/{layer}"));
        assert_eq!(blob.status, 200, "{tag}");
        let referrers =
            registry.get(&format!("/v2/a/referrers/{}", manifest.header("docker-content-digest").expect("one")));
        all.extend([manifest.body, blob.body, referrers.body]);
    }
    all
}

/// A server with content of all kinds, some of it changed and removed again.
fn fill(registry: &Registry) {
    for number in 0..8 {
        registry.push_image("a", &format!("v{number}"));
    }
    let subject = registry.push_image("a", "signed");
    let mut signature = registry.push_parts("a", "signature");
    signature["subject"] = json!({ "mediaType": signature["mediaType"], "digest": subject.to_string(), "size": 1 });
    assert_eq!(registry.put_manifest("a", "signature", &signature).status, 201);
    let moved = registry.push_image("a", "moved");
    let again = registry.push_parts("a", "somewhere else");
    assert_eq!(registry.put_manifest("a", "moved", &again).status, 201);
    assert_eq!(registry.delete(&format!("/v2/a/manifests/{moved}")).status, 202);
    assert_eq!(registry.delete("/v2/a/manifests/v3").status, 202);
    assert_eq!(
        registry.send("PUT", "/v2/a/_yadokari/pins/v1", &[("Content-Type", "application/json")], b"{}").status / 100,
        2
    );
}

/// Starts the server; its log is in `log`.
fn start(data: &Path, log: &Path) -> Registry {
    let mut command = serve_in(data);
    command.stderr(fs::File::create(log).expect("made"));
    Registry::start_command(command, data)
}

struct Place {
    _directory: tempfile::TempDir,
    data: PathBuf,
    log: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (data, log) = (directory.path().join("data"), directory.path().join("log"));
        Self { _directory: directory, data, log }
    }

    fn index(&self) -> PathBuf {
        self.data.join("index.redb")
    }

    fn start(&self) -> Registry {
        start(&self.data, &self.log)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }
}

/// Spoils an index.
type Damage = Box<dyn Fn(&Path)>;

/// Ways to do so, and what is said about each.
fn damages() -> Vec<(&'static str, Damage)> {
    let cut = |share: u64| {
        move |index: &Path| {
            let file = fs::File::options().write(true).open(index).expect("opened");
            let length = file.metadata().expect("a file").len();
            file.set_len(length * share / 100).expect("cut off");
        }
    };
    let overwrite = |from: usize| {
        move |index: &Path| {
            let mut bytes = fs::read(index).expect("read");
            let noise = noise(bytes.len() - from);
            bytes[from..].copy_from_slice(&noise);
            fs::write(index, bytes).expect("written");
        }
    };
    vec![
        ("is gone", Box::new(|index: &Path| fs::remove_file(index).expect("removed"))),
        ("is empty", Box::new(cut(0))),
        ("cannot be read", Box::new(cut(1))),
        ("cannot be read", Box::new(cut(50))),
        ("cannot be read", Box::new(overwrite(0))),
        // Everything but its first page: redb panics.
        ("cannot be read", Box::new(overwrite(4096))),
    ]
}

#[test]
fn an_index_that_is_lost_or_damaged_comes_back() {
    let place = Place::new();
    let registry = place.start();
    fill(&registry);
    let mut expected = seen(&registry);
    registry.kill();
    for (number, (said, damage)) in damages().into_iter().enumerate() {
        damage(&place.index());
        let registry = place.start();
        let log = place.log();
        assert!(log.contains(said) && log.contains("made again from the journal"), "{number}: {log}");
        assert!(seen(&registry) == expected, "{number}");
        // The journal goes on where it was.
        registry.push_image("a", &format!("after-{number}"));
        expected = seen(&registry);
        registry.kill();
        assert_clean(&place.data);
        assert_eq!(place.data.join("index.redb.damaged").exists(), number > 0);
    }
    let (code, text) = run(&["rebuild"], &place.data);
    assert_eq!(code, Some(0), "{text}");
    assert_clean(&place.data);
    assert!(seen(&place.start()) == expected);
}

/// Pushes and deletes images until the server is gone; returns the tags that were confirmed.
fn churn(registry: &Registry, writer: usize, confirmed: &AtomicUsize) -> Vec<String> {
    let mut kept = Vec::new();
    for number in 0.. {
        let (stays, goes) = (format!("w{writer}-{number}"), format!("w{writer}-{number}-gone"));
        // The client panics where the server does not answer.
        let done = catch_unwind(AssertUnwindSafe(|| {
            registry.push_image("a", &stays);
            registry.push_image("a", &goes);
            assert_eq!(registry.delete(&format!("/v2/a/manifests/{goes}")).status, 202);
        }));
        if done.is_err() {
            break;
        }
        kept.push(stays);
        confirmed.fetch_add(1, Ordering::SeqCst);
    }
    kept
}

#[test]
fn what_was_confirmed_before_a_kill_survives_the_loss_of_the_index() {
    let place = Place::new();
    for round in 0..3 {
        let registry = place.start();
        let confirmed = AtomicUsize::new(0);
        let kept: Vec<String> = std::thread::scope(|scope| {
            let (registry, confirmed) = (&registry, &confirmed);
            let writers: Vec<_> =
                (0..4).map(|writer| scope.spawn(move || churn(registry, 4 * round + writer, confirmed))).collect();
            while confirmed.load(Ordering::SeqCst) < 30 {
                std::thread::yield_now();
            }
            registry.signal("KILL");
            writers.into_iter().flat_map(|writer| writer.join().expect("no panic")).collect()
        });
        registry.kill();
        fs::remove_file(place.index()).expect("removed");
        let registry = place.start();
        let tags = registry.get("/v2/a/tags/list").json();
        let tags: Vec<&str> = tags["tags"].as_array().expect("tags").iter().filter_map(|tag| tag.as_str()).collect();
        for tag in &kept {
            assert!(tags.contains(&tag.as_str()), "{tag} is lost");
            assert!(!tags.contains(&format!("{tag}-gone").as_str()), "{tag}-gone is back");
            assert_eq!(registry.get(&format!("/v2/a/manifests/{tag}")).status, 200);
        }
        registry.kill();
        assert_clean(&place.data);
    }
}

#[test]
fn an_old_copy_of_the_index_catches_up() {
    let place = Place::new();
    let registry = place.start();
    fill(&registry);
    registry.kill();
    let old = fs::read(place.index()).expect("read");
    let registry = place.start();
    registry.push_image("a", "later");
    assert_eq!(registry.delete("/v2/a/manifests/v5").status, 202);
    let expected = seen(&registry);
    registry.kill();
    fs::write(place.index(), old).expect("written");
    let registry = place.start();
    assert!(place.log().contains("behind its journal"), "{}", place.log());
    assert!(seen(&registry) == expected);
    registry.kill();
    assert_clean(&place.data);
}

#[test]
fn the_journal_stays_short_and_comes_back_from_the_index() {
    let place = Place::new();
    let mut registry = place.start();
    fill(&registry);
    let mut manifest = registry.push_parts("a", "large");
    for number in 0..40 {
        manifest["annotations"] = json!({ "filler": "x".repeat(200_000), "number": number.to_string() });
        assert_eq!(registry.put_manifest("a", "large", &manifest).status, 201);
        let digest = registry::digest_of(&manifest);
        assert_eq!(registry.delete(&format!("/v2/a/manifests/{digest}")).status, 202);
    }
    let expected = seen(&registry);
    // Ends a snapshot that is being written.
    registry.signal("TERM");
    registry.wait();
    let journal = place.data.join("journal");
    let files = || fs::read_dir(&journal).expect("listed").map(|entry| entry.expect("an entry").path());
    let bytes: u64 = files().map(|path| fs::metadata(path).expect("a file").len()).sum();
    assert!(bytes < 4 << 20, "8 MB were written, and {bytes} bytes stayed");
    fs::remove_file(place.index()).expect("removed");
    let registry = place.start();
    assert!(seen(&registry) == expected);
    registry.kill();
    assert_clean(&place.data);
    // A journal that is damaged is found, and replaced when it was removed.
    let snapshot = files().find(|path| path.extension().is_some_and(|kind| kind == "snapshot")).expect("a snapshot");
    let mut content = fs::read(&snapshot).expect("read");
    content[30] ^= 1;
    fs::write(&snapshot, content).expect("written");
    let (code, text) = run(&["verify"], &place.data);
    assert!(code == Some(1) && text.contains("is damaged: remove"), "{text}");
    let (code, text) = run(&["rebuild"], &place.data);
    assert_eq!(code, Some(1), "{text}");
    // The index is where it was.
    fs::remove_dir_all(&journal).expect("removed");
    assert!(seen(&place.start()) == expected);
    assert_clean(&place.data);
}

#[test]
fn a_directory_of_an_older_program_gets_a_journal() {
    let place = Place::new();
    let registry = place.start();
    fill(&registry);
    let expected = seen(&registry);
    registry.kill();
    fs::write(place.data.join("format"), "yadokari cache-server 2\n").expect("written");
    // It did not keep the journal up to date.
    fs::remove_dir_all(place.data.join("journal")).expect("removed");
    assert!(seen(&place.start()) == expected);
    fs::remove_file(place.index()).expect("removed");
    assert!(seen(&place.start()) == expected);
    assert_clean(&place.data);
}
