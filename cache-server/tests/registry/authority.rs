//! Certificates that openssl makes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority and what it signed, in a directory.
pub(crate) struct Authority {
    directory: tempfile::TempDir,
}

#[track_caller]
fn openssl(directory: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output().expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

impl Authority {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key"];
        let mut arguments = vec!["req", "-x509", "-subj", "/CN=authority", "-days", "2", "-out", "ca.crt"];
        arguments.extend(key);
        openssl(directory.path(), &arguments);
        Self { directory }
    }

    /// Signs a certificate for loopback, as `NAME.crt` with `NAME.key`.
    pub(crate) fn sign(&self, name: &str, serial: &str) {
        let directory = self.directory.path();
        let (key, request, certificate) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.new"));
        let mut arguments = vec!["req", "-subj", "/CN=loopback", "-out", &request, "-nodes", "-keyout", &key];
        arguments.extend(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        openssl(directory, &arguments);
        std::fs::write(directory.join("ext"), "subjectAltName=IP:127.0.0.1").expect("written");
        let mut arguments = vec!["x509", "-req", "-in", &request, "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "2"];
        arguments.extend(["-set_serial", serial, "-extfile", "ext", "-out", &certificate]);
        openssl(directory, &arguments);
        std::fs::rename(directory.join(&certificate), self.path(&format!("{name}.crt"))).expect("renamed");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
