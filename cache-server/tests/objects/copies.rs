//! Copies of the index that outlive a replica.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::registry::command::{serve, serve_in};
use crate::registry::{Registry, store};

fn command(place: &Path, copy: &Path) -> Command {
    let mut command = serve_in(place);
    command.arg("--data").arg(copy);
    command
}

fn start(place: &Path, copy: &Path) -> Registry {
    Registry::start_command(command(place, copy), place)
}

/// Which file it is: another one when it was made again.
fn identity(copy: &Path) -> u64 {
    std::fs::metadata(copy.join("index.redb")).expect("a copy").ino()
}

/// What the server says when it does not start.
fn refusal(mut command: Command) -> String {
    store::equip(&mut command);
    let output = command.output().expect("cache-server runs");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn assert_tags(registry: &Registry, expected: &[&str]) {
    let tags = registry.get("/v2/a/tags/list").json();
    assert_eq!(tags["tags"], serde_json::json!(expected));
    for tag in expected {
        assert_eq!(registry.get(&format!("/v2/a/manifests/{tag}")).status, 200);
    }
}

#[test]
fn a_killed_replica_goes_on_from_its_copy() {
    let (place, directory) = (Path::new("/copies/killed"), tempfile::tempdir().expect("temporary directory"));
    let copy = directory.path().join("copy");
    let other = Registry::start_in(place);
    for round in 0..4 {
        let one = start(place, &copy);
        one.push_image("a", &format!("own{round}"));
        one.kill();
        let before = identity(&copy);
        // Whatever others do meanwhile.
        other.push_image("a", &format!("seen{round}"));
        other.push_image("a", "moved");
        assert_eq!(other.delete(&format!("/v2/a/manifests/own{round}")).status, 202);
        assert_tags(&start(place, &copy), &["moved", "seen0", "seen1", "seen2", "seen3"][..round + 2]);
        assert_eq!(identity(&copy), before);
    }
}

#[test]
fn a_copy_of_something_else_is_not_used() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (copy, places) = (directory.path().join("copy"), [Path::new("/copies/one"), Path::new("/copies/another")]);
    // As many changes in the one as in the other, and then more.
    for (place, tag) in places.iter().zip(["first", "second"]) {
        Registry::start_in(place).push_image("a", tag);
    }
    start(places[0], &copy).kill();
    let before = std::fs::File::open(copy.join("index.redb")).expect("a copy");
    assert_tags(&start(places[1], &copy), &["second"]);
    // Still open here, so that its number is not given to another one.
    assert_ne!(identity(&copy), before.metadata().expect("open").ino());
    assert_tags(&start(places[0], &copy), &["first"]);
    Registry::start_in(places[1]).push_image("a", "third");
    let registry = start(places[1], &copy);
    assert_tags(&registry, &["second", "third"]);
    assert_eq!(registry.get("/v2/a/manifests/first").status, 404);
}

#[test]
fn a_damaged_copy_is_made_again() {
    let (place, directory) = (Path::new("/copies/damaged"), tempfile::tempdir().expect("temporary directory"));
    let registry = start(place, directory.path());
    registry.push_image("a", "v1");
    registry.kill();
    let file = directory.path().join("index.redb");
    let whole = std::fs::read(&file).expect("a copy");
    for damaged in [b"garbage".repeat(1000), whole[..whole.len() / 2].to_vec(), Vec::new()] {
        std::fs::write(&file, damaged).expect("written");
        let registry = start(place, directory.path());
        assert_tags(&registry, &["v1"]);
        registry.kill();
    }
}

#[test]
fn a_directory_holds_data_or_a_copy() {
    let (place, directory) = (Path::new("/copies/mixed"), tempfile::tempdir().expect("temporary directory"));
    let (data, copy) = (directory.path().join("data"), directory.path().join("copy"));
    let serve_without_store = |data: &Path| {
        let mut command = serve();
        command.arg("--data").arg(data);
        command
    };
    drop(Registry::start_command(serve_without_store(&data), &data));
    let running = start(place, &copy);
    assert!(refusal(command(place, &data)).contains("holds the data of a server without --store"));
    assert!(refusal(command(place, &copy)).contains("in use by another cache-server"));
    drop(running);
    assert!(refusal(serve_without_store(&copy)).contains("is not a data directory"));
    std::fs::write(directory.path().join("letter"), "dear all").expect("written");
    assert!(refusal(command(place, directory.path())).contains("or something else"));
}
