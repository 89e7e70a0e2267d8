//! `executor cache` on a directory and on a repository, after real builds.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use support::docker_registry::{self, DockerRegistry};
use support::{Registry, assert_success, context, executor, text, write};
use tempfile::TempDir;

const DOCKERFILE: &str = "FROM scratch\nCOPY a /a\nCOPY b /b\nWORKDIR /w\n";

fn build(context: &TempDir, registry: &Registry, arguments: &[&str]) -> Output {
    let output = executor()
        .arg("-c")
        .arg(context.path())
        .args(["--cache=true", "-d", &format!("{}/app:1", registry.address)])
        .args(arguments)
        .output()
        .expect("executor runs");
    assert_success(&output);
    output
}

fn cache(command: &str, place: [&str; 2], arguments: &[&str]) -> Output {
    let mut program: Command = executor();
    program.args(["cache", command]).args(place).args(arguments).output().expect("executor runs")
}

fn stdout(output: &Output) -> String {
    assert_success(output);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// Keys and instructions of the step records that are found under their definition keys.
fn steps(place: [&str; 2]) -> Vec<(String, String)> {
    let listed = json(&cache("ls", place, &["--json"]));
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let rows = listed.as_array().expect("a list").iter();
    let steps = rows.filter(|row| row["found_under"] == row["key"] && row.get("parts").is_some());
    steps.map(|row| (text(row, "key"), text(row, "instruction"))).collect()
}

/// Builds twice, with another content of `b`: four steps and one more.
fn build_twice(registry: &Registry, arguments: &[&str]) -> TempDir {
    let context = context(DOCKERFILE, &[("a", "one"), ("b", "one")]);
    build(&context, registry, arguments);
    write(context.path(), "b", "two");
    build(&context, registry, arguments);
    context
}

#[test]
fn records_of_a_directory_are_listed_shown_and_explained() {
    let registry = Registry::start();
    let store = tempfile::tempdir().expect("directory");
    let place = ["--cache-dir", store.path().to_str().expect("UTF-8")];
    build_twice(&registry, &["--no-push-cache", place[0], place[1]]);
    look_around(place);
    let stats = json(&cache("stats", place, &["--json"]));
    assert_eq!((stats["layers"].as_u64(), stats["running_builds"].as_u64()), (Some(4), Some(0)), "{stats}");
    assert_eq!(stats["unreferenced_blobs"], 0);
}

#[test]
fn records_of_a_repository_are_listed_shown_and_explained() {
    let registry = Registry::start();
    let repository = format!("{}/app/cache", registry.address);
    build_twice(&registry, &[]);
    look_around(["--cache-repo", &repository]);
    let place = ["--cache-repo", &*repository];
    assert!(stdout(&cache("stats", place, &[])).contains("blob bytes"));
    let verified = stdout(&cache("verify", place, &["--read"]));
    assert!(verified.contains("blobs read"), "{verified}");
    let nothing = cache("ls", ["--cache-repo", &format!("{}/nothing/here", registry.address)], &[]);
    assert_eq!(stdout(&nothing), "");
}

fn look_around(place: [&str; 2]) {
    let steps = steps(place);
    let of = |instruction: &str| steps.iter().filter(|(_, i)| i == instruction).map(|(k, _)| k).collect::<Vec<_>>();
    assert_eq!((of("COPY a /a").len(), of("COPY b /b").len(), of("WORKDIR /w").len()), (1, 2, 2), "{steps:?}");
    let table = stdout(&cache("ls", place, &["--instruction", "copy B"]));
    assert!(table.starts_with("KEY") && table.contains("COPY b /b") && !table.contains("COPY a /a"), "{table}");
    let key = of("COPY b /b")[0];
    let shown = stdout(&cache("show", place, &[&key[..10]]));
    assert!(shown.contains("COPY b /b") && shown.contains(key) && shown.contains("diff ID"), "{shown}");
    let explained = stdout(&cache("explain", place, &[key]));
    assert!(explained.contains("file b changed"), "{explained}");
    let both = json(&cache("explain", place, &[of("WORKDIR /w")[0], of("WORKDIR /w")[1], "--json"]));
    assert_eq!(both["differences"][0]["part"], "parent", "{both}");
    let unknown = cache("show", place, &["0123456789"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown).contains("no record has a key that begins with"), "{}", text(&unknown));
    let ambiguous = cache("show", place, &[""]);
    assert!(text(&ambiguous).contains("give more of it"), "{}", text(&ambiguous));
}

#[test]
fn damage_in_a_directory_is_an_exit_code_and_is_repaired() {
    let registry = Registry::start();
    let store = tempfile::tempdir().expect("directory");
    let place = ["--cache-dir", store.path().to_str().expect("UTF-8")];
    let context = build_twice(&registry, &["--no-push-cache", place[0], place[1]]);
    assert!(stdout(&cache("verify", place, &[])).contains("records"));
    for blob in fs::read_dir(store.path().join("blobs/sha256")).expect("blobs") {
        let path = blob.expect("entry").path();
        let mut bytes = fs::read(&path).expect("read");
        bytes[0] ^= 1;
        fs::write(&path, bytes).expect("write");
    }
    let damaged = cache("verify", place, &[]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(text(&damaged).contains("has digest") && text(&damaged).contains("--repair"), "{}", text(&damaged));
    assert!(stdout(&cache("verify", place, &["--repair"])).contains("blob sha256:"));
    assert!(stdout(&cache("verify", place, &[])).starts_with("0 records"));
    let again = build(&context, &registry, &["--no-push-cache", place[0], place[1]]);
    assert!(text(&again).contains("0 steps cached, 3 run"), "{}", text(&again));
}

#[test]
fn pruning_a_directory_says_what_goes_and_leaves_what_was_used() {
    let registry = Registry::start();
    let store = tempfile::tempdir().expect("directory");
    let place = ["--cache-dir", store.path().to_str().expect("UTF-8")];
    let context = build_twice(&registry, &["--no-push-cache", place[0], place[1]]);
    let everything = ["--older-than", "0s", "--keep-bytes", "0"];
    assert!(stdout(&cache("prune", place, &everything)).contains("0 of 0 removed"), "used within the hour");
    make_older(store.path());
    // The second content of `b` is used again: all that it needs is young then.
    build(&context, &registry, &["--no-push-cache", place[0], place[1]]);
    let dry = stdout(&cache("prune", place, &["--older-than", "7d", "--dry-run"]));
    assert!(dry.contains("would remove 30d") && dry.contains("record"), "{dry}");
    assert_eq!(steps(place).len(), 5);
    let done = stdout(&cache("prune", place, &["--older-than", "7d"]));
    assert!(!done.contains("stay"), "{done}");
    assert_eq!(steps(place).len(), 3, "{done}");
    assert!(stdout(&cache("verify", place, &[])).contains("checked"));
    let again = build(&context, &registry, &["--no-push-cache", place[0], place[1]]);
    assert!(text(&again).contains("3 steps cached, 0 run"), "{}", text(&again));
    let missing = cache("prune", ["--cache-dir", "/nonexistent"], &[]);
    assert_eq!(missing.status.code(), Some(2));
}

fn make_older(directory: &Path) {
    let month = std::time::SystemTime::now() - std::time::Duration::from_secs(30 * 24 * 3600);
    for part in ["records", "tocs", "blobs/sha256", "used"] {
        for entry in fs::read_dir(directory.join(part)).expect("list").map(|entry| entry.expect("entry")) {
            let times = fs::FileTimes::new().set_modified(month);
            fs::File::open(entry.path()).and_then(|file| file.set_times(times)).expect("times");
        }
    }
}

#[test]
fn builds_and_removals_at_the_same_time_do_not_meet() {
    let registry = Registry::start();
    let store = tempfile::tempdir().expect("directory");
    let place = ["--cache-dir", store.path().to_str().expect("UTF-8")];
    let context = context(DOCKERFILE, &[("a", "one"), ("b", "one")]);
    build(&context, &registry, &["--no-push-cache", place[0], place[1]]);
    for round in 0..12 {
        // All of it is old enough to go, and all of it is what the builds want.
        make_older(store.path());
        let target = tempfile::tempdir().expect("directory");
        let start = |name: &str| {
            let mut command = executor();
            command.arg("-c").arg(context.path()).args(["--cache=true", "--no-push", "--no-push-cache"]);
            command.args(place).arg("--oci-layout-path").arg(target.path().join(name));
            command.stderr(std::process::Stdio::piped()).spawn().expect("executor")
        };
        let builds = ["one", "two"].map(start);
        let pruned = cache("prune", place, &["--keep-bytes", "0"]);
        assert_success(&pruned);
        for build in builds {
            let output = build.wait_with_output().expect("wait");
            assert!(output.status.success(), "round {round}: {}\n{}", text(&output), text(&pruned));
        }
        assert_success(&cache("verify", place, &[]));
    }
}

#[test]
fn a_repository_is_pruned_through_its_api() {
    let registry = Registry::start();
    let repository = format!("{}/app/cache", registry.address);
    let place = ["--cache-repo", &*repository];
    build_twice(&registry, &[]);
    assert!(stdout(&cache("prune", place, &["--older-than", "7d"])).contains("0 of 0 manifests"));
    let dry = stdout(&cache("prune", place, &["--keep-bytes", "0", "--dry-run"]));
    assert!(dry.contains("would delete manifest sha256:"), "{dry}");
    assert_eq!(steps(place).len(), 5);
    let done = stdout(&cache("prune", place, &["--keep-bytes", "0"]));
    assert!(done.contains("0 B afterwards") && done.contains("garbage collection"), "{done}");
    assert_eq!(steps(place).len(), 0);
}

#[test]
fn a_registry_that_does_not_delete_is_named_with_what_to_do() {
    let registry = Registry::start();
    let context = context(DOCKERFILE, &[("a", "one"), ("b", "one")]);
    build(&context, &registry, &[]);
    // The same storage, served by one that was not allowed to delete.
    let other = DockerRegistry::start(|address, _| {
        docker_registry::plain(address, &registry.data()).replace("delete: {enabled: true}", "delete: {enabled: false}")
    });
    let refused = cache("prune", ["--cache-repo", &format!("{}/app/cache", other.address)], &["--keep-bytes", "0"]);
    assert_eq!(refused.status.code(), Some(1));
    let text = text(&refused);
    assert!(text.contains("does not let manifests be deleted") && text.contains("405"), "{text}");
}

#[test]
fn a_blob_that_the_registry_lost_is_damage() {
    let registry = Registry::start();
    let repository = format!("{}/app/cache", registry.address);
    let place = ["--cache-repo", &*repository];
    build_twice(&registry, &[]);
    let listed = json(&cache("ls", place, &["--json", "--instruction", "COPY a"]));
    let digest = listed[0]["layers"][0]["blob"]["digest"].as_str().expect("digest").to_owned();
    let hex = digest.trim_start_matches("sha256:");
    let path = registry.blob(hex);
    let mut bytes = fs::read(&path).expect("blob");
    bytes[20] ^= 1;
    fs::write(&path, bytes).expect("write");
    assert_success(&cache("verify", place, &[]));
    let damaged = cache("verify", place, &["--read"]);
    assert_eq!(damaged.status.code(), Some(1), "{}", text(&damaged));
    assert!(text(&damaged).contains(hex), "{}", text(&damaged));
    assert_success(&cache("verify", place, &["--read", "--repair"]));
    assert_success(&cache("verify", place, &["--read"]));
}
