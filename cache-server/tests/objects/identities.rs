//! Who we are for Azure.

use std::path::Path;
use std::process::Command;

use crate::registry::command::serve_in;
use crate::registry::store::azurite::CONTAINER_SIGNATURE;
use crate::registry::{Registry, store};

/// A server that knows of Azure what `variables` say.
fn describe(data: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = serve_in(data);
    command.envs(variables.iter().copied());
    command
}

#[track_caller]
fn works(data: &str, variables: &[(&str, &str)]) {
    let data = Path::new(data);
    let registry = Registry::start_equipped(describe(data, variables), data, |_| ());
    registry.push_image("a", "v1");
    assert_eq!(registry.get("/v2/a/manifests/v1").status, 200);
    // Found below the place, as the usual credentials see it.
    assert_eq!(store::objects(data, "blobs/").len(), 2);
}

#[test]
fn the_emulator_is_found_without_credentials() {
    let url = format!("http://{}", store::host());
    works("/identities/emulator", &[("AZURE_STORAGE_USE_EMULATOR", "true"), ("AZURITE_BLOB_STORAGE_URL", &url)]);
}

#[test]
fn a_shared_access_signature_is_enough_but_for_redirects() {
    let (name, endpoint) = store::endpoint(&format!("http://{}", store::host()));
    let token = ("AZURE_STORAGE_SAS_TOKEN", CONTAINER_SIGNATURE);
    let variables = [(name, endpoint.as_str()), ("AZURE_STORAGE_ACCOUNT_NAME", "x"), token];
    works("/identities/signature", &variables);
    let data = Path::new("/identities/redirect");
    let output = describe(data, &variables).arg("--redirect").output().expect("cache-server runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot sign addresses of az://tests/"), "{text}");
    assert!(!text.contains("sig="), "{text}");
}

#[test]
fn a_wrong_key_is_refused() {
    let (name, endpoint) = store::endpoint(&format!("http://{}", store::host()));
    let variables = [
        (name, endpoint.as_str()),
        ("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "aHVudGVyMg=="),
    ];
    let output = describe(Path::new("/identities/wrong"), &variables).output().expect("cache-server runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("was denied: check the credentials"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
}
