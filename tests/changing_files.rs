//! Files of the build context that change after the keys were made, and before a step takes them: the
//! build ends and says so, and no record has other files than its key says.

#![allow(clippy::expect_used)]

mod support;

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::{Registry, assert_success, executor, run, text, write};
use tempfile::TempDir;

/// A step that takes the file `NAME` in the context, or in the named context `other`.
struct Case {
    name: &'static str,
    step: &'static str,
    /// Where its content is in the layer of the step.
    result: &'static str,
    write: fn(&Path, &str),
}

fn plain(path: &Path, content: &str) {
    fs::write(path, content).expect("file");
}

/// More than a block of a layer.
fn long(path: &Path, content: &str) {
    fs::write(path, content.repeat(300_000)).expect("file");
}

fn pack(path: &Path, content: &str, flag: &str) {
    let directory = tempfile::tempdir().expect("directory");
    write(directory.path(), "in", content);
    run("tar", &["-C", &directory.path().display().to_string(), flag, &path.display().to_string(), "in"]);
}

const CASES: &[Case] = &[
    Case { name: "file", step: "COPY NAME /c/NAME", result: "c/file", write: plain },
    Case { name: "long", step: "COPY --chmod=600 l* /c/", result: "c/long", write: long },
    Case { name: "added", step: "ADD NAME /c/NAME", result: "c/added", write: plain },
    Case { name: "named", step: "COPY --from=other named /c/", result: "c/named", write: plain },
    Case {
        name: "mounted",
        step: "RUN --mount=type=bind,source=NAME,target=/m cat /m > /r",
        result: "r",
        write: plain,
    },
    Case {
        name: "directory/mounted",
        step: "RUN --mount=type=bind,source=directory,target=/m,rw cat /m/mounted > /r",
        result: "r",
        write: plain,
    },
    Case {
        name: "seed",
        step: "RUN --mount=type=cache,id=seed,from=other,source=/,target=/m cat /m/seed > /r",
        result: "r",
        write: plain,
    },
    Case { name: "pack.tar", step: "ADD NAME /a/", result: "a/in", write: |path, content| pack(path, content, "-cf") },
    Case {
        name: "pack.tar.gz",
        step: "ADD NAME /a/",
        result: "a/in",
        write: |path, content| pack(path, content, "-czf"),
    },
];

/// The second content is as long as the first.
const CONTENTS: [&str; 2] = ["before", "behind"];

struct World {
    _registry: Registry,
    base: String,
    place: TempDir,
}

impl World {
    fn new() -> Self {
        let registry = Registry::start();
        let (base, place) = (registry.push_base(), tempfile::tempdir().expect("directory"));
        fs::create_dir_all(place.path().join("context/directory")).expect("directory");
        Self { _registry: registry, base, place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path("context").join(name)
    }

    fn build(&self, dockerfile: &str, cache: &str) -> Output {
        let image = self.path("image");
        let _ = fs::remove_dir_all(&image);
        write(self.place.path(), "Dockerfile", dockerfile);
        let mut command = executor();
        command.env("TMPDIR", self.place.path()).arg("-c").arg(self.path("context"));
        command.arg("-f").arg(self.path("Dockerfile"));
        command.arg(format!("--build-context=other={}", self.path("context").display()));
        command.args(["--cache=true", "--no-push", "--no-push-cache", "--oci-layout-path"]).arg(image);
        command.arg("--cache-dir").arg(self.path(cache)).output().expect("executor runs")
    }

    /// What the last layer of the image has in the file.
    fn last(&self, name: &str) -> String {
        let blob = |digest: &Value| {
            let hex = digest.as_str().expect("digest").trim_start_matches("sha256:").to_owned();
            self.path("image/blobs/sha256").join(hex)
        };
        let json = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).expect("file")).expect("JSON") };
        let manifest = json(blob(&json(self.path("image/index.json"))["manifests"][0]["digest"]));
        let layer = manifest["layers"].as_array().and_then(|layers| layers.last()).expect("a layer");
        run("tar", &["-xzOf", &blob(&layer["digest"]).display().to_string(), name])
    }

    fn verify(&self, cache: &str) {
        let verified = executor().args(["cache", "verify", "--cache-dir"]).arg(self.path(cache)).output();
        assert_success(&verified.expect("executor runs"));
    }

    /// Builds a Dockerfile whose first step lets `change` happen, when the keys of all steps are made.
    /// Returns the Dockerfile as well; its first step is cached from then on.
    fn build_with_a_change(&self, step: &str, cache: &str, change: impl FnOnce() + Send) -> (String, Output) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("address");
        let meet = format!("busybox nc 127.0.0.1 {} < /dev/null", address.port());
        let dockerfile = format!("FROM {}\nRUN {meet}\n{step}\n", self.base);
        let output = thread::scope(|scope| {
            let meeting = scope.spawn(|| {
                let (stream, _) = listener.accept().expect("the step");
                change();
                drop(stream);
            });
            let output = self.build(&dockerfile, cache);
            // Where no step came, the build failed before.
            let _ = TcpStream::connect(address);
            meeting.join().expect("no panic");
            output
        });
        (dockerfile, output)
    }

    fn check(&self, case: &Case, cache: &str) {
        let (name, step) = (case.name, case.step.replace("NAME", case.name));
        let write = |content: &str| (case.write)(&self.file(name), content);
        let (dockerfile, output) = self.build_with_a_change(&step, cache, || write(CONTENTS[1]));
        let said = text(&output);
        assert!(!output.status.success(), "{name}: {said}");
        assert!(said.contains("changed while it was read") && said.contains(name), "{name}: {said}");
        for content in [CONTENTS[0], CONTENTS[1], CONTENTS[0]] {
            write(content);
            assert_success(&self.build(&dockerfile, cache));
            let found = self.last(case.result);
            assert!(found.starts_with(content), "{name}: {content} expected, the image has {found:.20}");
        }
        self.verify(cache);
    }

    fn write_all(&self) {
        CASES.iter().for_each(|case| (case.write)(&self.file(case.name), CONTENTS[0]));
    }
}

