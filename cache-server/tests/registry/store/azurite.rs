//! Azurite: Azure Blob Storage by Microsoft.

use std::process::Command;

use super::{installed, listed, request};

pub(super) const ACCOUNT: &str = "devstoreaccount1";
/// The same in every emulator; Microsoft's pages have it.
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// Everything on blobs and containers, made from that key by a Python script after "Create an account SAS".
const SIGNATURE: &str = "sv=2018-11-09&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00:00:00Z\
    &sig=CPoOux8rQhR0b5pwICKRhVPCypVOv2XSgLfWcXpc32c%3D";
/// The same of the container `tests`, after "Create a service SAS". Azurite takes no batches with the other one.
pub(crate) const CONTAINER_SIGNATURE: &str = "sv=2018-11-09&sr=c&sp=rwdlac&se=2099-01-01T00:00:00Z\
    &sig=%2FBqaHCl%2F0vaTNHg4eG6rEpoVQ6frrPDwPh03GFUow6E%3D";

/// What to run, and what stands before its address.
pub(super) fn describe(command: &mut Command) -> &'static str {
    command.arg(installed("azurite/node_modules/.bin/azurite-blob", "azurite.sh"));
    command.args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--skipApiVersionCheck"]);
    "listens on "
}

pub(super) fn equip(command: &mut Command) {
    command.env("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT).env("AZURE_STORAGE_ACCOUNT_KEY", KEY);
}

fn ask(host: &str, method: &str, path: &str, query: &str, headers: &str) -> (u16, String) {
    request(host, method, &format!("/{ACCOUNT}/{path}?{query}{SIGNATURE}"), headers)
}

pub(super) fn make_bucket(host: &str) {
    let (status, text) = ask(host, "PUT", "tests", "restype=container&", "");
    assert_eq!(status, 201, "{text}");
}

pub(super) fn put_empty(host: &str, name: &str) {
    let (status, text) = ask(host, "PUT", &format!("tests/{name}"), "", "x-ms-blob-type: BlockBlob\r\n");
    assert_eq!(status, 201, "{text}");
}

pub(super) fn list(host: &str, prefix: &str) -> Vec<(String, u64)> {
    let (status, text) = ask(host, "GET", "tests", &format!("restype=container&comp=list&prefix={prefix}&"), "");
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("<NextMarker/>"), "{text}");
    listed(&text, "Name", "Content-Length")
}
