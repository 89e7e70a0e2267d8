//! TLS with certificates that openssl made, seen by curl and skopeo.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod registry;

use std::process::{Command, Output};

use registry::Registry;
use registry::authority::Authority;

impl Authority {
    fn start(&self, more: &[&str]) -> Registry {
        let (certificate, key) = (self.path("server.crt"), self.path("server.key"));
        let mut flags = vec!["--tls-cert", certificate.to_str().expect("UTF-8")];
        flags.extend(["--tls-key", key.to_str().expect("UTF-8")]);
        flags.extend(more);
        Registry::start_with(&flags)
    }

    fn curl(&self, registry: &Registry, more: &[&str]) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--cacert"]).arg(self.path("ca.crt")).args(more);
        curl.arg(format!("https://{}/v2/", registry.address())).output().expect("curl runs")
    }

    /// The serial number of the certificate that the server shows.
    fn serial(&self, registry: &Registry) -> String {
        let format = ["--output", "/dev/null", "--write-out", "%{certs}"];
        let text = String::from_utf8(self.curl(registry, &format).stdout).expect("UTF-8");
        let line = text.lines().find(|line| line.starts_with("Serial Number:")).expect("a certificate");
        line.split(':').nth(1).expect("a number").trim().to_owned()
    }
}

#[test]
fn a_renewed_certificate_is_used_without_a_restart() {
    let authority = Authority::new();
    authority.sign("server", "17");
    let registry = authority.start(&[]);
    assert_eq!(authority.curl(&registry, &[]).stdout, b"{}");
    assert!(!authority.curl(&registry, &["--cacert", "/dev/null"]).status.success());
    assert_eq!(authority.serial(&registry), "11");
    authority.sign("server", "34");
    registry.signal("HUP");
    while authority.serial(&registry) != "22" {}
    // One that cannot be used is not.
    std::fs::write(authority.path("server.crt"), "nonsense").expect("written");
    registry.signal("HUP");
    assert_eq!(authority.serial(&registry), "22");
}

#[test]
fn clients_need_a_certificate_when_the_server_says_so() {
    let authority = Authority::new();
    authority.sign("server", "1");
    authority.sign("client", "2");
    let roots = authority.path("ca.crt");
    let registry = authority.start(&["--tls-client-ca", roots.to_str().expect("UTF-8")]);
    assert!(!authority.curl(&registry, &[]).status.success());
    let (certificate, key) = (authority.path("client.crt"), authority.path("client.key"));
    let own = ["--cert", certificate.to_str().expect("UTF-8"), "--key", key.to_str().expect("UTF-8")];
    assert_eq!(authority.curl(&registry, &own).stdout, b"{}");
    let stranger = Authority::new();
    stranger.sign("client", "2");
    let (certificate, key) = (stranger.path("client.crt"), stranger.path("client.key"));
    let foreign = ["--cert", certificate.to_str().expect("UTF-8"), "--key", key.to_str().expect("UTF-8")];
    assert!(!authority.curl(&registry, &foreign).status.success());
}

#[test]
fn skopeo_trusts_the_authority_and_the_realm_is_https() {
    let authority = Authority::new();
    authority.sign("server", "1");
    let tokens = authority.path("tokens.json");
    let make = ["token", "create", "--name", "ci", "--grant", "**=*", "--tokens"];
    let output = Command::new(env!("CARGO_BIN_EXE_cache-server")).args(make).arg(&tokens).output().expect("it runs");
    let token = String::from_utf8(output.stdout).expect("UTF-8");
    let registry = authority.start(&["--anonymous=none", "--tokens", tokens.to_str().expect("UTF-8")]);
    let challenge = authority.curl(&registry, &["--include"]).stdout;
    let challenge = String::from_utf8(challenge).expect("UTF-8");
    assert!(challenge.contains(&format!("realm=\"https://{}/token\"", registry.address())), "{challenge}");
    let certificates = tempfile::tempdir().expect("temporary directory");
    std::fs::copy(authority.path("ca.crt"), certificates.path().join("ca.crt")).expect("copied");
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["login", "-u", "ci", "-p", token.trim(), "--cert-dir"]).arg(certificates.path());
    skopeo.arg("--authfile").arg(authority.path("auth.json")).arg(registry.address());
    let output = skopeo.output().expect("skopeo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn unusable_certificates_are_refused_at_the_start() {
    let authority = Authority::new();
    authority.sign("server", "1");
    authority.sign("other", "2");
    let path = |name: &str| authority.path(name).display().to_string();
    for (certificate, key, message) in [
        ("absent.crt", "server.key", "failed to read the certificates"),
        ("server.crt", "absent.key", "failed to read the private key"),
        ("server.key", "server.key", "there is no certificate"),
        ("server.crt", "other.key", "cannot be used"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cache-server"));
        command.args(["serve", "--check-config", "--data", "/nonexistent"]);
        let output = command.args(["--tls-cert", &path(certificate), "--tls-key", &path(key)]).output();
        let output = output.expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && text.contains(message), "{text}");
    }
}
