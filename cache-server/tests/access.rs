//! Who may do what, over real HTTP.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod issuer;
mod registry;

#[path = "access/clients.rs"]
mod clients;
#[path = "access/credentials.rs"]
mod credentials;
#[path = "access/newer.rs"]
mod newer;
#[path = "access/oidc.rs"]
mod oidc;
#[path = "access/sessions.rs"]
mod sessions;

use std::path::Path;

use base64::Engine as _;
use registry::command::program;
use registry::{Registry, Reply, image};

/// A server that lets nobody in without a token.
pub(crate) struct Guarded<const TOKENS: usize> {
    pub(crate) registry: Registry,
    /// In the order in which they were asked for.
    pub(crate) tokens: [String; TOKENS],
    _directory: tempfile::TempDir,
}

impl<const TOKENS: usize> Guarded<TOKENS> {
    /// `tokens`: the name and the grant of each.
    pub(crate) fn start(tokens: [(&str, &str); TOKENS]) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = directory.path().join("tokens.json");
        let tokens = tokens.map(|(name, grant)| create_token(&file, name, grant));
        let registry = Registry::start_with(&["--anonymous=none", "--tokens", file.to_str().expect("UTF-8")]);
        Self { registry, tokens, _directory: directory }
    }
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// One request with these credentials.
pub(crate) fn with(registry: &Registry, authorization: &str, method: &str, target: &str, body: &[u8]) -> Reply {
    registry.send(method, target, &[("Authorization", authorization)], body)
}

/// Pushes a small image with these credentials; the status of the first refusal, or 201.
pub(crate) fn push(registry: &Registry, authorization: &str, repository: &str) -> u16 {
    let layer = b"layer".as_slice();
    for blob in [layer, b"{}"] {
        let digest = yadokari::digest::Digest::sha256(blob);
        let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let status = with(registry, authorization, "POST", &target, blob).status;
        if status != 201 {
            return status;
        }
    }
    let manifest = image(layer);
    let kind = manifest["mediaType"].as_str().expect("typed").to_owned();
    let headers = [("Authorization", authorization), ("Content-Type", &kind)];
    registry.send("PUT", &format!("/v2/{repository}/manifests/v1"), &headers, manifest.to_string().as_bytes()).status
}

pub(crate) fn pull(registry: &Registry, authorization: &str, repository: &str) -> u16 {
    with(registry, authorization, "GET", &format!("/v2/{repository}/manifests/v1"), b"").status
}

/// `cache-server token …`; what it prints.
pub(crate) fn token_command(file: &Path, arguments: &[&str]) -> String {
    let output = program().arg("token").args(arguments).arg("--tokens").arg(file).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

/// Makes a token with one grant.
pub(crate) fn create_token(file: &Path, name: &str, grant: &str) -> String {
    token_command(file, &["create", "--name", name, "--grant", grant])
}
