//! Executors that are killed at any moment leave a cache that is whole and tells no lies.
//!
//! `KILLS=200 cargo test --test kill_loop` for more rounds than the usual 30.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Registry, assert_success, context, executor, text, write};
use tempfile::TempDir;

struct World {
    _registry: Registry,
    context: TempDir,
    /// The cache directory, the layouts, and what killed builds leave in `TMPDIR`.
    place: TempDir,
}

impl World {
    fn new() -> Self {
        let registry = Registry::start();
        let base = registry.push_base();
        let dockerfile = format!(
            "FROM {base} AS made\nCOPY common /common\nRUN cat /common > /all\nCOPY seed /seed\nRUN cat /seed /common > /made\n\
             FROM {base}\nCOPY --from=made /made /made\nRUN cat /made > /final\n"
        );
        let context = context(&dockerfile, &[("common", "always\n"), ("seed", "0\n")]);
        Self { _registry: registry, context, place: tempfile::tempdir().expect("directory") }
    }

    fn cache(&self) -> PathBuf {
        self.place.path().join("cache")
    }

    fn command(&self) -> Command {
        let mut command = executor();
        command.env("TMPDIR", self.place.path()).arg("-c").arg(self.context.path());
        command.args(["--cache=true", "--no-push", "--no-push-cache"]).arg("--cache-dir").arg(self.cache());
        command
    }

    /// Builds to the end; returns what the image says, and how long it took.
    fn build(&self) -> (String, Duration) {
        let started = Instant::now();
        let layout = self.place.path().join("image");
        let output = self.command().arg("--oci-layout-path").arg(&layout).output().expect("executor runs");
        assert_success(&output);
        let took = started.elapsed();
        let said = file_of_last_layer(&layout, "final");
        fs::remove_dir_all(&layout).expect("remove");
        (said, took)
    }

    fn verify(&self, round: usize) {
        let output =
            executor().args(["cache", "verify", "--cache-dir"]).arg(self.cache()).output().expect("executor runs");
        assert!(output.status.success(), "round {round}: {}", text(&output));
    }
}

fn file_of_last_layer(layout: &Path, name: &str) -> String {
    let json = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).expect("file")).expect("JSON") };
    let blob = |digest: &Value| {
        layout.join("blobs/sha256").join(digest.as_str().expect("digest").trim_start_matches("sha256:"))
    };
    let index = json(layout.join("index.json"));
    let manifest = json(blob(&index["manifests"][0]["digest"]));
    let last = manifest["layers"].as_array().and_then(|layers| layers.last()).expect("layers").clone();
    support::run("tar", &["-xzOf", blob(&last["digest"]).to_str().expect("UTF-8"), name])
}

#[test]
fn the_cache_is_whole_after_every_kill_and_says_what_is_true() {
    let kills: usize = std::env::var("KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let world = World::new();
    let (said, whole) = world.build();
    assert_eq!(said, "0\nalways\n");
    let random = RandomState::new();
    for round in 1..=kills {
        // Half of the rounds build what an earlier one was killed in.
        let seed = round / 2;
        write(world.context.path(), "seed", &format!("{seed}\n"));
        let mut child = world.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("executor");
        let part = random.hash_one(round) as f64 / u64::MAX as f64;
        std::thread::sleep(whole.mul_f64(part * 1.1));
        let _ = child.kill();
        child.wait().expect("wait");
        world.verify(round);
        // What was left is used for another build; each now and then goes to its end.
        if round % 3 == 0 {
            let (said, _) = world.build();
            assert_eq!(said, format!("{seed}\nalways\n"), "round {round}");
            world.verify(round);
        }
    }
}
