//! A registry with base images, and executors on runners that have nothing but the cache repository.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;
use tempfile::TempDir;

use crate::image::Image;
use crate::oracle::{self, Verdict};
use crate::project::{Names, Project};
use crate::support::web::Web;
use crate::support::{Registry, assert_success, executor, text, write};

pub(crate) struct World {
    registry: Registry,
    bases: Vec<String>,
    /// One download at a time is there.
    web: Mutex<(Web, TempDir)>,
}

/// What a build did.
pub(crate) struct Built {
    /// Which of the steps ran.
    pub(crate) ran: Vec<usize>,
    pub(crate) image: Image,
    log: String,
}

/// Where a build looks for results.
#[derive(Clone, Copy)]
pub(crate) enum Cache<'a> {
    None,
    /// A repository, with a cache directory that is new.
    Read(&'a str),
    ReadAndWrite(&'a str),
    /// A directory that others use at the same time, and no repository.
    Directory(&'a Path),
}

impl World {
    pub(crate) fn new() -> Self {
        let registry = Registry::start();
        let bases = (0..2).map(|number| push_base(&registry, number)).collect();
        let directory = tempfile::tempdir().expect("directory");
        let web = Web::start(directory.path(), None);
        Self { registry, bases, web: Mutex::new((web, directory)) }
    }

    pub(crate) fn build(&self, project: &Project, cache: Cache<'_>) -> Built {
        let place = tempfile::tempdir().expect("directory");
        let context = place.path().join("context");
        fs::create_dir(&context).expect("directory");
        project.write(&context);
        let downloads = project.dockerfile(&Names { bases: &self.bases, web: "" }).contains("http://");
        // The server is another project's meanwhile.
        let web = downloads.then(|| self.web.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let mut address = String::new();
        if let Some(web) = &web {
            address = web.0.address.to_string();
            write(web.1.path(), "file", &project.download);
        }
        let dockerfile = project.dockerfile(&Names { bases: &self.bases, web: &address });
        write(place.path(), "Dockerfile", &dockerfile);
        write(place.path(), "word", &project.secret);
        let output = self.command(project, cache, place.path()).output().expect("executor runs");
        assert!(output.status.success(), "{}\n{dockerfile}", text(&output));
        let log = format!("{dockerfile}{}", text(&output));
        Built {
            ran: ran(&String::from_utf8_lossy(&output.stderr)),
            image: Image::read(&place.path().join("image")),
            log,
        }
    }

    fn command(&self, project: &Project, cache: Cache<'_>, place: &Path) -> Command {
        let mut command = executor();
        command.env("TMPDIR", place).arg("-c").arg(place.join("context")).arg("-f").arg(place.join("Dockerfile"));
        command.args(["--no-push", "--log-format=json", "--oci-layout-path"]).arg(place.join("image"));
        command.arg(format!("--secret=id=word,src={}", place.join("word").display())).args(&project.flags);
        command.args(project.arguments.iter().map(|(name, value)| format!("--build-arg={name}={value}")));
        command.args(project.target.iter().map(|target| format!("--target={target}")));
        let repository = |name: &str| format!("--cache-repo={}/{name}", self.registry.address);
        match cache {
            Cache::None => command.arg("--cache=false"),
            Cache::Read(name) => command.args(["--cache=true", "--no-push-cache", &repository(name)]),
            Cache::ReadAndWrite(name) => command.args(["--cache=true", &repository(name)]),
            Cache::Directory(path) => command
                .args(["--cache=true", "--no-push-cache", &repository("none"), "--cache-dir"])
                .arg(path.as_os_str()),
        };
        if !matches!(cache, Cache::Directory(_)) {
            command.arg("--cache-dir").arg(place.join("cache"));
        }
        command
    }
}

/// The numbers of the steps that ended without having been found.
fn ran(log: &str) -> Vec<usize> {
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let finished = events.filter(|event| event.get("layer_bytes").is_some());
    let mut ran: Vec<usize> =
        finished.map(|event| event["step"].as_u64().and_then(|n| n.try_into().ok()).expect("step")).collect();
    ran.sort_unstable();
    ran
}

impl Built {
    /// What is wrong with this build, when it should have been the oracle's; `known` is what steps have
    /// read whose results are in the cache.
    pub(crate) fn fault(&self, verdict: &Verdict, known: &BTreeSet<String>, scratch: Option<&Image>) -> Option<String> {
        let steps = || (0..verdict.reads.len()).filter(|step| self.ran.contains(step));
        let needless: Vec<usize> = steps().filter(|step| known.contains(&verdict.reads[*step])).collect();
        let classes: BTreeSet<&String> = verdict.reads.iter().filter(|reads| !known.contains(*reads)).collect();
        let times = |class: &String| steps().filter(|step| verdict.reads[*step] == *class).count();
        let missing: Vec<usize> = classes
            .iter()
            .filter(|class| times(class) == 0)
            .filter_map(|class| verdict.reads.iter().position(|reads| reads == *class))
            .collect();
        let twice: Vec<&&String> = classes.iter().filter(|class| times(class) > 1).collect();
        let steps = (!needless.is_empty() || !missing.is_empty() || !twice.is_empty()).then(|| {
            let ran = &self.ran;
            format!("ran {ran:?}: needlessly {needless:?}, wrongly not {missing:?}, twice {}", twice.len())
        });
        let fault = steps.map(|fault| format!("{fault}\n{}", self.log));
        fault.or_else(|| scratch.and_then(|scratch| self.wrong_image(verdict, scratch)))
    }

    /// How the image differs from one that was built without a cache, or from what the oracle knows of it.
    pub(crate) fn wrong_image(&self, verdict: &Verdict, scratch: &Image) -> Option<String> {
        let files = || self.image.contradiction(&verdict.tree);
        let fault = self.image.difference(scratch).or_else(files)?;
        Some(format!("image: {fault}\n{}", self.log))
    }
}

fn push_base(registry: &Registry, number: usize) -> String {
    let context = tempfile::tempdir().expect("temporary directory");
    let root = context.path().join("root");
    for (path, node) in oracle::base(number) {
        let at = root.join(&path);
        match &node.what {
            oracle::What::File(text) => fs::write(&at, text).expect("file"),
            _ => fs::create_dir_all(&at).expect("directory"),
        }
        fs::set_permissions(&at, fs::Permissions::from_mode(node.mode)).expect("mode");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    for applet in ["sh", "echo", "cat", "rm", "mkdir", "chmod"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("link");
    }
    let app = oracle::APP[number];
    write(&root, "etc/passwd", &format!("root:x:0:0:root:/root:/bin/sh\napp:x:{app}:{app}:app:/:/bin/sh\n"));
    write(&root, "etc/group", &format!("root:x:0:\napp:x:{app}:\n"));
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY root /\nENV PATH=/bin\n");
    let name = format!("{}/base:{number}", registry.address);
    let output = executor().arg("-c").arg(context.path()).args(["-d", &name]).output().expect("executor runs");
    assert_success(&output);
    name
}
