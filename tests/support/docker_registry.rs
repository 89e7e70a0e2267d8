//! Debian's `docker-registry` as a process on a free loopback port.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::print_stderr, reason = "the test harness keeps it for tests that fail")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::port::free_port;

/// Ends with the test; one that failed shows what the registry said.
pub struct DockerRegistry {
    process: Child,
    /// `host:port`
    pub address: String,
    directory: TempDir,
}

impl DockerRegistry {
    /// With the configuration (YAML) for an address and a directory of blobs.
    pub fn start(configuration: impl Fn(&str, &Path) -> String) -> Self {
        // Another process may take the port between our look and the registry's bind.
        for _ in 0..5 {
            let directory = tempfile::tempdir().expect("temporary directory");
            let address = format!("127.0.0.1:{}", free_port());
            let text = configuration(&address, &directory.path().join("data"));
            fs::write(directory.path().join("config.yml"), text).expect("configuration");
            let mut registry = Self { process: spawn(directory.path()), address, directory };
            if registry.answers() {
                return registry;
            }
            eprintln!("docker-registry did not start: {}", registry.log());
        }
        panic!("docker-registry does not start");
    }

    pub fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// After [`DockerRegistry::stop`], where it was and with what it had.
    pub fn start_again(&mut self) {
        self.process = spawn(self.directory.path());
        assert!(self.answers(), "docker-registry does not start again: {}", self.log());
    }

    /// Where its blobs are.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Requests and errors so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).expect("log")
    }

    /// False when it ended. One that listens may be about to end, since its port may be another's.
    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline && matches!(self.process.try_wait(), Ok(None)) {
            if speaks_http(&self.address) {
                return matches!(self.process.try_wait(), Ok(None));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("docker-registry: {:?}, {}", self.process.try_wait(), self.log());
        }
        self.stop();
    }
}

/// Keeps blobs, and deletes them when asked. Lines of its section `http` may follow.
pub fn plain(address: &str, data: &Path) -> String {
    format!(
        "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp:\n  addr: '{address}'\n  secret: test\n",
        data.display()
    )
}

fn spawn(directory: &Path) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("log")).expect("log");
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(directory.join("config.yml"));
    command.stdout(log.try_clone().expect("log")).stderr(log).spawn().expect("docker-registry is installed")
}

/// One that wants TLS says so in plain HTTP.
fn speaks_http(address: &str) -> bool {
    let ask = || -> std::io::Result<[u8; 5]> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| &answer == b"HTTP/")
}