#[test]
fn a_file_that_changes_between_its_key_and_its_layer_ends_the_build() {
    let world = World::new();
    world.write_all();
    CASES.iter().enumerate().for_each(|(number, case)| world.check(case, &format!("cache{number}")));
}

/// What earlier builds have hashed is not read for the keys; it is compared all the same.
#[test]
fn so_does_one_whose_hash_is_remembered() {
    let world = World::new();
    world.write_all();
    // What was written less than five seconds ago is not remembered.
    thread::sleep(Duration::from_secs(6));
    let learning = world.build("FROM scratch\nCOPY . /\nCOPY --from=other . /other\n", "cache");
    assert_success(&learning);
    assert_eq!(remembered(&world.path("cache")), 1, "{}", text(&learning));
    CASES.iter().for_each(|case| world.check(case, "cache"));
}

/// How many contexts have more than one file there.
fn remembered(cache: &Path) -> usize {
    let listed = fs::read_dir(cache.join("contexts")).into_iter().flatten().flatten();
    listed.filter(|entry| entry.metadata().is_ok_and(|found| found.len() > 200)).count()
}

#[test]
fn a_file_that_became_a_pipe_or_a_link_is_neither_waited_for_nor_followed() {
    let world = World::new();
    for name in ["pipe", "link"] {
        for step in ["COPY NAME /c/", "ADD NAME /c/", "RUN --mount=type=bind,source=NAME,target=/m true"] {
            let (path, step) = (world.file(name), step.replace("NAME", name));
            let _ = fs::remove_file(&path);
            plain(&path, CONTENTS[0]);
            let (_, output) = world.build_with_a_change(&step, "cache", || {
                fs::remove_file(&path).expect("remove");
                match name {
                    "pipe" => drop(run("mkfifo", &[&path.display().to_string()])),
                    _ => symlink("/etc/passwd", &path).expect("link"),
                }
            });
            assert!(!output.status.success() && text(&output).contains(name), "{step}: {}", text(&output));
        }
    }
    world.verify("cache");
}

const LENGTH: usize = 8 << 20;

/// Somebody writes to the file all the time. Whatever a build makes of that, what it saves is right.
#[test]
fn a_file_that_is_always_written_to_leaves_no_wrong_record() {
    let world = World::new();
    let path = world.file("busy");
    let versions = [vec![b'a'; LENGTH], vec![b'b'; LENGTH]];
    fs::write(&path, &versions[0]).expect("file");
    let mount = "RUN --mount=type=bind,source=busy,target=/m cp /m /r";
    let dockerfile = format!("FROM {}\n{mount}\nCOPY busy /c/\n", world.base);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let file = File::options().write(true).open(&path).expect("file");
            for version in versions.iter().cycle() {
                file.write_all_at(version, 0).expect("write");
                if ended.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        for _ in 0..4 {
            let output = world.build(&dockerfile, "cache");
            let said = text(&output);
            assert!(output.status.success() || said.contains("changed while it was read"), "{said}");
        }
        ended.store(true, Ordering::Relaxed);
    });
    for version in versions {
        fs::write(&path, &version).expect("file");
        assert_success(&world.build(&dockerfile, "cache"));
        assert!(world.last("c/busy").as_bytes() == version, "another version than that of byte {}", version[0]);
    }
    world.verify("cache");
}
