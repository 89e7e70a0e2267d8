//! Services that misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::{Reply, Request, Server};
use super::support::fetched::{build, built, failed};
use super::support::text;
use super::{ALL, archive, s3};

const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "hunter2hunter2"),
    ("AWS_SESSION_TOKEN", "session-hunter2-token"),
];

fn refused(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> String {
    let server = Server::start(handler);
    let error = failed("s3://box/k.tgz", &s3(&format!("http://{}", server.host()), &KEYS));
    assert!(!error.contains("hunter2"), "{error}");
    assert!(error.contains(&format!("s3://box/k.tgz (at http://{})", server.host())), "{error}");
    error
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = Server::start(|_| Reply::new(200).body("stolen"));
    let target = format!("http://{}/box/k.tgz", elsewhere.host());
    let error = refused(move |_| Reply::new(302).with("Location", &target));
    assert!(error.contains("answered 302, a redirect, which is not followed"), "{error}");
    assert!(elsewhere.seen().is_empty());
}

#[test]
fn the_region_of_the_bucket_is_named() {
    let moved = |_: &Request| Reply::new(301).with("x-amz-bucket-region", "eu-central-1");
    let error = refused(moved);
    assert!(
        error.contains("in region \"eu-central-1\" and not in \"us-east-1\": set AWS_REGION=eu-central-1"),
        "{error}"
    );
    let told = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-west-3</Region></Error>";
    let error = refused(move |_| Reply::new(400).body(told));
    assert!(error.contains("set AWS_REGION=eu-west-3"), "{error}");
}

#[test]
fn what_a_service_says_is_cleaned_and_holds_no_secret() {
    let error = refused(|request| {
        let token = request.header("x-amz-security-token").unwrap_or_default();
        Reply::new(403).body(format!("<Error><Code>AccessDenied</Code><Message>you sent {token}</Message></Error>"))
    });
    assert!(error.contains("access denied (403 AccessDenied): "), "{error}");
    let error =
        refused(|_| Reply::new(400).body("<Error><Code>Odd</Code><Message>red\u{9b}31m\nnext</Message></Error>"));
    assert!(error.contains("answered 400 Odd: red31m") && !error.contains("next"), "{error}");
    let error = refused(|_| Reply::new(400).body("<!DOCTYPE html><html>page</html>"));
    assert!(error.contains("the service answered 400\n"), "{error}");
}

#[test]
fn a_page_instead_of_an_archive() {
    let error = refused(|_| Reply::new(200).body("<html>sign in</html>"));
    assert!(error.contains("is no tar archive, plain or compressed by gzip"), "{error}");
}

#[test]
fn an_archive_that_ends_early() {
    let packed = archive();
    let half = packed[..packed.len() / 2].to_vec();
    let error = refused(move |_| Reply::new(200).body(half.clone()));
    assert!(error.contains("failed to unpack build context s3://box/k.tgz"), "{error}");
}

/// A server whose connections break after a third of the object.
fn breaking(etags: &'static [&'static str]) -> (Server, usize) {
    let packed = archive();
    let (length, count) = (packed.len(), Arc::new(AtomicUsize::new(0)));
    let server = Server::start(move |request| {
        let etag = etags[count.fetch_add(1, Ordering::SeqCst).min(etags.len() - 1)];
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let start: usize = range.map_or(0, |(start, _)| start.parse().expect("a number"));
        let reply = Reply::new(if range.is_some() { 206 } else { 200 }).with("ETag", etag);
        let reply = reply.with("Content-Range", format!("bytes {start}-{}/{length}", length - 1));
        reply.body(&packed[start..]).cut((length / 3).min(length - start))
    });
    (server, length)
}

#[test]
fn a_connection_that_breaks_is_gone_on_with() {
    let (server, _) = breaking(&["\"1\""]);
    assert_eq!(built("s3://box/k.tgz", &s3(&format!("http://{}", server.host()), &KEYS)), ALL);
    assert!(server.seen().len() >= 3, "three parts");
    assert!(server.seen()[1].header("range").is_some(), "the rest only");
}

#[test]
fn another_object_in_the_middle_is_noticed() {
    let (server, length) = breaking(&["\"1\"", "\"2\""]);
    let (output, _) = build("s3://box/k.tgz", &s3(&format!("http://{}", server.host()), &KEYS));
    let error = text(&output);
    assert!(!output.status.success() && error.contains(&format!(" of {length} bytes: ")), "{error}");
    assert!(error.contains("the connection broke after"), "{error}");
}
