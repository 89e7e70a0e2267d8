//! In a `--cache-dir`: between steps and builds, and between executors at the same time.

use std::process::{Child, Output, Stdio};

use super::support::{assert_success, context, text, write};
use super::{COUNT, Project, found};
use tempfile::TempDir;

/// A `--cache-dir` that builds share.
struct Shared {
    state: TempDir,
}

impl Shared {
    fn new() -> Self {
        Self { state: tempfile::tempdir().expect("temporary directory") }
    }

    fn flag(&self) -> String {
        format!("--cache-dir={}", self.state.path().join("cache").display())
    }

    fn build(&self, project: &Project, number: u32) -> Output {
        project.build(number, &["--cache", "--no-push-cache", &self.flag()])
    }

    fn start(&self, project: &Project, number: u32) -> Child {
        let mut command = project.command(number, &["--cache", "--no-push-cache", &self.flag()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("executor runs")
    }

    /// Two builds at the same time; both must succeed.
    fn both(&self, project: &Project) {
        let running = [1, 2].map(|number| self.start(project, number));
        for output in running.map(|child| child.wait_with_output().expect("executor ends")) {
            assert_success(&output);
        }
    }
}

#[test]
fn mounts_live_on_between_steps_and_builds() {
    let project = Project::new(&format!("{COUNT}\nRUN --mount=type=cache,target=/else,id=/m test $(cat /else/n) = $N"));
    let shared = Shared::new();
    assert_eq!(found(&shared.build(&project, 1)), "none");
    assert_eq!(found(&shared.build(&project, 2)), "1");
}

/// Runs `then` once both builds are at this point.
fn meet(then: &str) -> String {
    format!(
        "RUN --mount=type=cache,target=/meet,sharing=shared --mount=type=cache,target=/m,sharing=MODE \
         touch /meet/$N; while ! test -e /meet/1 || ! test -e /meet/2; do sleep 0.02; done; {then}"
    )
}

#[test]
fn shared_mounts_are_used_together() {
    let then = "touch /m/$N; while ! test -e /m/1 || ! test -e /m/2; do sleep 0.02; done";
    let project = Project::new(&meet(then).replace("MODE", "shared"));
    Shared::new().both(&project);
}

#[test]
fn private_mounts_are_copies_for_whoever_comes_second() {
    let then =
        "mkdir /m/held && touch /meet/in$N && while ! test -e /meet/in1 || ! test -e /meet/in2; do sleep 0.02; done";
    let project = Project::new(&meet(then).replace("MODE", "private"));
    let shared = Shared::new();
    shared.both(&project);
    // When nobody uses it the first copy is taken again.
    project.write("RUN --mount=type=cache,target=/m,sharing=private test -e /m/held # $N");
    assert_success(&shared.build(&project, 3));
}

#[test]
fn locked_mounts_are_used_one_after_the_other() {
    let project = Project::new(
        "RUN --mount=type=cache,target=/m,sharing=locked mkdir /m/held && sleep 0.3 && rm -r /m/held && touch /m/$N",
    );
    let shared = Shared::new();
    shared.both(&project);
    project.write("RUN --mount=type=cache,target=/m test -e /m/1 && test -e /m/2 # $N");
    assert_success(&shared.build(&project, 3));
}

#[test]
fn one_step_may_mount_a_cache_twice_and_two_steps_never_wait_for_each_other() {
    let mount = |id: &str, target: &str| format!("--mount=type=cache,id={id},target=/{target},sharing=locked ");
    let project = Project::new(&format!(
        "RUN {}{} touch /one/x && test -e /two/x\nRUN {}{} sleep 0.1; echo $N",
        mount("a", "one"),
        mount("a", "two"),
        mount("a", "one"),
        mount("b", "two")
    ));
    let shared = Shared::new();
    let first = shared.start(&project, 1);
    let other = Project { context: context("", &[]), ..project };
    other.write(&format!("RUN {}{} sleep 0.1; echo $N", mount("b", "one"), mount("a", "two")));
    assert_success(&shared.build(&other, 2));
    assert_success(&first.wait_with_output().expect("executor ends"));
}

#[test]
fn what_a_mount_starts_with() {
    let look = "busybox stat -c 'seen %n %a %u %g' /m /m/*";
    let project = Project::new("");
    let shared = Shared::new();
    let dockerfile = |mount: &str, file: &str| {
        let stage = format!(
            "FROM {} AS s\nRUN mkdir -p /d/e && echo {file} > /d/e/f && busybox chown -R 7:8 /d && chmod 2711 /d/e",
            project.base
        );
        let run = format!("RUN --mount=type=cache,target=/m,{mount} {look} && cat /m/f /m/e/f; touch /m/new; echo $N");
        write(project.context.path(), "Dockerfile", &format!("{stage}\nFROM {}\nARG N\n{run}", project.base));
    };
    let lines = |number: u32| {
        let output = shared.build(&project, number);
        assert_success(&output);
        let log = text(&output);
        log.lines().filter_map(|line| line.find("seen /").map(|at| line[at..].to_owned())).collect::<Vec<_>>()
    };
    dockerfile("mode=0700,uid=3,gid=4", "1");
    assert_eq!(lines(1)[0], "seen /m 700 3 4");
    // Only a new one gets them.
    dockerfile("mode=0755,uid=5,gid=6", "1");
    assert_eq!(lines(2), ["seen /m 700 3 4", "seen /m/new 644 0 0"]);
    // With files to start with, the owner and mode are theirs.
    dockerfile("from=s,source=/d,mode=0700,uid=3", "1");
    assert_eq!(lines(3), ["seen /m 755 7 8", "seen /m/e 2711 7 8"]);
    assert_eq!(lines(4), ["seen /m 755 7 8", "seen /m/e 2711 7 8", "seen /m/new 644 0 0"]);
    // Another part of it, and other files, are other caches.
    dockerfile("from=s,source=/d/e", "1");
    assert_eq!(lines(5), ["seen /m 2711 7 8", "seen /m/f 644 7 8"]);
    dockerfile("from=s,source=/d", "2");
    assert_eq!(lines(6), ["seen /m 755 7 8", "seen /m/e 2711 7 8"]);
    dockerfile("from=s,source=/none", "2");
    let failed = shared.build(&project, 7);
    assert!(!failed.status.success() && text(&failed).contains("/none"), "{}", text(&failed));
}
