//! Contexts in buckets, from end to end: S3 by moto, which checks signatures and policies, Azure's service by Azurite,
//! which checks signatures, Google's by fake-gcs-server; and all of them, and hostile ones, by a server that does what
//! the test says.

#![allow(clippy::expect_used)]

#[path = "bucket_contexts/emulated.rs"]
mod emulated;
#[path = "bucket_contexts/emulator.rs"]
mod emulator;
#[path = "bucket_contexts/hostile.rs"]
mod hostile;
#[path = "bucket_contexts/moto.rs"]
mod moto;
#[path = "registry/server.rs"]
#[allow(dead_code, reason = "the registry's tests use the rest")]
mod server;
#[path = "bucket_contexts/services.rs"]
mod services;
mod support;

use std::fs;
use std::process::Command;

use moto::Moto;
use support::fetched::{FILES, built, failed};
use support::{context, run, write};

/// Without `a`, which the ignore file leaves out.
const ALL: [&str; 5] = [".dockerignore", "Dockerfile", "sub/", "sub/Dockerfile", "sub/b"];

/// A context as `tar -zc` packs it.
fn archive() -> Vec<u8> {
    let files = context("FROM scratch\nCOPY . /", &FILES);
    write(files.path(), "sub/Dockerfile", "FROM scratch\nCOPY b /in-sub");
    let packed = tempfile::NamedTempFile::new().expect("temporary file");
    let path = packed.path().display().to_string();
    run("tar", &["-zcf", &path, "-C", &files.path().display().to_string(), "."]);
    fs::read(packed.path()).expect("archive")
}

/// A machine where nothing says who we are but these variables.
fn with(variables: &[(&str, &str)]) -> impl Fn(&mut Command) {
    move |command| {
        let ours = |name: &str| ["AWS_", "AZURE_", "GOOGLE_", "S3_", "STORAGE_"].iter().any(|p| name.starts_with(p));
        for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        command.env("HOME", "/nonexistent").env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("GCE_METADATA_HOST", "127.0.0.1:1");
        command.envs(variables.iter().copied());
    }
}

/// As [`with`], for S3 at `url`, by path.
fn s3(url: &str, variables: &[(&str, &str)]) -> impl Fn(&mut Command) {
    let base = [("S3_ENDPOINT", url), ("S3_FORCE_PATH_STYLE", "true")];
    let all: Vec<(String, String)> =
        base.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    move |command| {
        with(&[])(command);
        command.envs(all.iter().map(|(name, value)| (name, value)));
    }
}

