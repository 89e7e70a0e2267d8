//! For contexts that are fetched: builds without a registry, and servers to fetch from.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::{assert_success, context, executor, run, text, write};

pub const FILES: [(&str, &str); 3] = [("a", "1"), ("sub/b", "2"), (".dockerignore", "a\n")];

/// Builds without a registry, and tells what is in the image's layers, sorted.
pub fn build(context: &str, more: &dyn Fn(&mut Command)) -> (Output, Vec<String>) {
    let state = tempfile::tempdir().expect("temporary directory");
    let layout = state.path().join("layout");
    let mut command = executor();
    for variable in ["GIT_TOKEN", "GIT_USERNAME", "GIT_PASSWORD", "GIT_PULL_METHOD"] {
        command.env_remove(variable);
    }
    command.current_dir(state.path()).args(["--context", context, "--no-push", "--oci-layout-path"]).arg(&layout);
    more(&mut command);
    let output = command.output().expect("executor runs");
    let mut names = Vec::new();
    if output.status.success() {
        for blob in fs::read_dir(layout.join("blobs/sha256")).expect("blobs") {
            let path = blob.expect("blob").path();
            if !fs::read(&path).expect("blob").starts_with(b"{") {
                names.extend(run("tar", &["-tf", &path.display().to_string()]).lines().map(str::to_owned));
            }
        }
    }
    names.sort();
    (output, names)
}

pub fn built(context: &str, more: &dyn Fn(&mut Command)) -> Vec<String> {
    let (output, names) = build(context, more);
    assert_success(&output);
    names
}

pub fn failed(context: &str, more: &dyn Fn(&mut Command)) -> String {
    let (output, _) = build(context, more);
    assert!(!output.status.success(), "{}", text(&output));
    text(&output)
}

/// A directory with the bare repository `r.git` (branches `main` and `other`, a submodule `inner`
/// that is `s.git`), and the first commit.
pub struct Repositories {
    pub root: TempDir,
    pub first: String,
}

impl Repositories {
    pub fn new() -> Self {
        let root = tempfile::tempdir().expect("temporary directory");
        let inner = context("", &[("deep", "d")]);
        commit(inner.path(), &["init", "-q", "-b", "main"]);
        commit_all(inner.path());
        let bare = root.path().join("s.git").display().to_string();
        commit(inner.path(), &["clone", "-q", "--bare", ".", &bare]);
        let work = context("FROM scratch\nCOPY . /", &FILES);
        write(work.path(), "sub/Dockerfile", "FROM scratch\nCOPY b /in-sub");
        commit(work.path(), &["init", "-q", "-b", "main"]);
        commit(work.path(), &["submodule", "--quiet", "add", &bare, "inner"]);
        commit(work.path(), &["config", "-f", ".gitmodules", "submodule.inner.url", "../s.git"]);
        commit_all(work.path());
        let first = commit(work.path(), &["rev-parse", "HEAD"]);
        commit(work.path(), &["checkout", "-q", "-b", "other"]);
        write(work.path(), "later", "l");
        commit_all(work.path());
        commit(work.path(), &["checkout", "-q", "main"]);
        commit(work.path(), &["clone", "-q", "--bare", ".", &root.path().join("r.git").display().to_string()]);
        Self { root, first }
    }
}

pub fn commit_all(directory: &Path) {
    commit(directory, &["add", "."]);
    commit(directory, &["commit", "-q", "-m", "message"]);
}

pub fn commit(directory: &Path, arguments: &[&str]) -> String {
    let settings = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"];
    let mut command = Command::new("git");
    command.args(settings).args(arguments).current_dir(directory);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.output().expect("git is installed");
    assert_success(&output);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A program that listens on loopback.
pub struct Server {
    pub process: std::process::Child,
    pub address: String,
}

impl Server {
    /// `git daemon` on a free port.
    pub fn git_daemon(root: &Path) -> Self {
        let port = super::free_port();
        let mut command = Command::new(format!("{}/git-daemon", run("git", &["--exec-path"]).trim()));
        command.args(["--listen=127.0.0.1", &format!("--port={port}"), "--export-all", "--reuseaddr"]);
        command.arg(format!("--base-path={}", root.display())).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = Self { process: command.spawn().expect("git-daemon"), address: format!("127.0.0.1:{port}") };
        daemon.wait();
        daemon
    }

    pub fn wait(&self) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while std::net::TcpStream::connect(&self.address).is_err() {
            assert!(std::time::Instant::now() < deadline, "{} does not listen", self.address);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
