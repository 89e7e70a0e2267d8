//! What is said about stores that cannot be used.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::registry::authority::Authority;
use crate::registry::store;

fn serve(address: &str, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache-server"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--store", address]);
    store::equip(&mut command);
    let output = command.envs(variables.iter().copied()).output().expect("cache-server runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_missing_bucket_is_named() {
    let address = store::address_in("nothing", "here");
    let (code, text) = serve(&address, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("there is no bucket {address}")), "{text}");
}

#[test]
fn wrong_usage_is_told() {
    let (code, text) = serve("ftp://host/path", &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("expected s3://BUCKET/PREFIX"), "{text}");
}

#[test]
fn a_place_of_another_format_is_left_alone() {
    let data = Path::new("/other-format");
    store::put_empty(data, "format");
    let (code, text) = serve(&store::address(data), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("does not hold data of this version"), "{text}");
}

/// A service that gives every request the same answer, and remembers what it was asked.
fn stubborn_service(answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let requests = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.expect("accepted"));
            let (mut head, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                head.push_str(&line.to_lowercase());
                line.clear();
            }
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse().ok());
            let _ = std::io::copy(&mut reader.by_ref().take(length.unwrap_or(0)), &mut std::io::sink());
            noted.lock().expect("unpoisoned").push(head);
            // A client that is gone needs no answer.
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    (address, requests)
}

const YES: &str = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nx-goog-generation: 1\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
                   Content-Length: 0\r\nConnection: close\r\n\r\n";
const NO: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[test]
fn stores_that_ignore_conditions_are_refused() {
    let services = [
        ("s3://bucket/prefix", "AWS_ENDPOINT_URL", "put /bucket/prefix/probe/", "if-none-match: *"),
        ("gs://bucket/prefix", "GOOGLE_BASE_URL", "put /bucket/prefix%2fprobe%2f", "x-goog-if-generation-match: 0"),
        (
            "gs://bucket/prefix",
            "STORAGE_EMULATOR_HOST",
            "put /bucket/prefix%2fprobe%2f",
            "x-goog-if-generation-match: 0",
        ),
        ("az://bucket/prefix", "AZURE_STORAGE_ENDPOINT", "put /bucket/prefix/probe/", "if-none-match: *"),
    ];
    for (store, variable, line, condition) in services {
        let (address, requests) = stubborn_service(YES);
        let google = if variable == "GOOGLE_BASE_URL" { "GOOGLE_BEARER_TOKEN" } else { "UNUSED" };
        let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_NAME", google];
        let known = names.map(|name| (name, "x")).into_iter().chain([("AZURE_SKIP_SIGNATURE", "true")]);
        let variables: Vec<_> = known.chain([(variable, address.as_str())]).collect();
        let (code, text) = serve(store, &variables);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(&format!("{store} does not honour conditional writes (If-None-Match: *)")), "{text}");
        let requests = requests.lock().expect("unpoisoned");
        assert!(requests[0].starts_with(line) && requests[0].contains(condition), "{}", requests[0]);
        assert_eq!(requests.iter().filter(|head| head.starts_with("put ")).count(), 2, "{requests:?}");
    }
}

#[test]
fn denied_access_is_told_as_such_and_without_secrets() {
    let (address, _) = stubborn_service(NO);
    let (name, endpoint) = store::endpoint(&address);
    let store = store::address_in("bucket", "prefix");
    let (code, text) = serve(&store, &[(name, &endpoint)]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("access to {store} was denied: check the credentials")), "{text}");
    assert!(!text.contains("secret") && !text.contains("Signature") && !text.contains("Eby8"), "{text}");
}

#[test]
fn the_authority_of_a_store_is_named_by_the_environment() {
    let (authority, trusted) = (Authority::new(), tempfile::tempdir().expect("temporary directory"));
    authority.sign("server", "1");
    let certificate = authority.path("ca.crt");
    std::fs::copy(&certificate, trusted.path().join("company.crt")).expect("copied");
    let host = store::start_with_tls(&authority.path("server.crt"), &authority.path("server.key"));
    let (name, endpoint) = store::endpoint(&format!("https://{host}"));
    let address = store::address_in("nothing", "here");
    let serve_with = |trust: (&str, &Path)| {
        let path = trust.1.to_str().expect("UTF-8");
        serve(&address, &[(name, &endpoint), (trust.0, path)]).1
    };
    let text = serve_with(("UNUSED", Path::new("")));
    assert!(text.contains("invalid peer certificate: UnknownIssuer"), "{text}");
    // Whoever is answered is trusted.
    for trust in [("SSL_CERT_FILE", certificate.as_path()), ("SSL_CERT_DIR", trusted.path())] {
        let text = serve_with(trust);
        assert!(text.contains(&format!("there is no bucket {address}")), "{trust:?} {text}");
    }
}
