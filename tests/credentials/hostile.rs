//! Services that lie, talk without end, point elsewhere, or say nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use super::server::{Reply, Request, Server};
use super::{ECR, basic, known, nobody, refusal};

/// ECR's endpoint, asked with secrets that must not come back.
fn asked_of(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> String {
    let server = Server::start(handler);
    let url = format!("http://{}", server.host());
    let credentials = known(&[
        ("AWS_ACCESS_KEY_ID", "AKIA"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2-key"),
        ("AWS_SESSION_TOKEN", "hunter2-session"),
        ("AWS_ENDPOINT_URL_ECR", &url),
    ]);
    let error = refusal(&credentials, ECR);
    assert!(!error.contains("hunter2"), "{error}");
    assert_eq!(refusal(&credentials, ECR), error, "a failure is remembered");
    error
}

#[test]
fn answers_without_sense() {
    for body in [
        "".to_owned(),
        "hunter2".to_owned(),
        r#"{"authorizationData":[]}"#.to_owned(),
        r#"{"authorizationData":[{"authorizationToken":"hunter2!"}]}"#.to_owned(),
        r#"{"authorizationData":[{"authorizationToken":"aHVudGVyMg=="}]}"#.to_owned(),
        r#"{"authorizationData":{"authorizationToken":7,"hunter2":null}}"#.to_owned(),
        "[".repeat(100_000),
    ] {
        let error = asked_of(move |_| Reply::new(200).body(body.clone()));
        assert!(error.contains("sent a malformed answer"), "{error}");
    }
}

#[test]
fn answers_without_end() {
    let error = asked_of(|_| Reply::new(200).body(vec![b' '; 8 << 20]));
    assert!(error.ends_with("sent a malformed answer: it is too large"), "{error}");
    let error = asked_of(|_| Reply::new(403).body(vec![b'x'; 8 << 20]));
    assert!(error.contains("answered 403: xxx") && error.len() < 1000, "{error}");
}

#[test]
fn redirects_are_not_followed() {
    let other = Server::start(|_| Reply::new(200));
    let location = format!("http://{}/", other.host());
    let error = asked_of(move |_| Reply::new(307).with("Location", &location));
    assert!(error.ends_with("answered 307: a redirect, which is not followed"), "{error}");
    assert!(other.seen().is_empty());
}

#[test]
fn refusals_say_why_but_no_secret() {
    let denied = r#"{"__type":"AccessDeniedException","message":"User x may not ecr:GetAuthorizationToken\u001b[31m"}"#;
    let error = asked_of(move |_| Reply::new(400).body(denied));
    assert!(error.ends_with("answered 400: AccessDeniedException: User x may not ecr:GetAuthorizationToken[31m"));
    let error = asked_of(|request| {
        let token = request.header("x-amz-security-token").unwrap_or_default();
        Reply::new(400).body(format!(r#"{{"message":"bad token {token}"}}"#))
    });
    assert!(error.ends_with("answered 400"), "{error}");
}

#[test]
fn a_moment_of_trouble_passes() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Reply::new(503),
        _ => Reply::new(200).body(r#"{"access_token":"ya29","expires_in":3599}"#),
    });
    assert_eq!(basic(&known(&[("GCE_METADATA_HOST", &server.host())]), "gcr.io"), "oauth2accesstoken:ya29");
    let server = Server::start(|_| Reply::new(500));
    let error = refusal(&known(&[("GCE_METADATA_HOST", &server.host())]), "gcr.io");
    assert!(error.ends_with("answered 500"), "{error}");
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn a_connection_that_breaks_is_made_anew() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let body = r#"{"authorizationData":[{"authorizationToken":"QVdTOnA=","expiresAt":4e9}]}"#;
        let reply = Reply::new(200).body(body);
        if tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 { reply.cut(5) } else { reply }
    });
    let url = format!("http://{}", server.host());
    let keys = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_ENDPOINT_URL_ECR", url.as_str())];
    assert_eq!(basic(&known(&keys), ECR), "AWS:p");
    assert_eq!(server.seen().len(), 2);
}

/// A metadata service that sends a byte now and then. It is in use until the process ends.
fn dripping() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
            while stream.write_all(b" ").is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        }
    });
    address
}

#[test]
fn slow_services_are_not_waited_for() {
    let host = dripping();
    let google = known(&[("GCE_METADATA_HOST", &host)]);
    let url = format!("http://{host}");
    let aws = known(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]);
    assert!(refusal(&google, "gcr.io").contains("there is no metadata server"));
    assert!(refusal(&aws, ECR).contains("there is no instance metadata service"));
}

#[test]
fn metadata_services_that_lie() {
    for role in ["../../user-data", "a b", "", "<html>"] {
        let server = Server::start(move |_| Reply::new(200).body(role));
        let url = format!("http://{}", server.host());
        let credentials = known(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]);
        assert!(refusal(&credentials, ECR).ends_with("sent a malformed answer: no name of a role"), "{role}");
        assert_eq!(server.seen().len(), 2, "{role}");
    }
}

#[test]
fn sts_answers_without_sense() {
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("token");
    std::fs::write(&file, "hunter2-jwt").expect("write");
    let bomb = "<!DOCTYPE x [<!ENTITY a \"hunter2hunter2\"><!ENTITY b \"&a;&a;&a;\">]><x>&b;</x>";
    let refused = "<E><Error><Code>AccessDenied</Code><Message>Not authorized</Message></Error></E>";
    let told = "<E><Error><Message>hunter2-jwt is not valid</Message></Error></E>";
    for (status, body, expected) in [
        (200, bomb, "STS sent a malformed answer: not the document that was expected"),
        (200, "<x", "STS sent a malformed answer: not the document that was expected"),
        (200, "<x><Credentials/></x>", "STS sent a malformed answer: not the document that was expected"),
        (403, refused, "answered 403: AccessDenied: Not authorized"),
        (400, told, "answered 400"),
    ] {
        let server = Server::start(move |_| Reply::new(status).body(body));
        let url = format!("http://{}", server.host());
        let credentials = known(&[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().expect("path")),
            ("AWS_ROLE_ARN", "r"),
            ("AWS_ENDPOINT_URL_STS", &url),
            ("AWS_ENDPOINT_URL_ECR", &format!("http://{}", nobody())),
        ]);
        let error = refusal(&credentials, ECR);
        assert!(error.ends_with(expected) && !error.contains("hunter2"), "{error}");
    }
}
