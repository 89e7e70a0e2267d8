//! Cache directories that are damaged, or hold results that do not belong together: misses, never other
//! images, and never an error.

#![allow(clippy::expect_used)]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use support::{Registry, assert_success, context, executor, text, write};
use tempfile::TempDir;

/// More than the index is used from.
const STEPS: usize = 20;

struct World {
    context: TempDir,
    place: TempDir,
}

impl World {
    fn new(dockerfile: &str) -> Self {
        Self { context: context(dockerfile, &[("f", "1")]), place: tempfile::tempdir().expect("directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Builds with the directory `cache`, without a repository unless `arguments` name one.
    fn build(&self, cache: &str, arguments: &[&str]) -> String {
        let image = self.path("image");
        let _ = fs::remove_dir_all(&image);
        let mut command = executor();
        command.env("TMPDIR", self.place.path()).arg("-c").arg(self.context.path());
        command.args(["--cache=true", "--no-push", "--no-push-cache", "--oci-layout-path"]).arg(image);
        command.arg("--cache-dir").arg(self.path(cache)).args(arguments);
        let output = command.output().expect("executor runs");
        assert_success(&output);
        text(&output)
    }

    fn layers(&self) -> Vec<PathBuf> {
        let json = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).expect("file")).expect("JSON") };
        let blob = |digest: &Value| {
            let hex = digest.as_str().expect("digest").trim_start_matches("sha256:").to_owned();
            self.path("image/blobs/sha256").join(hex)
        };
        let manifest = json(blob(&json(self.path("image/index.json"))["manifests"][0]["digest"]));
        manifest["layers"].as_array().expect("layers").iter().map(|layer| blob(&layer["digest"])).collect()
    }

    /// What a layer has in the file.
    fn file(&self, layer: usize, name: &str) -> String {
        support::run("tar", &["-xzOf", &self.layers()[layer].display().to_string(), name])
    }

    fn verify(&self, cache: &str) {
        let verified = executor().args(["cache", "verify", "--cache-dir"]).arg(self.path(cache)).output();
        assert_success(&verified.expect("executor runs"));
    }

    /// The files below a folder of the cache directory.
    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.path("cache").join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("folder") {
                let path = entry.expect("entry").path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }
}

fn copies() -> String {
    let copies: String = (0..STEPS).map(|step| format!("COPY f /d{step}/\n")).collect();
    format!("FROM scratch\n{copies}")
}

fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).expect("remove");
    fs::write(path, bytes).expect("write");
}

