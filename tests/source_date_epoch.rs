//! `SOURCE_DATE_EPOCH` and `--rewrite-timestamp`.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::fetched::Repositories;
use support::web::Web;
use support::{Registry, assert_success, context, executor, run, text};
use tempfile::TempDir;

const EPOCH: &str = "1000000000";
const SHOWN: &str = "2001-09-09T01:46:40Z";

/// A build into a layout with nothing left from others.
struct Built {
    state: TempDir,
    output: Output,
}

impl Built {
    fn new(context: &str, arguments: &[&str], environment: Option<&str>) -> Self {
        let state = tempfile::tempdir().expect("temporary directory");
        let mut command = executor();
        command.args(["--context", context, "--no-push", "--oci-layout-path"]).arg(state.path().join("layout"));
        command.arg("--cache-dir").arg(state.path().join("cache")).args(arguments);
        command.env_remove("SOURCE_DATE_EPOCH").env("GIT_PULL_METHOD", "http");
        command.envs(environment.map(|epoch| ("SOURCE_DATE_EPOCH", epoch)));
        Self { output: command.output().expect("executor runs"), state }
    }

    fn blob(&self, digest: &serde_json::Value) -> PathBuf {
        let digest = digest.as_str().expect("digest").trim_start_matches("sha256:");
        self.state.path().join("layout/blobs/sha256").join(digest)
    }

    fn digest(&self) -> serde_json::Value {
        assert_success(&self.output);
        json(&self.state.path().join("layout/index.json"))["manifests"][0]["digest"].clone()
    }

    fn manifest(&self) -> serde_json::Value {
        json(&self.blob(&self.digest()))
    }

    fn config(&self) -> serde_json::Value {
        json(&self.blob(&self.manifest()["config"]["digest"]))
    }

    /// `TIME NAME` of all members of the layers from `first` on.
    fn times(&self, first: usize) -> Vec<String> {
        let layers = self.manifest()["layers"].as_array().expect("layers").clone();
        let list = |layer: &serde_json::Value| {
            let file = self.blob(&layer["digest"]).display().to_string();
            let listed = run("tar", &["--full-time", "--utc", "-tvf", &file]);
            let member = |line: &str| line.split_whitespace().skip(3).collect::<Vec<_>>().join(" ");
            listed.lines().map(member).collect::<Vec<_>>()
        };
        layers[first..].iter().flat_map(list).collect()
    }
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).expect("file")).expect("JSON")
}

/// Every second is another for what a build stamps.
fn later() {
    std::thread::sleep(std::time::Duration::from_millis(1100));
}

#[test]
fn two_builds_of_the_same_are_the_same() {
    let registry = Registry::start();
    let base = registry.push_base();
    let dockerfile = format!(
        "FROM {base} AS one\nWORKDIR /w\nRUN mkdir d && echo x > d/f && busybox ln d/f d/h && rm /srv -r\n\
         RUN touch -d '1999-01-01 00:00:00' /old\nFROM one\nENV A=1\nCOPY <<E /text\nE\nCOPY --from=one /w /copy"
    );
    let main = context(&dockerfile, &[]);
    let spec = main.path().display().to_string();
    let rewritten = ["--rewrite-timestamp", &format!("--build-arg=SOURCE_DATE_EPOCH={EPOCH}")];
    let first = Built::new(&spec, &rewritten, None);
    assert_success(&first.output);
    later();
    // From the environment, as well; and with a cache.
    let repository = format!("--cache-repo={}/cache", registry.address);
    let cached = ["--rewrite-timestamp", "--cache", &repository];
    let second = Built::new(&spec, &cached, Some(EPOCH));
    assert_eq!(first.digest(), second.digest());
    let config = second.config();
    assert_eq!(config["created"], SHOWN);
    let history = config["history"].as_array().expect("history");
    let own = history.iter().filter(|entry| entry["created"] == SHOWN).count();
    assert_eq!((own, history.len()), (6, 8), "those of the base keep their time: {history:?}");
    let times = second.times(1);
    assert!(times.contains(&"1999-01-01 00:00:00 old".to_owned()), "{times:?}");
    assert!(times.contains(&"2001-09-09 01:46:40 w/d/f".to_owned()), "{times:?}");
    assert!(times.contains(&"2001-09-09 01:46:40 w/d/h link to w/d/f".to_owned()), "{times:?}");
    assert!(
        times.iter().all(|line| line.starts_with("2001-09-09 01:46:40 ")
            || line.ends_with(" old")
            || line.contains("1970-")
            || line.contains(".wh.")),
        "{times:?}"
    );
    // Another time is another image, and no step runs for it; what was rewritten is remembered.
    later();
    let third = Built::new(&spec, &cached, Some("1000000001"));
    assert_ne!(third.digest(), first.digest());
    assert!(!text(&third.output).contains(": missed"), "{}", text(&third.output));
    let fourth = Built::new(&spec, &cached, Some(EPOCH));
    assert_eq!(fourth.digest(), first.digest());
}

