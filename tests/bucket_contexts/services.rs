//! Google Cloud Storage and Azure Blob Storage: what is asked, and with what.

use std::fs;

use super::server::{Reply, Request, Server};
use super::support::fetched::{built, failed};
use super::support::run;
use super::{ALL, archive, with};

/// What both send with an object.
fn object(body: Vec<u8>) -> Reply {
    Reply::new(200).with("ETag", "\"1\"").with("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT").body(body)
}

fn xml(status: u16, code: &str) -> Reply {
    Reply::new(status).body(format!("<?xml version='1.0'?><Error><Code>{code}</Code><Message>said</Message></Error>"))
}

fn google() -> Server {
    let packed = archive();
    Server::start(move |request| match request.path.as_str() {
        "/token" => Reply::new(200).body(r#"{"access_token":"token-of-google","expires_in":3600}"#),
        "/box/dir%2Fk%2Etgz" | "/box/context%2Etar%2Egz" => object(packed.clone()),
        path if path.starts_with("/box/") => xml(404, "NoSuchKey"),
        path if path.starts_with("/private/") => xml(403, "AccessDenied"),
        _ => xml(404, "NoSuchBucket"),
    })
}

fn last(server: &Server) -> Request {
    server.seen().last().expect("asked").clone()
}

#[test]
fn google_by_service_account() {
    let server = google();
    let url = format!("http://{}", server.host());
    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("key.pem").display().to_string();
    run("openssl", &["genpkey", "-quiet", "-algorithm", "RSA", "-out", &path]);
    let key = serde_json::json!({"type": "service_account", "client_email": "a@example.org", "token_uri": format!("{url}/token"),
        "private_key": fs::read_to_string(&path).expect("key")});
    let file = folder.path().join("key.json");
    fs::write(&file, key.to_string()).expect("written");
    let file = file.display().to_string();
    let variables = [("GOOGLE_APPLICATION_CREDENTIALS", file.as_str()), ("STORAGE_EMULATOR_HOST", &url)];
    assert_eq!(built("gs://box/dir/k.tgz", &with(&variables)), ALL);
    assert_eq!(last(&server).header("authorization"), Some("Bearer token-of-google"));
    assert_eq!(last(&server).header("accept-encoding"), Some("gzip"), "stored bytes, not unpacked on the way");
    assert_eq!(built("gs://box", &with(&variables)), ALL);

    let error = failed("gs://private/k.tgz", &with(&variables));
    assert!(error.contains("access denied (403 AccessDenied: said): the account needs the role"), "{error}");
    let error = failed("gs://nobox/k.tgz", &with(&variables));
    assert!(error.contains(&format!("gs://nobox/k.tgz (at {url}): there is no bucket \"nobox\"")), "{error}");
    let error = failed("gs://box/dir", &with(&variables));
    assert!(error.contains("gs://box/dir/context.tar.gz may be meant"), "{error}");
}

#[test]
fn an_emulator_is_told_who_we_are_on_demand_only() {
    let server = google();
    assert_eq!(built("gs://box/dir/k.tgz", &with(&[("STORAGE_EMULATOR_HOST", &server.host())])), ALL);
    assert_eq!(last(&server).header("authorization"), None);
}

fn azure() -> Server {
    let packed = archive();
    Server::start(move |request| match request.path.as_str() {
        path if path.starts_with("/metadata/identity") => Reply::new(200).body(r#"{"access_token":"token-of-entra"}"#),
        "/box/k.tgz" if request.header("authorization").is_some() => object(packed.clone()),
        "/public/k.tgz" => object(packed.clone()),
        "/box/k.tgz" => xml(409, "PublicAccessNotPermitted"),
        path if path.starts_with("/box/") => xml(404, "BlobNotFound"),
        _ => xml(404, "ContainerNotFound"),
    })
}

#[test]
fn azure_by_shared_key() {
    let server = azure();
    let url = format!("http://{}", server.host());
    // "key-of-the-account"
    let key = [("AZURE_STORAGE_ENDPOINT", url.as_str()), ("AZURE_STORAGE_ACCESS_KEY", "a2V5LW9mLXRoZS1hY2NvdW50")];
    for host in ["acct.blob.core.windows.net", "acct.blob.core.usgovcloudapi.net"] {
        assert_eq!(built(&format!("https://{host}/box/k.tgz"), &with(&key)), ALL);
    }
    let request = last(&server);
    let proof = request.header("authorization").expect("signed");
    assert_eq!(proof, format!("SharedKey acct:{}", signature(&request)), "as Microsoft's pages have it");

    let place = |path: &str| format!("https://acct.blob.core.windows.net/{path}");
    let error = failed(&place("box/other.tgz"), &with(&key));
    assert!(error.contains(&format!("(at {url}): there is no such object in the bucket: check the key")), "{error}");
    let error = failed(&place("nobox/k.tgz"), &with(&key));
    assert!(error.contains("there is no bucket \"nobox\""), "{error}");
}

/// The signature of a GET of `/box/k.tgz`, made by openssl.
///
/// # Source
/// Microsoft, "Authorize with Shared Key", version 2009-09-19 and later.
fn signature(request: &Request) -> String {
    let headers: Vec<String> = request
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-ms-"))
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let date = request.header("date").unwrap_or_default();
    let text = format!("GET\n\n\n\n\n\n{date}\n\n\n\n\n\n{}/acct/box/k.tgz", headers.concat());
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    fs::write(file.path(), text).expect("written");
    let path = file.path().display().to_string();
    let script =
        format!("openssl dgst -sha256 -mac HMAC -macopt key:key-of-the-account -binary {path} | openssl base64 -A");
    run("sh", &["-c", &script])
}

#[test]
fn azure_by_identity_and_as_nobody() {
    let server = azure();
    let url = format!("http://{}", server.host());
    let blob = "https://acct.blob.core.windows.net/box/k.tgz";
    let endpoint = ("AZURE_STORAGE_ENDPOINT", url.as_str());
    let identity = [endpoint, ("AZURE_CLIENT_ID", "a-client"), ("AZURE_POD_IDENTITY_AUTHORITY_HOST", url.as_str())];
    assert_eq!(built(blob, &with(&identity)), ALL);
    assert_eq!(last(&server).header("authorization"), Some("Bearer token-of-entra"));
    assert!(server.seen()[0].path.contains("resource=https%3A%2F%2Fstorage.azure.com"), "{}", server.seen()[0].path);

    assert_eq!(built("https://acct.blob.core.windows.net/public/k.tgz", &with(&[endpoint])), ALL);
    let error = failed(blob, &with(&[endpoint]));
    let expected =
        "access denied (409 PublicAccessNotPermitted: said): nothing says who we are: set AZURE_STORAGE_ACCESS_KEY";
    assert!(error.contains(expected), "{error}");
}
