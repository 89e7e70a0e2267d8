//! What is said about stores that cannot be used.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

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
    let (code, text) = serve("s3://nothing/here", &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("there is no bucket s3://nothing/here"), "{text}");
}

#[test]
fn wrong_usage_is_told() {
    let (code, text) = serve("ftp://host/path", &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("expected s3://BUCKET/PREFIX"), "{text}");
}

#[test]
fn a_place_of_another_format_is_left_alone() {
    let address = store::address(Path::new("/other-format"));
    let (_, path) = address.split_once("//").expect("an address");
    assert_eq!(store::request(store::service(), "PUT", &format!("/{path}/format")).0, 200);
    let (code, text) = serve(&address, &[]);
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
        ("az://bucket/prefix", "AZURE_STORAGE_ENDPOINT", "put /bucket/prefix/probe/", "if-none-match: *"),
    ];
    for (store, variable, line, condition) in services {
        let (address, requests) = stubborn_service(YES);
        let skip =
            [("GOOGLE_BEARER_TOKEN", "x"), ("AZURE_SKIP_SIGNATURE", "true"), ("AZURE_STORAGE_ACCOUNT_NAME", "x")];
        let variables: Vec<_> = skip.into_iter().chain([(variable, address.as_str())]).collect();
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
    let (code, text) = serve("s3://bucket/prefix", &[("AWS_ENDPOINT_URL", &address)]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("access to s3://bucket/prefix was denied: check the credentials"), "{text}");
    assert!(!text.contains("secret") && !text.contains("Signature"), "{text}");
}
