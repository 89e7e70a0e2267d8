//! A registry with base images, and executors on runners that have nothing but the cache repository.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;

use serde_json::Value;
use tempfile::TempDir;

use crate::image::{Image, Layers};
use crate::oracle::Verdict;
use crate::project::{FOREIGN, From, HOST, Kind, Names, Project, copy_from, project, stage};
use crate::support::web::Web;
use crate::support::{Registry, assert_success, executor, run, text, write};
use crate::tree::{APP, What, base};

pub(crate) struct World {
    registry: Registry,
    bases: Vec<String>,
    /// A cache directory that has the base images, for builds that use no cache.
    warm: TempDir,
    layers: Layers,
}

/// The builds of one project, one after the other. They have a web server of their own, so that what they
/// download is always at the same address.
pub(crate) struct History<'w> {
    world: &'w World,
    repository: String,
    web: Web,
    site: TempDir,
    /// The files and the message of the commit that is there.
    committed: RefCell<Option<(BTreeMap<String, String>, String)>>,
    scratch: RefCell<BTreeMap<String, Rc<Vec<Image>>>>,
}

/// What a build did.
pub(crate) struct Built {
    /// Which of the steps ran.
    pub(crate) ran: Vec<usize>,
    /// One for each platform.
    images: Vec<Image>,
    log: String,
}

/// Where a build looks for results.
#[derive(Clone, Copy)]
pub(crate) enum Cache<'a> {
    None,
    /// The repository of the history, with a cache directory that is new.
    Read,
    ReadAndWrite,
    /// A directory that others use at the same time, and no repository.
    Directory(&'a Path),
}

impl World {
    pub(crate) fn new() -> Self {
        let registry = Registry::start();
        let bases = (0..2).map(|number| push_base(&registry, number)).collect();
        let warm = tempfile::tempdir().expect("directory");
        let world = Self { registry, bases, warm, layers: Layers::default() };
        let copies = ["base 0", "base 1"].map(|base| copy_from(base, "/etc/version", "/"));
        let both = project(vec![stage("both", From::Scratch, copies.into())]);
        world.history("none").build(&both, Cache::Directory(world.warm.path()));
        world
    }

    /// Its builds share a cache repository of this name.
    pub(crate) fn history(&self, repository: &str) -> History<'_> {
        let site = tempfile::tempdir().expect("directory");
        let (committed, scratch) = (RefCell::default(), RefCell::default());
        History {
            world: self,
            repository: repository.into(),
            web: Web::start(site.path(), None),
            site,
            committed,
            scratch,
        }
    }
}

