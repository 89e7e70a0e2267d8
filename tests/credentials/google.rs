//! Google: keys, metadata, and other people's tokens.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::server::{Reply, Server};
use super::{basic, field, known, nobody, refusal};

fn google() -> Server {
    Server::start(|request| match request.path.as_str() {
        "/impersonate" => Reply::new(200).body(r#"{"accessToken":"impersonated","expireTime":"2099-01-01T00:00:00Z"}"#),
        "/subject" => Reply::new(200).body(r#"{"value":"from url"}"#),
        _ => Reply::new(200).body(r#"{"access_token":"ya29","expires_in":3599,"token_type":"Bearer"}"#),
    })
}

fn openssl(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn file(folder: &Path, json: &serde_json::Value) -> String {
    let path = folder.join("adc.json");
    fs::write(&path, json.to_string()).expect("write");
    path.to_str().expect("path").to_owned()
}

fn of_file(folder: &Path, json: &serde_json::Value) -> yadokari::registry::Credentials {
    known(&[("GOOGLE_APPLICATION_CREDENTIALS", &file(folder, json))])
}

#[test]
fn a_service_account_signs_its_assertion() {
    let server = google();
    let folder = tempfile::tempdir().expect("tempdir");
    let key = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], folder.path());
    fs::write(folder.path().join("key.pem"), &key).expect("write");
    openssl(&["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"], folder.path());
    let url = format!("http://{}/token", server.host());
    let json = serde_json::json!({"type": "service_account", "client_email": "ci@p.iam.gserviceaccount.com",
        "private_key": key, "private_key_id": "k1", "token_uri": url});
    let credentials = of_file(folder.path(), &json);
    for registry in ["europe-docker.pkg.dev", "europe-docker.pkg.dev"] {
        assert_eq!(basic(&credentials, registry), "oauth2accesstoken:ya29");
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    let grant = field(&seen[0], "grant_type");
    assert_eq!(grant.as_deref(), Some("urn:ietf:params:oauth:grant-type:jwt-bearer"));
    let assertion = field(&seen[0], "assertion").expect("assertion");
    let (signed, signature) = assertion.rsplit_once('.').expect("three parts");
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let (header, claims) = signed.split_once('.').expect("two parts");
    let header: serde_json::Value = serde_json::from_slice(&decode(header)).expect("header");
    assert_eq!(header, serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    let claims: serde_json::Value = serde_json::from_slice(&decode(claims)).expect("claims");
    assert_eq!((&claims["iss"], &claims["aud"]), (&json["client_email"], &json["token_uri"]));
    assert_eq!(claims["exp"].as_i64().expect("exp") - claims["iat"].as_i64().expect("iat"), 3600);
    fs::write(folder.path().join("signed"), signed).expect("write");
    fs::write(folder.path().join("signature"), decode(signature)).expect("write");
    let verify = ["dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "signed"];
    assert_eq!(openssl(&verify, folder.path()), "Verified OK\n");
}

#[test]
fn the_metadata_server() {
    let server = google();
    let credentials = known(&[("GCE_METADATA_HOST", &server.host())]);
    assert_eq!(basic(&credentials, "eu.gcr.io"), "oauth2accesstoken:ya29");
    let seen = server.seen();
    assert_eq!(seen[0].path, "/computeMetadata/v1/instance/service-accounts/default/token");
    assert_eq!(seen[0].header("metadata-flavor"), Some("Google"));
    let error = refusal(&known(&[("GCE_METADATA_HOST", &nobody())]), "gcr.io");
    assert!(error.contains("from Google: no Google credentials: none in GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
}

#[test]
fn what_gcloud_leaves() {
    let server = google();
    let folder = tempfile::tempdir().expect("tempdir");
    let json = serde_json::json!({"type": "authorized_user", "client_id": "id", "client_secret": "s",
        "refresh_token": "r", "token_uri": format!("http://{}/", server.host())});
    let path = folder.path().join("application_default_credentials.json");
    fs::write(&path, json.to_string()).expect("write");
    let credentials = known(&[("CLOUDSDK_CONFIG", folder.path().to_str().expect("path"))]);
    assert_eq!(basic(&credentials, "gcr.io"), "oauth2accesstoken:ya29");
    let sent = ["grant_type", "client_id", "client_secret", "refresh_token"].map(|n| field(&server.seen()[0], n));
    assert_eq!(sent, ["refresh_token", "id", "s", "r"].map(|value| Some(value.to_owned())));
}

#[test]
fn workload_identity() {
    let server = google();
    let url = |path: &str| format!("http://{}{path}", server.host());
    let folder = tempfile::tempdir().expect("tempdir");
    let subject = folder.path().join("subject");
    fs::write(&subject, "of kubernetes\n").expect("write");
    let account = |source: serde_json::Value, impersonation: Option<String>| {
        serde_json::json!({"type": "external_account", "audience": "//iam.googleapis.com/p", "token_url": url("/sts"),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "credential_source": source,
            "service_account_impersonation_url": impersonation})
    };
    let plain = account(serde_json::json!({"file": subject}), None);
    assert_eq!(basic(&of_file(folder.path(), &plain), "gcr.io"), "oauth2accesstoken:ya29");
    let format = serde_json::json!({"type": "json", "subject_token_field_name": "value"});
    let source = serde_json::json!({"url": url("/subject"), "headers": {"X-Me": "h"}, "format": format});
    let fetched = account(source, Some(url("/impersonate")));
    assert_eq!(basic(&of_file(folder.path(), &fetched), "gcr.io"), "oauth2accesstoken:impersonated");
    let seen = server.seen();
    assert_eq!(field(&seen[0], "subject_token").as_deref(), Some("of kubernetes"));
    assert_eq!(field(&seen[0], "audience").as_deref(), Some("//iam.googleapis.com/p"));
    assert_eq!((seen[1].path.as_str(), seen[1].header("x-me")), ("/subject", Some("h")));
    assert_eq!(field(&seen[2], "subject_token").as_deref(), Some("from url"));
    assert_eq!(seen[3].header("authorization"), Some("Bearer ya29"));
    let program = account(serde_json::json!({"executable": {"command": "id"}}), None);
    assert!(refusal(&of_file(folder.path(), &program), "gcr.io").contains("names neither a file nor a url"));
}

#[test]
fn files_that_cannot_be_used() {
    let folder = tempfile::tempdir().expect("tempdir");
    let account = |key: &str, url: &str| serde_json::json!({"type": "service_account", "client_email": "a", "private_key": key, "token_uri": url});
    for (json, expected) in [
        (serde_json::json!("hunter2"), "no credentials of a type that is known"),
        (serde_json::json!({"type": "hunter2"}), "no credentials of a type that is known"),
        (account("hunter2", "https://oauth2.googleapis.com/token"), "private_key is no RSA key in PEM"),
        (account("hunter2", "http://oauth2.example/"), "token_uri is a plain http URL, to which no secret is sent"),
    ] {
        let error = refusal(&of_file(folder.path(), &json), "gcr.io");
        assert!(error.contains(expected) && error.contains("adc.json") && !error.contains("hunter2"), "{error}");
    }
    let missing = refusal(&known(&[("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json")]), "gcr.io");
    assert!(missing.contains("cannot read /nonexistent/key.json"), "{missing}");
}
