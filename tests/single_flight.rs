//! Several executors on one cache directory: a step that all need runs once.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Registry, context, executor};
use tempfile::TempDir;

/// A step that says so in `runs/`, and takes its time until `go` is there.
struct World {
    registry: Registry,
    base: String,
    store: TempDir,
}

impl World {
    fn new() -> Self {
        let registry = Registry::start();
        let base = registry.push_base();
        Self { registry, base, store: tempfile::tempdir().expect("directory") }
    }

    /// A context whose step runs for `seconds`; `other` makes its definition key another one.
    fn context(&self, seconds: u32, other: &str) -> TempDir {
        let dockerfile = format!("FROM {}\nRUN sleep {seconds} && echo made > /made\nCOPY other /\n", self.base);
        context(&dockerfile, &[("other", other)])
    }

    fn start(&self, context: &Path, name: &str) -> Child {
        let log = fs::File::create(self.store.path().join(name)).expect("log");
        executor()
            .arg("-c")
            .arg(context)
            .args(["--cache=true", "--no-push-cache", "--no-push", "-d", &format!("{}/app:1", self.registry.address)])
            .arg("--cache-dir")
            .arg(self.store.path().join("cache"))
            // What a killed one leaves behind goes with the test.
            .env("TMPDIR", self.store.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("executor")
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.store.path().join(name)).expect("log")
    }

    fn leases(&self) -> Vec<String> {
        let listed = fs::read_dir(self.store.path().join("cache/leases")).into_iter().flatten().flatten();
        listed.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    fn wait_for_step(&self, log: &str, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.log(log).contains(text) {
            assert!(Instant::now() < deadline, "{}\n{:?}", self.log(log), self.leases());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Lines of all logs that say that the RUN ended: once each time that it ran.
fn runs(logs: &[String]) -> usize {
    logs.iter().flat_map(|log| log.lines()).filter(|line| line.contains("1/2]") && line.contains("done in")).count()
}

#[test]
fn of_many_executors_one_runs_the_step() {
    let world = World::new();
    let names: Vec<String> = (0..4).map(|n| format!("log-{n}")).collect();
    let contexts: Vec<TempDir> = names.iter().map(|name| world.context(2, name)).collect();
    let started: Vec<Child> =
        names.iter().zip(&contexts).map(|(name, context)| world.start(context.path(), name)).collect();
    for mut child in started {
        assert!(child.wait().expect("wait").success());
    }
    let logs: Vec<String> = names.iter().map(|name| world.log(name)).collect();
    assert_eq!(runs(&logs), 1, "{logs:#?}");
    let waited = logs.iter().filter(|log| log.contains("which makes the same result")).count();
    assert!(waited >= 1, "{logs:#?}");
    assert_eq!(world.leases(), Vec::<String>::new());
}

#[test]
fn a_killed_holder_is_not_waited_for() {
    let world = World::new();
    let (first, second) = (world.context(600, "one"), world.context(600, "two"));
    let mut holder = world.start(first.path(), "holder");
    world.wait_for_step("holder", "missed");
    let mut waiting = world.start(second.path(), "waiting");
    world.wait_for_step("waiting", "which makes the same result");
    holder.kill().expect("kill");
    holder.wait().expect("wait");
    // It runs the step itself now: the lease is its own.
    let pid = waiting.id();
    world.wait_for_step("waiting", "1/2] RUN sleep");
    let leases: Vec<String> = world.leases().into_iter().filter(|name| name.starts_with("step-")).collect();
    assert_eq!(leases.len(), 1, "{leases:?}");
    let lease = world.store.path().join("cache/leases").join(&leases[0]);
    assert!(fs::read_to_string(lease).expect("lease").contains(&format!("\"pid\":{pid}")));
    // An end that was asked for leaves no lease, and no step.
    let terminated = Command::new("kill").args(["-TERM", &pid.to_string()]).status().expect("kill");
    assert!(terminated.success());
    assert!(!waiting.wait().expect("wait").success());
    assert!(!world.leases().iter().any(|name| name.starts_with("step-")), "{:?}", world.leases());
}