impl History<'_> {
    pub(crate) fn build(&self, project: &Project, cache: Cache<'_>) -> Built {
        let place = tempfile::tempdir().expect("directory");
        let context = place.path().join("context");
        fs::create_dir(&context).expect("directory");
        project.write(&context);
        if project.uses_web() {
            write(self.site.path(), "file", &project.download);
            self.commit(project);
        }
        let web = self.web.address.to_string();
        let dockerfile = project.dockerfile(&Names { bases: &self.world.bases, web: &web });
        write(place.path(), "Dockerfile", &dockerfile);
        write(place.path(), "word", &project.secret);
        let output = self.command(project, cache, place.path()).output().expect("executor runs");
        assert!(output.status.success(), "{}\n{dockerfile}", text(&output));
        let log = format!("{dockerfile}{}", text(&output));
        let images = Image::read(&place.path().join("image"), &self.world.layers);
        Built { ran: ran(&String::from_utf8_lossy(&output.stderr)), images, log }
    }

    /// What a build without a cache makes. Times are in no comparison.
    pub(crate) fn scratch(&self, project: &Project) -> Rc<Vec<Image>> {
        let mut timeless = project.clone();
        for entry in timeless.files.values_mut() {
            entry.time = 0;
            if let Kind::Archive(_, time) = &mut entry.kind {
                *time = 0;
            }
        }
        let name = format!("{timeless:?}");
        let known = self.scratch.borrow().get(&name).map(Rc::clone);
        known.unwrap_or_else(|| {
            let made = Rc::new(self.build(project, Cache::None).images);
            self.scratch.borrow_mut().insert(name, Rc::clone(&made));
            made
        })
    }

    fn command(&self, project: &Project, cache: Cache<'_>, place: &Path) -> Command {
        let mut command = executor();
        command.env("TMPDIR", place).arg("-c").arg(place.join("context")).arg("-f").arg(place.join("Dockerfile"));
        command.args(["--no-push", "--log-format=json", "--oci-layout-path"]).arg(place.join("image"));
        command.arg(format!("--secret=id=word,src={}", place.join("word").display())).args(&project.flags);
        command.args(project.arguments.iter().map(|(name, value)| format!("--build-arg={name}={value}")));
        command.args(project.target.iter().map(|target| format!("--target={target}")));
        command.args(project.platforms.iter().map(|architecture| format!("--platform=linux/{architecture}")));
        let repository = |name: &str| format!("--cache-repo={}/{name}", self.world.registry.address);
        match cache {
            Cache::None => command.arg("--cache=false"),
            Cache::Read => command.args(["--cache=true", "--no-push-cache", &repository(&self.repository)]),
            Cache::ReadAndWrite => command.args(["--cache=true", &repository(&self.repository)]),
            Cache::Directory(_) => command.args(["--cache=true", "--no-push-cache", &repository("none")]),
        };
        let directory = match cache {
            Cache::None => self.world.warm.path().to_owned(),
            Cache::Directory(path) => path.to_owned(),
            Cache::Read | Cache::ReadAndWrite => place.join("cache"),
        };
        command.arg("--cache-dir").arg(directory);
        command
    }

    /// Makes the repository of the web server anew, when it has to be another one: the same files and message
    /// are the same commit.
    fn commit(&self, project: &Project) {
        let wanted = Some((project.repository.clone(), project.message.clone()));
        if self.committed.borrow().as_ref() == wanted.as_ref() || project.repository.is_empty() {
            return;
        }
        let bare = self.site.path().join("r.git");
        let _ = fs::remove_dir_all(&bare);
        let bare = bare.display().to_string();
        run("git", &["init", "-q", "--bare", "-b", "main", &bare]);
        let message = &project.message;
        let who = "committer a <a@example.org> 1600000000 +0000";
        let mut stream = format!("commit refs/heads/main\n{who}\ndata {}\n{message}\n", message.len());
        for (path, text) in &project.repository {
            let mode = if path.ends_with(".sh") { "100755" } else { "100644" };
            stream.push_str(&format!("M {mode} inline {path}\ndata {}\n{text}\n", text.len()));
        }
        let import = ["-C", &bare, "fast-import", "--quiet"];
        let mut git = Command::new("git").args(import).stdin(Stdio::piped()).spawn().expect("git");
        git.stdin.take().expect("piped").write_all(stream.as_bytes()).expect("git reads");
        assert!(git.wait().expect("git").success());
        *self.committed.borrow_mut() = wanted;
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
    pub(crate) fn fault(
        &self,
        verdict: &Verdict,
        known: &BTreeSet<String>,
        scratch: Option<&[Image]>,
    ) -> Option<String> {
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
    pub(crate) fn wrong_image(&self, verdict: &Verdict, scratch: &[Image]) -> Option<String> {
        let count = verdict.trees.len();
        let counts = (self.images.len() != count || scratch.len() != count).then(|| format!("not {count} images"));
        let difference = || self.images.iter().zip(scratch).find_map(|(image, scratch)| image.difference(scratch));
        let files = || self.images.iter().zip(&verdict.trees).find_map(|(image, tree)| image.contradiction(tree));
        let fault = counts.or_else(difference).or_else(files)?;
        Some(format!("image: {fault}\n{}", self.log))
    }
}

/// For both architectures; only the programs of this machine's can run.
fn push_base(registry: &Registry, number: usize) -> String {
    let context = tempfile::tempdir().expect("temporary directory");
    let root = context.path().join("root");
    for (path, node) in base(number, HOST) {
        let at = root.join(&path);
        match &node.what {
            What::File(text) => fs::write(&at, text).expect("file"),
            _ => fs::create_dir_all(&at).expect("directory"),
        }
        fs::set_permissions(&at, fs::Permissions::from_mode(node.mode)).expect("mode");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    for applet in ["sh", "echo", "cat", "rm", "mkdir", "chmod"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("link");
    }
    let app = APP[number];
    write(&root, "etc/passwd", &format!("root:x:0:0:root:/root:/bin/sh\napp:x:{app}:{app}:app:/:/bin/sh\n"));
    write(&root, "etc/group", &format!("root:x:0:\napp:x:{app}:\n"));
    let dockerfile =
        "FROM scratch\nCOPY root /\nARG TARGETARCH\nCOPY <<END /etc/arch\n$TARGETARCH\nEND\nENV PATH=/bin\n";
    write(context.path(), "Dockerfile", dockerfile);
    let name = format!("{}/base:{number}", registry.address);
    let platforms = format!("--platform=linux/{HOST},linux/{FOREIGN}");
    let output = executor().arg("-c").arg(context.path()).args(["-d", &name, &platforms]).output();
    assert_success(&output.expect("executor runs"));
    name
}
