//! `RUN --mount=type=cache`: between steps, between builds, between executors, and by way of a
//! cache repository.

#![allow(clippy::expect_used)]

mod local;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{Registry, assert_success, context, executor, run, text, write};
use tempfile::TempDir;

/// A registry with a base image, and a context whose Dockerfile a test writes.
struct Project {
    registry: Registry,
    base: String,
    context: TempDir,
    /// Of builds that start with nothing.
    state: TempDir,
    builds: AtomicUsize,
}

impl Project {
    fn new(run: &str) -> Self {
        let registry = Registry::start();
        let base = registry.push_base();
        let state = tempfile::tempdir().expect("temporary directory");
        let project = Self { context: context("", &[]), base, registry, state, builds: AtomicUsize::new(0) };
        project.write(run);
        project
    }

    /// A step that runs again for every other `N`.
    fn write(&self, run: &str) {
        write(self.context.path(), "Dockerfile", &format!("FROM {}\nARG N\n{run}\n", self.base));
    }

    /// A build without a push and with no local state, unless `more` says otherwise.
    fn command(&self, number: u32, more: &[&str]) -> Command {
        let mut command = executor();
        command.arg("--context").arg(self.context.path());
        let state = self.state.path().join(self.builds.fetch_add(1, Ordering::Relaxed).to_string());
        command.arg("--cache-dir").arg(state);
        command.args(["--no-push", &format!("--build-arg=N={number}")]).args(more);
        command
    }

    fn build(&self, number: u32, more: &[&str]) -> Output {
        self.command(number, more).output().expect("executor runs")
    }

    fn remote(&self, number: u32, more: &[&str]) -> Output {
        let repository = format!("--cache-repo={}/cache", self.registry.address);
        self.build(number, &[&[repository.as_str(), "--cache-mounts-remote"], more].concat())
    }

    /// Tags of saved mounts, as the registry keeps them.
    fn tags(&self) -> Vec<PathBuf> {
        let tags = self.registry.data().join("docker/registry/v2/repositories/cache/_manifests/tags");
        let Ok(entries) = fs::read_dir(tags) else { return Vec::new() };
        let paths = entries.map(|entry| entry.expect("entry").path());
        paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mount-"))).collect()
    }

    /// The one saved mount's manifest, as the registry keeps it.
    fn manifest(&self) -> (PathBuf, serde_json::Value) {
        let [tag] = self.tags().try_into().expect("one saved mount");
        let link = fs::read_to_string(tag.join("current/link")).expect("link");
        let path = self.registry.blob(link.trim().trim_start_matches("sha256:"));
        let json = serde_json::from_slice(&fs::read(&path).expect("manifest")).expect("JSON");
        (path, json)
    }

    fn blob(&self) -> PathBuf {
        let digest = self.manifest().1["layers"][0]["digest"].as_str().expect("digest").to_owned();
        self.registry.blob(digest.trim_start_matches("sha256:"))
    }

    /// How many manifests the tag has had.
    fn revisions(&self) -> usize {
        let [tag] = self.tags().try_into().expect("one saved mount");
        fs::read_dir(tag.join("index/sha256")).expect("index").count()
    }
}

const COUNT: &str =
    "RUN --mount=type=cache,target=/m,uid=3,mode=0750 echo \"found $(cat /m/n || echo none)\"; echo $N > /m/n";

/// What [`COUNT`] said; its title has a `$`.
fn found(output: &Output) -> String {
    assert_success(output);
    let log = text(output);
    let said = log.lines().filter_map(|line| line.split_once("found ")).find(|(_, rest)| !rest.contains('$'));
    said.map_or_else(String::new, |(_, rest)| rest.to_owned())
}

#[test]
fn a_fresh_runner_gets_what_another_left() {
    let project = Project::new(COUNT);
    assert_eq!(found(&project.build(1, &[])), "none");
    assert_eq!(found(&project.build(2, &[])), "none", "nothing stays without a cache directory");
    assert_eq!((found(&project.remote(3, &[])), project.tags().len()), ("none".into(), 1));
    assert_eq!(found(&project.remote(4, &[])), "3");
    let third = project.remote(5, &["--cache"]);
    assert_eq!(found(&third), "4");
    assert!(text(&third).contains("cache mount /m: restored") && text(&third).contains("cache mount /m: saved"));
    let manifest = project.manifest().1;
    assert_eq!(manifest["artifactType"], "application/vnd.yadokari.mount.v1");
    assert_eq!(manifest["annotations"]["dev.yadokari.mount.id"], "/m");
    // Nothing runs, so nothing moves.
    let cached = project.remote(5, &["--cache"]);
    assert_success(&cached);
    assert!(!text(&cached).contains("cache mount"), "{}", text(&cached));
}

