//! The real docker-registry, on a free loopback port.

use std::fs;
use std::path::Path;

use super::docker_registry::{DockerRegistry, plain};

/// bcrypt of the password.
const HTPASSWD: &str = "builder:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";
pub(crate) const USER: &str = "builder";
pub(crate) const PASSWORD: &str = "open sesame";

pub(crate) struct Registry {
    process: DockerRegistry,
    pub(crate) host: String,
    _folder: tempfile::TempDir,
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
        let process = DockerRegistry::start(|address, data| plain(address, data) + &more(settings, folder.path()));
        Self { host: process.address.clone(), process, _folder: folder }
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
        walk(&self.process.data(), part)
    }
}

/// Lines of the section `http`, then other sections.
fn more(settings: &Settings, folder: &Path) -> String {
    let mut text = String::new();
    if settings.tls {
        let (certificate, key) = (pki("server.pem"), pki("server.key"));
        text.push_str(&format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display()));
        if settings.client_certificates {
            text.push_str(&format!("    clientcas: [{}]\n", pki("ca.pem").display()));
        }
    }
    if settings.password {
        let path = folder.join("htpasswd");
        fs::write(&path, HTPASSWD).expect("write");
        text.push_str(&format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path.display()));
    }
    text
}
