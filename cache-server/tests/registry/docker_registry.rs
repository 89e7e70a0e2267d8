//! Debian's `docker-registry`, as a plain registry to compare with or to mirror.

#![allow(dead_code)] // Each test file uses its part.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[path = "../../../tests/support/port.rs"]
mod port;

/// A running registry; killed when dropped.
pub(crate) struct DockerRegistry {
    process: Child,
    /// `host:port`.
    pub(crate) address: String,
    directory: tempfile::TempDir,
}

impl DockerRegistry {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let address = format!("127.0.0.1:{}", port::free_port());
        let configuration = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            directory.path().join("data").display()
        );
        std::fs::write(directory.path().join("config.yml"), configuration).expect("written");
        let process = Self::spawn(&directory);
        let registry = Self { process, address, directory };
        registry.await_listening();
        registry
    }

    fn spawn(directory: &tempfile::TempDir) -> Child {
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(directory.path().join("config.yml")).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("Debian's docker-registry")
    }

    pub(crate) fn stop(&mut self) {
        self.process.kill().expect("ended");
        self.process.wait().expect("ended");
    }

    pub(crate) fn start_again(&mut self) {
        self.process = Self::spawn(&self.directory);
        self.await_listening();
    }

    fn await_listening(&self) {
        for _ in 0..200 {
            if TcpStream::connect(&self.address).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("docker-registry does not listen");
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
