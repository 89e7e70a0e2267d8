//! moto: S3, with `If-None-Match` and `If-Match`.

use std::process::Command;

use super::{installed, listed, request};

const WHO: &str = "Authorization: AWS4-HMAC-SHA256 Credential=key/20200101/us-east-1/s3/aws4_request\r\n";

/// What to run, and what stands before its address.
pub(super) fn describe(command: &mut Command) -> &'static str {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/registry/store/moto_server.py");
    command.arg(installed("moto/bin/python", "moto.sh")).args([script, "-H", "127.0.0.1", "-p", "0"]);
    "Running on "
}

pub(super) fn equip(command: &mut Command) {
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").env("AWS_REGION", "us-east-1");
}

pub(super) fn make_bucket(host: &str) {
    assert_eq!(request(host, "PUT", "/tests", WHO).0, 200);
}

pub(super) fn put_empty(host: &str, name: &str) {
    assert_eq!(request(host, "PUT", &format!("/tests/{name}"), WHO).0, 200);
}

pub(super) fn list(host: &str, prefix: &str) -> Vec<(String, u64)> {
    let (status, text) = request(host, "GET", &format!("/tests?list-type=2&max-keys=1000&prefix={prefix}"), WHO);
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("<IsTruncated>false"), "{text}");
    listed(&text, "Key", "Size")
}