#[test]
fn s3_by_access_key() {
    let moto = Moto::start();
    moto.put("context.tar.gz", &archive());
    moto.put("team%20a/x%2By.tgz", &archive());
    moto.guard(0);
    let url = format!("http://{}", moto.address);
    let (id, secret) = &moto.key;
    let keys = [("AWS_ACCESS_KEY_ID", id.as_str()), ("AWS_SECRET_ACCESS_KEY", secret)];
    for spec in ["s3://box", "s3://box/", "s3://box/context.tar.gz", "s3://box/team%20a/x%2By.tgz"] {
        assert_eq!(built(spec, &s3(&url, &keys)), ALL, "{spec}; the archive is not in it");
    }
    let sub = |command: &mut Command| {
        s3(&url, &keys)(command);
        command.args(["--context-sub-path", "sub"]);
    };
    assert_eq!(built("s3://box/context.tar.gz", &sub), ["in-sub"]);

    let error = failed("s3://box/other", &s3(&url, &keys));
    let expected = format!(
        "s3://box/other (at {url}): there is no such object in the bucket: a context is an archive; \
         s3://box/other/context.tar.gz may be meant"
    );
    assert!(error.contains(&expected), "{error}");
    let error = failed("s3://nobox/x.tar", &s3(&url, &keys));
    assert!(error.contains("there is no bucket \"nobox\": check its name, and the region (AWS_REGION)"), "{error}");
    let wrong = [("AWS_ACCESS_KEY_ID", id.as_str()), ("AWS_SECRET_ACCESS_KEY", "hunter2hunter2hunter2")];
    let error = failed("s3://box", &s3(&url, &wrong));
    assert!(
        error.contains("access denied (403 SignatureDoesNotMatch") && error.contains("check the access key"),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn s3_by_profile_and_by_web_identity() {
    let moto = Moto::start();
    moto.put("context.tar.gz", &archive());
    moto.guard(0);
    let url = format!("http://{}", moto.address);
    let home = tempfile::tempdir().expect("home");
    let (id, secret) = &moto.key;
    let profile = format!("[builder]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    write(home.path(), ".aws/credentials", &profile);
    write(home.path(), ".aws/config", "[profile builder]\nregion = us-east-1\n");
    let home = home.path().display().to_string();
    assert_eq!(built("s3://box", &s3(&url, &[("HOME", &home), ("AWS_PROFILE", "builder")])), ALL);

    write(home.as_ref(), "token", "a-token-of-the-cluster");
    let token = format!("{home}/token");
    let role = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader"),
        ("AWS_ENDPOINT_URL_STS", &url),
    ];
    // STS asks for no signature, but moto does not know that.
    moto.guard(1);
    assert_eq!(built("s3://box", &s3(&url, &role)), ALL);
}

#[test]
fn the_bucket_is_a_part_of_the_host_unless_told_otherwise() {
    let packed = archive();
    let server = server::Server::start(move |_| server::Reply::new(200).body(packed.clone()));
    let port = server.host().rsplit(':').next().expect("port").to_owned();
    let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "eu-west-1")];
    let url = format!("http://localhost:{port}");
    let hosted = [&[("S3_ENDPOINT", url.as_str())], &keys[..]].concat();
    assert_eq!(built("s3://box/k.tgz", &s3(&url, &keys)), ALL);
    let nowhere = [&[("S3_ENDPOINT", "http://storage.invalid")], &keys[..]].concat();
    let error = failed("s3://box/k.tgz", &with(&nowhere));
    assert!(error.contains("s3://box/k.tgz (at http://box.storage.invalid): no answer"), "{error}");
    // An address and an upper case letter can have nothing before them.
    let address = format!("http://127.0.0.1:{port}");
    assert_eq!(built("s3://box/k.tgz", &with(&[&[("AWS_ENDPOINT_URL", address.as_str())], &keys[..]].concat())), ALL);
    assert_eq!(built("s3://Box/k.tgz", &with(&hosted)), ALL);
    let seen: Vec<(String, String)> =
        server.seen().iter().map(|r| (r.header("host").unwrap_or_default().to_owned(), r.path.clone())).collect();
    let pair = |host: &str, path: &str| (format!("{host}:{port}"), path.to_owned());
    let expected = [pair("localhost", "/box/k.tgz"), pair("127.0.0.1", "/box/k.tgz"), pair("localhost", "/Box/k.tgz")];
    assert_eq!(seen, expected);
    let first = &server.seen()[0];
    let signed = first.header("authorization").expect("signed");
    assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=id/") && signed.contains("/eu-west-1/s3/"), "{signed}");
}

#[test]
fn settings_that_cannot_be() {
    let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    for (variables, expected) in [
        (&[("S3_ENDPOINT", "minio:9000")][..], "S3_ENDPOINT is no http or https URL"),
        (&[("S3_ENDPOINT", "https://u:hunter2@minio")], "S3_ENDPOINT is a URL with a user"),
        (&[("AWS_REGION", "a.evil.example/")], "AWS_REGION is no name of a region"),
    ] {
        let error = failed("s3://box/k", &with(&[&keys, variables].concat()));
        assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
    }
    let error = failed("s3://box/k", &with(&[("S3_ENDPOINT", "http://127.0.0.1:1")]));
    assert!(error.contains("cannot get credentials for s3://box/k from AWS: no AWS access keys"), "{error}");
    let error = failed("s3://id:hunter2@box/k", &with(&keys));
    assert!(error.contains("expected s3://BUCKET/KEY") && !error.contains("hunter2"), "{error}");
    let error = failed("s3://box/k", &with(&[&keys[..], &[("S3_ENDPOINT", "http://127.0.0.1:1")]].concat()));
    assert!(error.contains("s3://box/k (at http://127.0.0.1:1): no answer: "), "{error}");
    let error = failed("gs://box/k", &with(&[]));
    assert!(error.contains("cannot get credentials for gs://box/k from Google: no Google credentials"), "{error}");
    let token = [("STORAGE_EMULATOR_HOST", "storage.example"), ("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent")];
    let error = failed("gs://box/k", &with(&token));
    assert!(error.contains("cannot read /nonexistent"), "{error}");
    let blob = "https://acct.blob.core.windows.net/box/k.tgz";
    let error = failed(blob, &with(&[("AZURE_STORAGE_ACCESS_KEY", "hunter2?")]));
    assert!(
        error.contains("AZURE_STORAGE_ACCESS_KEY is not the base64 of a key") && !error.contains("hunter2"),
        "{error}"
    );
}
