//! What the integration tests share: a real registry, the real executor.

// Each test file uses a part of it.
#![allow(dead_code, unreachable_pub)]

pub mod docker_registry;
pub mod fetched;
pub mod front;
mod port;
pub mod web;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use docker_registry::DockerRegistry;
pub(crate) use port::free_port;

/// Debian's `docker-registry` with what the executor needs to fill it.
pub struct Registry {
    process: DockerRegistry,
    pub address: String,
}

impl Registry {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With more configuration, as YAML lines.
    pub fn start_with(extra: &str) -> Self {
        let process = DockerRegistry::start(|address, data| docker_registry::plain(address, data) + extra);
        Self { address: process.address.clone(), process }
    }

    /// Where its blobs are.
    pub fn data(&self) -> PathBuf {
        self.process.data()
    }

    /// Where the registry keeps a blob.
    pub fn blob(&self, hex: &str) -> PathBuf {
        self.data().join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    /// Pushes a base image with busybox, made by the executor itself.
    pub fn push_base(&self) -> String {
        let context = tempfile::tempdir().expect("temporary directory");
        let root = context.path().join("root");
        for directory in ["bin", "etc", "tmp", "srv"] {
            fs::create_dir_all(root.join(directory)).expect("directory");
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
        for applet in [
            "sh", "echo", "cat", "cp", "rm", "mkdir", "sleep", "true", "false", "kill", "ls", "chmod", "id", "test",
            "date", "touch", "dd",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("link");
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("passwd");
        fs::write(root.join("etc/group"), "root:x:0:\n").expect("group");
        fs::write(context.path().join("Dockerfile"), "FROM scratch\nCOPY root /\nENV PATH=/bin\n").expect("Dockerfile");
        let name = format!("{}/base:1", self.address);
        let output = executor().arg("-c").arg(context.path()).args(["-d", &name]).output().expect("executor runs");
        assert_success(&output);
        name
    }
}

/// The executor, with no credentials of the machine that it runs on.
pub fn executor() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_executor"));
    command.env("DOCKER_CONFIG", "/nonexistent").env_remove("REGISTRY_AUTH_FILE").stdin(Stdio::null());
    command
}

/// A build context with a Dockerfile.
pub fn context(dockerfile: &str, files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("temporary directory");
    write(directory.path(), "Dockerfile", dockerfile);
    files.iter().for_each(|(name, text)| write(directory.path(), name, text));
    directory
}

pub fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().expect("parent")).expect("directory");
    fs::write(path, text).expect("file");
}

/// Both outputs as text.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn assert_success(output: &Output) {
    assert!(output.status.success(), "exit {:?}\n{}", output.status, text(output));
}

/// What a program printed; it must succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert_success(&output);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
