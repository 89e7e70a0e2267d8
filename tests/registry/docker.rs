//! The real docker-registry, on a free loopback port.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = "/usr/bin/docker-registry";
/// bcrypt of the password.
const HTPASSWD: &str = "builder:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";
pub(crate) const USER: &str = "builder";
pub(crate) const PASSWORD: &str = "open sesame";

pub(crate) struct Registry {
    child: Child,
    pub(crate) host: String,
    folder: tempfile::TempDir,
}

#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) password: bool,
    pub(crate) tls: bool,
    pub(crate) client_certificates: bool,
}

/// A file of the test certificates.
pub(crate) fn pki(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/registry/pki").join(name)
}

impl Registry {
    pub(crate) fn start(settings: &Settings) -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        // Another process may take the port between our look and the registry's bind.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port();
            let config = folder.path().join("config.yml");
            fs::write(&config, config_file(settings, folder.path(), port)).expect("write");
            let mut child = Command::new(PROGRAM)
                .args(["serve", config.to_str().expect("utf-8")])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("docker-registry");
            if wait_for(&mut child, port) {
                return Self { child, host: format!("127.0.0.1:{port}"), folder };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("docker-registry did not start");
    }

    /// Files below the registry's storage whose path contains `part`.
    pub(crate) fn stored(&self, part: &str) -> usize {
        fn walk(folder: &Path, part: &str) -> usize {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .map(|e| {
                    if e.path().is_dir() {
                        walk(&e.path(), part)
                    } else {
                        usize::from(e.path().to_string_lossy().contains(part))
                    }
                })
                .sum()
        }
        walk(&self.folder.path().join("storage"), part)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config_file(settings: &Settings, folder: &Path, port: u16) -> String {
    let storage = folder.join("storage");
    let mut text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n",
        storage.display()
    );
    if settings.password {
        let path = folder.join("htpasswd");
        fs::write(&path, HTPASSWD).expect("write");
        text.push_str(&format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path.display()));
    }
    text.push_str(&format!("http:\n  addr: 127.0.0.1:{port}\n  secret: test\n"));
    if settings.tls {
        let (certificate, key) = (pki("server.pem"), pki("server.key"));
        text.push_str(&format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display()));
        if settings.client_certificates {
            text.push_str(&format!("    clientcas: [{}]\n", pki("ca.pem").display()));
        }
    }
    text
}

/// True when it answers, false when it ended.
fn wait_for(child: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return matches!(child.try_wait(), Ok(None));
        }
        thread::sleep(Duration::from_millis(10));
    }
    false
}
