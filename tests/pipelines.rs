//! Command lines as pipelines write them: variables that are empty, files that are not files, contexts with ignore files.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{assert_success, context, executor, run, text};
use tempfile::TempDir;

fn project() -> TempDir {
    context("FROM scratch AS first\nFROM scratch\nCOPY file /\n", &[("file", "text")])
}

/// In the project's directory.
fn build(project: &Path, more: impl FnOnce(&mut Command) -> &mut Command) -> Output {
    let mut command = executor();
    more(command.current_dir(project).args(["-c", ".", "--reproducible"])).output().expect("executor runs")
}

fn digest(project: &Path, more: impl FnOnce(&mut Command) -> &mut Command) -> String {
    let out = tempfile::tempdir().expect("directory");
    let file = out.path().join("digest");
    assert_success(&build(project, |command| more(command).arg("--digest-file").arg(&file)));
    fs::read_to_string(file).expect("digest")
}

#[test]
fn a_flag_with_nothing_in_the_place_of_its_value_is_no_flag() {
    let project = project();
    let plain = digest(project.path(), |command| command.arg("--no-push"));
    let empty = [
        "target",
        "cache-repo",
        "cache-dir",
        "tar-path",
        "tarPath",
        "oci-layout-path",
        "image-name-with-digest-file",
        "image-name-tag-with-digest-file",
        "custom-platform",
        "customPlatform",
        "bucket",
        "kaniko-dir",
        "context-sub-path",
        "registry-mirror",
        "registry-map",
        "insecure-registry",
        "skip-tls-verify-registry",
        "ignore-path",
        "build-arg",
    ];
    let joined = empty.map(|name| format!("--{name}="));
    assert_eq!(digest(project.path(), |command| command.arg("--no-push").args(&joined)), plain);
    let apart = empty.iter().flat_map(|name| [format!("--{name}"), String::new()]);
    assert_eq!(digest(project.path(), |command| command.arg("--no-push").args(apart)), plain);
    let entries = fs::read_dir(project.path()).expect("directory").count();
    assert_eq!(entries, 2, "nothing was written there");
    let output = build(project.path(), |command| command.args(["--no-push", "--context="]));
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn a_variable_that_is_empty_is_not_set() {
    let project = project();
    let names = [
        "KANIKO_CLEANUP",
        "KANIKO_PRESERVE_CONTEXT",
        "KANIKO_PRE_CLEANUP",
        "KANIKO_PRINT_PLAN",
        "KANIKO_DIR",
        "KANIKO_REGISTRY_MAP",
        "KANIKO_REGISTRY_MIRROR",
    ];
    let empty = names.map(|name| (name, ""));
    digest(project.path(), |command| command.envs(empty).env("KANIKO_NO_PUSH", "T"));
    let output = build(project.path(), |command| command.envs(empty).env("KANIKO_NO_PUSH", ""));
    assert_eq!(output.status.code(), Some(2), "there is no destination: {}", text(&output));
    let output = build(project.path(), |command| command.env("KANIKO_NO_PUSH", "maybe"));
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let output = build(project.path(), |command| command.arg("--no-push").env("KANIKO_CLEANUP", "yes"));
    assert_success(&output);
    assert!(text(&output).contains("KANIKO_CLEANUP has no effect: expected true or false, not \"yes\""));
}

#[test]
fn an_archive_goes_where_something_is_already() {
    let (project, out) = (project(), tempfile::tempdir().expect("directory"));
    let path = |name: &str| out.path().join(name).display().to_string();
    let names = |archive: &str| run("tar", &["-tf", archive]);
    let to = |archive: &str| {
        let output = build(project.path(), |command| command.args(["--no-push", "-v=error", "--tar-path", archive]));
        assert_success(&output);
        output.stdout
    };
    to(&path("new/deep/archive.tar"));
    let expected = names(&path("new/deep/archive.tar"));
    assert!(expected.contains("manifest.json"), "{expected}");
    // What `/dev/stdout` is: it stays what it is.
    symlink("/proc/self/fd/1", out.path().join("stdout")).expect("link");
    fs::write(path("copy.tar"), to(&path("stdout"))).expect("file");
    assert_eq!(names(&path("copy.tar")), expected);
    assert_eq!(fs::read_link(path("stdout")).expect("still a link").to_str(), Some("/proc/self/fd/1"));
    fs::write(path("old.tar"), vec![b'x'; 1 << 20]).expect("file");
    to(&path("old.tar"));
    assert_eq!(fs::read(path("old.tar")).expect("file"), fs::read(path("copy.tar")).expect("file"));
    run("mkfifo", &[&path("pipe")]);
    let reader = Command::new("cat").arg(path("pipe")).stdout(Stdio::piped()).spawn().expect("cat");
    to(&path("pipe"));
    let read = reader.wait_with_output().expect("output");
    assert_eq!(read.stdout, fs::read(path("old.tar")).expect("file"));
    assert_eq!(fs::read_dir(out.path()).expect("directory").count(), 5, "nothing else is left");
}

#[test]
fn metadata_goes_to_standard_output() {
    let (project, out) = (project(), tempfile::tempdir().expect("directory"));
    let link = out.path().join("stdout");
    symlink("/proc/self/fd/1", &link).expect("link");
    let output = build(project.path(), |command| command.args(["--no-push", "-v=error", "--metadata-file"]).arg(&link));
    assert_success(&output);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(found["containerimage.digest"].is_string() && link.is_symlink(), "{found}");
}

/// As a Pod's `/dev/termination-log` is.
#[test]
fn metadata_goes_into_a_file_that_is_mounted_alone() {
    let (project, out) = (project(), tempfile::tempdir().expect("directory"));
    let file = out.path().join("log");
    fs::write(&file, "before").expect("file");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", "mount --bind \"$0\" \"$0\"; exec \"$@\""]).arg(&file);
    command.arg(env!("CARGO_BIN_EXE_executor")).args(["--no-push", "-c"]).arg(project.path());
    command.arg("--metadata-file").arg(&file).stdin(Stdio::null());
    assert_success(&command.output().expect("unshare runs"));
    let found: serde_json::Value = serde_json::from_slice(&fs::read(&file).expect("file")).expect("JSON");
    assert!(found["containerimage.digest"].is_string(), "{found}");
    assert_eq!(fs::read_dir(out.path()).expect("directory").count(), 1, "nothing else is left");
}