/// Says of the index that it is as this program has left it.
fn stamp(index: &Path) {
    let m = fs::metadata(index).expect("metadata");
    let stamp =
        format!("{} {} {}.{:09} {}.{:09}", m.ino(), m.size(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
    fs::write(index.with_file_name("index.stamp"), stamp).expect("stamp");
}

#[test]
fn whatever_becomes_of_the_index_the_records_are_found() {
    for kind in ["whole", "deleted", "truncated", "garbage", "of a newer version", "locked"] {
        let world = World::new(&copies());
        world.build("cache", &[]);
        // The stage is another one, so that its steps are looked up, which fills the index.
        for (step, layers) in [("LABEL a=1\nCOPY f /more/\n", STEPS), ("COPY f /most/\n", STEPS)] {
            write(world.context.path(), "Dockerfile", &format!("{}{step}", copies()));
            assert!(world.build("cache", &[]).contains(&format!("{layers} steps cached, 1 run")), "{kind}");
        }
        let index = world.path("cache/index.redb");
        let good = fs::read(&index).expect("index");
        let lock = File::open(world.path("cache/index.stamp")).expect("stamp");
        match kind {
            "deleted" => fs::remove_file(&index).expect("remove"),
            "truncated" => replace(&index, &good[..good.len() / 2]),
            "garbage" => replace(&index, &vec![0x5a; 70_000]),
            "of a newer version" => {
                // The format's version is the first byte of each commit slot (redb, docs/design.md).
                let mut newer = good;
                (newer[64], newer[192]) = (77, 77);
                replace(&index, &newer);
                stamp(&index);
            }
            "locked" => flock(&lock, FlockOperation::LockExclusive).expect("lock"),
            _ => {}
        }
        write(world.context.path(), "Dockerfile", &format!("{}COPY f /last/\n", copies()));
        let built = world.build("cache", &[]);
        assert!(built.contains(&format!("{STEPS} steps cached, 1 run")), "{kind}: {built}");
        assert_eq!((world.layers().len(), world.file(STEPS, "last/f").as_str()), (STEPS + 1, "1"), "{kind}");
        drop(lock);
        world.verify("cache");
    }
}

#[test]
fn damaged_records_and_layers_are_misses_and_made_again() {
    for kind in ["truncated record", "empty record", "garbage record", "other record", "truncated blob", "no blob"] {
        let world = World::new(&copies());
        world.build("cache", &[]);
        let folder = if kind.ends_with("record") { "records" } else { "blobs" };
        let other = fs::read(&world.files("records")[0]).expect("record");
        for path in world.files(folder) {
            let good = fs::read(&path).expect("file");
            match kind {
                "truncated record" | "truncated blob" => replace(&path, &good[..good.len() / 2]),
                "empty record" => replace(&path, b""),
                "garbage record" => replace(&path, b"{\"version\":1,\"key\":7}"),
                "no blob" => fs::remove_file(&path).expect("remove"),
                _ if good != other => replace(&path, &other),
                _ => fs::remove_file(&path).expect("remove"),
            }
        }
        // No index may know better.
        for name in ["index.redb", "index.stamp"] {
            let _ = fs::remove_file(world.path("cache").join(name));
        }
        let built = world.build("cache", &[]);
        assert!(built.contains(&format!("0 steps cached, {STEPS} run")), "{kind}: {built}");
        assert_eq!(world.file(STEPS - 1, &format!("d{}/f", STEPS - 1)), "1", "{kind}");
        // What is truncated is in nobody's way, but it is damage.
        let repaired =
            executor().args(["cache", "verify", "--repair", "--cache-dir"]).arg(world.path("cache")).output();
        drop(repaired.expect("executor runs"));
        assert!(world.build("cache", &[]).contains(&format!("{STEPS} steps cached, 0 run")), "{kind}");
        world.verify("cache");
    }
}

/// Two runners that ran a step with different results each have a result of the step after it; only one
/// of them fits.
#[test]
fn results_of_different_runs_are_not_mixed() {
    let registry = Registry::start();
    let first = format!("FROM {}\nRUN cat /proc/sys/kernel/random/uuid > /one\n", registry.push_base());
    let both = format!("{first}RUN cat /one > /two\n");
    let world = World::new(&first);
    world.build("mine", &[]);
    write(world.context.path(), "Dockerfile", &both);
    world.build("theirs", &[]);
    write(world.context.path(), "Dockerfile", &format!("{both}COPY f /f\n"));
    let theirs = format!("--cache-repo=oci:{}", world.path("theirs").display());
    for runs in [2, 0] {
        let built = world.build("mine", &[&theirs]);
        assert!(built.contains(&format!("{} steps cached, {runs} run", 3 - runs)), "{built}");
        assert_eq!(world.file(1, "one"), world.file(2, "two"));
    }
}

#[test]
fn a_stage_found_whole_has_only_layers_that_may_be_taken() {
    let registry = Registry::start();
    let dockerfile = format!("FROM {}\nRUN echo one > /one\nCOPY f /f\n", registry.push_base());
    let world = World::new(&dockerfile);
    world.build("cache", &[]);
    for (flag, cached, run) in
        [("--cache-run-layers=false", 1, 1), ("--cache-copy-layers=false", 1, 1), ("-v=info", 2, 0)]
    {
        let built = world.build("cache", &[flag]);
        assert!(built.contains(&format!("{cached} steps cached, {run} run")), "{flag}: {built}");
    }
}