#[test]
fn without_rewriting_only_the_image_and_workdir_have_the_time() {
    let main = context("ARG SOURCE_DATE_EPOCH=1000000000\nFROM scratch\nWORKDIR /w\nCOPY <<E /text\nE", &[]);
    let spec = main.path().display().to_string();
    let built = Built::new(&spec, &[], None);
    assert_eq!(built.config()["created"], SHOWN);
    let times = built.times(0);
    assert_eq!(times[0], "2001-09-09 01:46:40 w/");
    assert!(times[1].ends_with(" text") && !times[1].starts_with("2001"), "{times:?}");
    // The argument goes before the variable, and that before the default; empty is none.
    let created = |arguments: &[&str], variable: Option<&str>| {
        Built::new(&spec, arguments, variable).config()["created"].as_str().expect("time").to_owned()
    };
    assert_eq!(created(&[], Some("2")), "1970-01-01T00:00:02Z");
    assert_eq!(created(&["--build-arg=SOURCE_DATE_EPOCH=1"], Some("2")), "1970-01-01T00:00:01Z");
    assert!(created(&["--build-arg=SOURCE_DATE_EPOCH="], Some("2")).as_str() > SHOWN);
    // As it was: all times are the epoch's.
    let reproducible = Built::new(&spec, &["--build-arg=SOURCE_DATE_EPOCH=", "--reproducible"], None);
    assert_eq!(reproducible.config()["created"], "1970-01-01T00:00:00Z");
    assert!(reproducible.times(0).iter().all(|line| line.starts_with("1970-01-01 00:00:00 ")));
    let wrong = Built::new(&spec, &["--build-arg=SOURCE_DATE_EPOCH=soon"], None);
    assert!(!wrong.output.status.success());
    assert!(text(&wrong.output).contains("invalid SOURCE_DATE_EPOCH: soon"), "{}", text(&wrong.output));
}

#[test]
fn the_time_of_the_context() {
    let flag = ["--build-arg=SOURCE_DATE_EPOCH=context"];
    let created = |built: &Built| built.config()["created"].as_str().expect("time").to_owned();
    let files = context("FROM scratch\nCOPY x /", &[("x", "1")]);
    let spec = files.path().display().to_string();
    assert!(created(&Built::new(&spec, &flag, None)).as_str() > SHOWN, "a directory has none");
    let archive = files.path().join("c.tar").display().to_string();
    run("tar", &["-cf", &archive, "--mtime=@1000000000", "-C", &spec, "Dockerfile", "x"]);
    assert_eq!(created(&Built::new(&format!("tar://{archive}"), &flag, None)), SHOWN);
    let repositories = Repositories::new();
    let bare = repositories.root.path().join("r.git").display().to_string();
    let output = Command::new("git").args(["-C", &bare, "show", "-s", "--format=%ct", "main"]).output();
    let seconds = String::from_utf8(output.expect("git").stdout).expect("text").trim().to_owned();
    let web = Web::start(repositories.root.path(), None);
    let built = Built::new(&format!("git://{}/r.git#refs/heads/main", web.address), &flag, None);
    let shown = run("date", &["-u", &format!("-d@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"]);
    assert_eq!(created(&built), shown.trim());
}