#[test]
fn owners_modes_times_and_links_come_back() {
    let make = "mkdir /m/d && echo x > /m/d/f && busybox ln /m/d/f /m/h && busybox ln -s ../etc /m/s \
        && busybox chown 5:6 /m/d/f && chmod 4711 /m/d/f && chmod 1777 /m/d && touch -d '2001-02-03 04:05:06' /m/d/f /m/d /m";
    let look = "busybox stat -c '%n %a %u %g %Y %h' /m /m/d /m/d/f /m/h > /seen && busybox readlink /m/s >> /seen";
    let mount = "RUN --mount=type=cache,target=/m,id=things,uid=3,gid=4,mode=0750";
    let project = Project::new(&format!("{mount} {make} && {look}\nRUN cat /seen"));
    let first = project.remote(1, &[]);
    assert_success(&first);
    project.write(&format!("{mount} {look}\nRUN cat /seen"));
    let second = project.remote(2, &[]);
    assert_success(&second);
    let expected = [
        "/m 750 3 4 981173106 3",
        "/m/d 1777 0 0 981173106 2",
        "/m/d/f 4711 5 6 981173106 2",
        "/m/h 4711 5 6 981173106 2",
        "../etc",
    ];
    for (line, output) in expected.iter().flat_map(|line| [(line, &first), (line, &second)]) {
        assert!(text(output).contains(line), "{line} of {}", text(output));
    }
}

#[test]
fn what_did_not_change_is_not_saved_again() {
    let look = "RUN --mount=type=cache,target=/m echo \"found $(cat /m/n)\" > /dev/null; echo $N";
    let project = Project::new("RUN --mount=type=cache,target=/m echo x > /m/n; echo $N");
    assert_success(&project.remote(1, &[]));
    assert_eq!(project.revisions(), 1);
    project.write(look);
    let unchanged = project.remote(2, &["-v=debug"]);
    assert_success(&unchanged);
    assert!(text(&unchanged).contains("cache mount /m: restored"), "{}", text(&unchanged));
    assert!(text(&unchanged).contains("cache mount /m: nothing to save"), "{}", text(&unchanged));
    // A mount that is there is not fetched, and compared by its listing.
    let state = tempfile::tempdir().expect("temporary directory");
    let directory = format!("--cache-dir={}", state.path().join("cache").display());
    for number in [3, 4] {
        let output = project.remote(number, &["--cache", &directory, "-v=debug"]);
        assert_success(&output);
        assert_eq!(text(&output).contains("cache mount /m: restored"), number == 3);
        assert!(text(&output).contains("cache mount /m: nothing to save"), "{}", text(&output));
    }
    assert_eq!(project.revisions(), 1);
    // An empty mount is nothing to save either.
    project.write("RUN --mount=type=cache,target=/m,id=other echo $N");
    assert_success(&project.remote(5, &[]));
    assert_eq!(project.tags().len(), 1);
}

#[test]
fn reading_only_and_failed_builds() {
    let project = Project::new(COUNT);
    assert_success(&project.remote(1, &["--no-push-cache"]));
    assert!(project.tags().is_empty());
    project.write(&format!("{COUNT}\nRUN false"));
    let failed = project.remote(2, &[]);
    assert!(!failed.status.success());
    project.write(COUNT);
    assert_eq!(found(&project.remote(3, &["--no-push-cache"])), "2", "what a failed build left is kept");
    assert_eq!(found(&project.remote(4, &[])), "2");
    assert_eq!(project.revisions(), 2);
}

#[test]
fn identities_and_namespaces_are_kept_apart() {
    let mount = |id: &str| format!("RUN --mount=type=cache,target=/{id},id={id} echo $N > /{id}/n");
    let project = Project::new(&format!("{}\n{}", mount("a"), mount("b")));
    assert_success(&project.remote(1, &[]));
    assert_eq!(project.tags().len(), 2);
    project.write("RUN --mount=type=cache,target=/m,id=a echo \"found $(cat /m/n || echo none)\"");
    assert_eq!(found(&project.remote(2, &[])), "1");
    assert_eq!(found(&project.remote(3, &["--build-arg=BUILDKIT_CACHE_MOUNT_NS=ns"])), "none");
}

#[test]
fn damage_in_the_repository_is_a_warning() {
    let project = Project::new(COUNT);
    let warned = |output: &Output| {
        assert_eq!(found(output), "none");
        let warnings = text(output).matches("cache mount /m starts empty").count();
        assert_eq!(warnings, 1, "{}", text(output));
    };
    assert_success(&project.remote(1, &[]));
    // The blob's bytes.
    let length = fs::read(project.blob()).expect("blob").len();
    fs::write(project.blob(), vec![b'x'; length]).expect("damage");
    warned(&project.remote(2, &[]));
    // Saved anew: good again.
    assert_eq!(found(&project.remote(3, &[])), "2");
    // The blob is gone.
    fs::remove_file(project.blob()).expect("remove");
    warned(&project.remote(4, &[]));
    assert_eq!(found(&project.remote(5, &[])), "4");
    // Something else under the tag.
    let [tag] = project.tags().try_into().expect("one mount");
    let name = tag.file_name().expect("name").to_string_lossy().into_owned();
    let other = format!("docker://{}/cache:{name}", project.registry.address);
    let base = format!("docker://{}", project.base);
    run("skopeo", &["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", &base, &other]);
    warned(&project.remote(6, &[]));
    assert_eq!(found(&project.remote(7, &[])), "6");
}

