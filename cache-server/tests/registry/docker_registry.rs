//! Debian's `docker-registry`, as a plain registry to compare with or to mirror.

#![allow(dead_code)] // Each test file uses its part.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A running registry; killed when dropped.
pub(crate) struct DockerRegistry {
    process: Child,
    /// `host:port`.
    pub(crate) address: String,
    directory: tempfile::TempDir,
}

/// Below the ports that the system gives away, which another test's connection may get before the registry starts; no two
/// tests get the same.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = || {
        let number = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        10_000 + u16::try_from(number % 20_000).expect("small")
    };
    let mut addresses = std::iter::repeat_with(|| SocketAddr::from(([127, 0, 0, 1], next()))).take(100);
    addresses.find(|address| TcpListener::bind(address).is_ok()).expect("a free port")
}

impl DockerRegistry {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let free = free_address();
        let configuration = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {free}\n",
            directory.path().join("data").display()
        );
        std::fs::write(directory.path().join("config.yml"), configuration).expect("written");
        let process = Self::spawn(&directory);
        let registry = Self { process, address: free.to_string(), directory };
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
