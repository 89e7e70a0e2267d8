//! Credentials that the environment offers, each against a server that speaks its provider's protocol, or misbehaves.

#![allow(clippy::expect_used, reason = "a failed step of a test ends it")]

#[path = "credentials/aws.rs"]
mod aws;
#[path = "credentials/google.rs"]
mod google;
#[path = "credentials/hostile.rs"]
mod hostile;
#[path = "credentials/registry.rs"]
mod registry;
#[path = "registry/server.rs"]
#[allow(dead_code, reason = "the registry's tests use the rest")]
mod server;

use std::net::TcpListener;

use server::Request;
use yadokari::registry::{Credential, Credentials};

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// What is known with these variables, and a home without any file.
fn known(variables: &[(&str, &str)]) -> Credentials {
    let held: Vec<(String, String)> = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Credentials::none().with_environment(move |name| {
        let found = held.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        found.or_else(|| (name == "HOME").then(|| "/nonexistent".to_owned()))
    })
}

/// `user:password` for `registry`.
fn basic(credentials: &Credentials, registry: &str) -> String {
    match credentials.lookup(registry, "team/app").expect(registry) {
        Some(Credential::Basic { username, password }) => format!("{username}:{}", password.expose()),
        other => format!("{other:?}"),
    }
}

fn refusal(credentials: &Credentials, registry: &str) -> String {
    credentials.lookup(registry, "team/app").expect_err(registry).to_string()
}

/// `host:port` where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("address").to_string()
}

/// A field of a form that was posted.
fn field(request: &Request, name: &str) -> Option<String> {
    url::form_urlencoded::parse(&request.body).find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
}

#[test]
fn registries_of_nobody_ask_nobody() {
    let server = server::Server::start(|_| server::Reply::new(200));
    let url = format!("http://{}", server.host());
    let host = server.host();
    let credentials = known(&[
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL", &url),
        ("GCE_METADATA_HOST", &host),
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", &url),
        ("GITHUB_TOKEN", "token"),
    ]);
    for registry in ["docker.io", "r.example", "x.azurecr.io.evil.example", "evilgcr.io", "127.0.0.1:5000", "gcr.io."] {
        assert_eq!(credentials.lookup(registry, "x").expect(registry), None, "{registry}");
    }
    assert!(server.seen().is_empty());
}

#[test]
fn what_is_configured_is_listed_without_asking() {
    let url = format!("http://{}", nobody());
    let credentials = known(&[
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json"),
        ("AZURE_CLIENT_SECRET", "hunter2"),
        ("AZURE_AUTHORITY_HOST", &url),
        ("GITHUB_TOKEN", "hunter2"),
    ]);
    let kinds: Vec<String> = credentials.kinds().iter().map(|(host, kind)| format!("{host} {kind}")).collect();
    let expected = [
        "ghcr.io GitHub token",
        "*.dkr.ecr.* AWS web identity",
        "gcr.io, *.pkg.dev Google credentials in /nonexistent/key.json",
        "*.azurecr.io Azure client secret",
    ];
    assert_eq!(kinds, expected);
    assert!(known(&[]).kinds().is_empty());
    assert!(!format!("{credentials:?}").contains("hunter2"));
}

#[test]
fn files_come_first() {
    let config = format!(r#"{{"auths":{{"{ECR}":{{"username":"u","password":"file"}}}},"credsStore":"ecr-login"}}"#);
    let file = Credentials::from_docker_config(config.as_bytes()).expect("config");
    let credentials = file.or(known(&[("GITHUB_TOKEN", "token")]));
    assert_eq!(basic(&credentials, ECR), "u:file");
    assert_eq!(basic(&credentials, "ghcr.io"), "x-access-token:token", "the program is not needed");
}