/// A mount as somebody else might write it: the tar in the place of the saved one.
fn replace_files(project: &Project, tar: &[u8]) {
    let compressed = zstd::encode_all(tar, 1).expect("zstd");
    let (_, mut manifest) = project.manifest();
    let hex = run_with_input("sha256sum", &compressed);
    manifest["layers"][0]["digest"] = format!("sha256:{hex}").into();
    manifest["layers"][0]["size"] = compressed.len().into();
    let directory = tempfile::tempdir().expect("temporary directory");
    let layout = directory.path();
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("directory");
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("layout");
    fs::write(blobs.join(&hex), &compressed).expect("blob");
    fs::write(blobs.join(run_with_input("sha256sum", b"{}")), "{}").expect("blob");
    let bytes = serde_json::to_vec(&manifest).expect("JSON");
    let digest = run_with_input("sha256sum", &bytes);
    fs::write(blobs.join(&digest), &bytes).expect("blob");
    let entry = serde_json::json!({
        "mediaType": manifest["mediaType"], "digest": format!("sha256:{digest}"), "size": bytes.len(),
    });
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(layout.join("index.json"), index.to_string()).expect("index");
    let [tag] = project.tags().try_into().expect("one mount");
    let name = tag.file_name().expect("name").to_string_lossy().into_owned();
    let target = format!("docker://{}/cache:{name}", project.registry.address);
    let source = format!("oci:{}", layout.display());
    run("skopeo", &["copy", "-q", "--dest-tls-verify=false", "--preserve-digests", &source, &target]);
}

/// The first word of what the program prints.
fn run_with_input(program: &str, input: &[u8]) -> String {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("input");
    fs::write(&file, input).expect("file");
    run(program, &[&file.display().to_string()]).split(' ').next().expect("word").to_owned()
}

fn member(builder: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, link: &str) {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_mode(0o755);
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_cksum();
    builder.append(&header, &b""[..]).expect("member");
}

#[test]
fn hostile_files_in_the_repository_are_refused() {
    use tar::EntryType::{Char, Directory, Link, Regular, Symlink};
    let project = Project::new(COUNT);
    let victim = tempfile::tempdir().expect("temporary directory");
    let target = victim.path().display().to_string();
    let inside = format!("{target}/planted");
    let cases: [&[(&str, tar::EntryType, &str)]; 6] = [
        &[("root/", Directory, ""), ("root/../../../../../../../../tmp/yadokari-mount-escaped", Regular, "")],
        &[("root/", Directory, ""), ("other", Regular, "")],
        &[("root/", Directory, ""), ("root/null", Char, "")],
        &[("root/", Directory, ""), ("root/passwd", Link, "/etc/passwd")],
        &[("root", Symlink, &target), ("root/planted", Regular, "")],
        &[("other/", Directory, "")],
    ];
    for (number, members) in (1..).zip(cases) {
        // Each build saves what it made, in the place of what was there.
        assert_success(&project.remote(2 * number, &[]));
        let mut builder = tar::Builder::new(Vec::new());
        members.iter().for_each(|(name, kind, link)| member(&mut builder, name, *kind, link));
        replace_files(&project, &builder.into_inner().expect("tar"));
        let output = project.remote(2 * number + 1, &[]);
        assert_eq!(found(&output), "none", "{members:?}");
        assert!(text(&output).contains("cache mount /m starts empty"), "{members:?}: {}", text(&output));
        assert!(!Path::new(&inside).exists() && !Path::new("/tmp/yadokari-mount-escaped").exists());
    }
}

#[test]
fn mounts_beyond_the_limit_stay_where_they_are() {
    let project = Project::new("RUN --mount=type=cache,target=/m busybox dd if=/dev/zero of=/m/zeros bs=1k count=100");
    let limited = project.remote(1, &["--cache-mounts-max-bytes=50k"]);
    assert_success(&limited);
    assert!(
        text(&limited).contains("cache mount /m is not saved: it has 102400 bytes, more than"),
        "{}",
        text(&limited)
    );
    assert!(project.tags().is_empty());
    assert_success(&project.remote(2, &["--cache-mounts-max-bytes=200k"]));
    assert_eq!(project.tags().len(), 1);
    assert!(fs::read(project.blob()).expect("blob").len() < 10_000, "compressed");
    // A bomb: few bytes that become many.
    let limited = project.remote(3, &["--cache-mounts-max-bytes=50k"]);
    assert_success(&limited);
    assert!(text(&limited).contains("starts empty: "), "{}", text(&limited));
    let wrong = project.remote(4, &["--cache-mounts-max-bytes=much"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong));
}

#[test]
fn a_repository_that_is_down_costs_a_warning() {
    let project = Project::new(COUNT);
    let output = project.build(1, &["--cache-repo=127.0.0.1:1/cache", "--cache-mounts-remote"]);
    assert_eq!(found(&output), "none");
    assert!(text(&output).contains("cache mount /m starts empty"), "{}", text(&output));
    assert!(text(&output).contains("cache mount /m is not saved"), "{}", text(&output));
    let nowhere = project.build(1, &["--cache-mounts-remote"]);
    assert_eq!(nowhere.status.code(), Some(2), "{}", text(&nowhere));
}