/// The names in the layer of `COPY . /`.
fn copied(project: &Path, context: &str, more: &[&str]) -> String {
    let archive = project.join("out.tar");
    assert_success(&build(project, |command| {
        command.args(["--no-push", "-c", context]).args(more).arg("--tar-path").arg(&archive)
    }));
    let script = format!("tar -xOf {0} --wildcards '*.tar.gz' | tar -tz; rm {0}", archive.display());
    run("sh", &["-c", &script])
}

#[test]
fn an_ignore_file_counts_in_an_archive() {
    let files = [
        (".dockerignore", "secret\nsub\n!sub/kept\n"),
        ("other.dockerignore", "kept\n"),
        ("other", "FROM scratch\nCOPY . /\n"),
        ("secret", ""),
        ("kept", ""),
        ("sub/kept", ""),
        ("sub/secret", ""),
    ];
    let project = context("FROM scratch\nCOPY . /\n", &files);
    let outside = tempfile::tempdir().expect("directory");
    let archive = outside.path().join("context.tar.gz").display().to_string();
    run("tar", &["-zcf", &archive, "-C", &project.path().display().to_string(), "."]);
    let spec = format!("tar://{archive}");
    for more in [&[][..], &["-f", "other"]] {
        let here = copied(project.path(), ".", more);
        assert_eq!(copied(outside.path(), &spec, more), here, "{more:?}");
        assert_eq!(
            (here.contains("secret\n"), here.contains("\nkept\n")),
            (!more.is_empty(), more.is_empty()),
            "{here}"
        );
    }
    fs::copy(project.path().join("other"), outside.path().join("mine")).expect("copied");
    fs::write(outside.path().join("mine.dockerignore"), "*\n!kept\n").expect("file");
    assert_eq!(copied(outside.path(), &spec, &["-f", "mine"]), "kept\n");
}
