//! Azure Blob Storage and Google Cloud Storage by programs of other people.

use std::fs;
use std::process::Command;

use super::emulator::{AZURE_KEY, AZURE_SIGNATURE, Emulator};
use super::support::fetched::{built, failed};
use super::{ALL, archive, with};

const ACCOUNT: &str = "https://devstoreaccount1.blob.core.windows.net";

/// A file with the archive, as curl names it.
fn archive_file() -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    fs::write(file.path(), archive()).expect("written");
    let name = format!("@{}", file.path().display());
    (file, name)
}

/// With the container `box`, and the address of its account.
fn azure() -> (Emulator, String) {
    let (emulator, (_file, body)) = (Emulator::azure(), archive_file());
    let put = |name: &str, query: &str, body: &str| {
        let target = format!("devstoreaccount1/{name}?{query}{AZURE_SIGNATURE}");
        emulator.send("PUT", &target, body, &["x-ms-blob-type: BlockBlob", "Content-Type: application/gzip"]);
    };
    put("box", "restype=container&", "");
    put("box/context.tar.gz", "", &body);
    put("box/team%20a/x%2By.tgz", "", &body);
    let account = format!("{}/devstoreaccount1", emulator.origin);
    (emulator, account)
}

#[test]
fn azure_by_key_and_by_signature() {
    let (emulator, url) = azure();
    let authority = emulator.authority();
    let known = [("SSL_CERT_FILE", authority.as_str()), ("AZURE_STORAGE_ENDPOINT", url.as_str())];
    let by_key = [known[0], known[1], ("AZURE_STORAGE_ACCESS_KEY", AZURE_KEY)];
    for path in ["box", "box/team%20a/x%2By.tgz"] {
        assert_eq!(built(&format!("{ACCOUNT}/{path}"), &with(&by_key)), ALL, "{path}");
    }
    // The emulator's own address, with a signature.
    assert_eq!(built(&format!("{url}/box/context.tar.gz?{AZURE_SIGNATURE}"), &with(&known[..1])), ALL);

    let failed = |path: &str, variables: &[(&str, &str)]| failed(&format!("{ACCOUNT}/{path}"), &with(variables));
    let error = failed("box/other", &by_key);
    assert!(error.contains("box/other/context.tar.gz may be meant"), "{error}");
    let error = failed("nobox/k.tgz", &by_key);
    assert!(error.contains("there is no bucket \"nobox\""), "{error}");
    let error = failed("box", &[known[0], known[1], ("AZURE_STORAGE_ACCESS_KEY", "aHVudGVyMg==")]);
    assert!(error.contains("access denied (403 ") && error.contains("check AZURE_STORAGE_ACCESS_KEY"), "{error}");
    assert!(!error.contains("aHVudGVyMg"), "{error}");
    // It hides what it does not give out to everybody.
    let error = failed("box", &known);
    assert!(error.contains("nothing says who we are"), "{error}");
}

#[test]
fn the_authority_of_a_bucket_is_named_by_the_environment() {
    let (emulator, url) = azure();
    let by_key = [("AZURE_STORAGE_ENDPOINT", url.as_str()), ("AZURE_STORAGE_ACCESS_KEY", AZURE_KEY)];
    let context = format!("{ACCOUNT}/box");
    let folder = emulator.authorities();
    assert_eq!(built(&context, &with(&[&by_key[..], &[("SSL_CERT_DIR", &folder)]].concat())), ALL);
    let error = failed(&context, &with(&by_key));
    assert!(error.contains("no answer: ") && error.contains("UnknownIssuer"), "{error}");
    // Flags for registries are for registries.
    let flagged = |command: &mut Command| {
        with(&by_key)(command);
        command.args(["--skip-tls-verify", "--skip-tls-verify-pull"]);
    };
    assert!(failed(&context, &flagged).contains("UnknownIssuer"));
}

#[test]
fn google_by_an_emulator() {
    let (emulator, (_file, body)) = (Emulator::google(), archive_file());
    emulator.send("POST", "storage/v1/b", r#"{"name":"box"}"#, &["Content-Type: application/json"]);
    for name in ["context.tar.gz", "team%20a%2Fx%2By.tgz"] {
        let target = format!("upload/storage/v1/b/box/o?uploadType=media&name={name}");
        emulator.send("POST", &target, &body, &["Content-Type: application/gzip"]);
    }
    let authority = emulator.authority();
    let variables = [("SSL_CERT_FILE", authority.as_str()), ("STORAGE_EMULATOR_HOST", emulator.origin.as_str())];
    for context in ["gs://box", "gs://box/team%20a/x%2By.tgz"] {
        assert_eq!(built(context, &with(&variables)), ALL, "{context}");
    }
    let error = failed("gs://box/other", &with(&variables));
    assert!(error.contains("gs://box/other/context.tar.gz may be meant"), "{error}");
    assert!(failed("gs://box", &with(&variables[1..])).contains("UnknownIssuer"));
}
