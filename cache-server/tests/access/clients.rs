use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use yadokari::digest::Digest;
use yadokari::image::media_type;

use crate::create_token;
use crate::registry::{Registry, descriptor};

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().expect("the client is installed")
}

#[track_caller]
fn is_refused(output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(!output.status.success(), "{text}");
    let refusal = ["unauthorized", "authentication required", "denied"];
    assert!(refusal.iter().any(|word| text.contains(word)), "{text}");
}

/// An image without layers, as `skopeo` reads it.
fn write_layout(layout: &Path) {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("made");
    let write = |content: &[u8]| fs::write(blobs.join(Digest::sha256(content).hex()), content).expect("written");
    let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] } });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(media_type::OCI_CONFIG, &config), "layers": [],
    });
    let manifest = manifest.to_string().into_bytes();
    write(&config);
    write(&manifest);
    let mut entry = descriptor(media_type::OCI_MANIFEST, &manifest);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "v1" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(layout.join("index.json"), index.to_string()).expect("written");
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
}

#[test]
fn skopeo_logs_in_pushes_and_pulls() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (tokens, login) = (directory.path().join("tokens.json"), directory.path().join("auth.json"));
    let layout = directory.path().join("layout");
    write_layout(&layout);
    let token = create_token(&tokens, "ci", "team/**=pull,push");
    let registry = Registry::start_with(&["--anonymous=none", "--tokens", tokens.to_str().expect("UTF-8")]);
    let auth = format!("--authfile={}", login.display());
    let log_in = |password: &str| {
        run("skopeo", &["login", "--tls-verify=false", &auth, "-u", "ci", "-p", password, registry.address()])
    };
    assert!(!log_in("wrong").status.success());
    let output = log_in(&token);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let source = format!("oci:{}:v1", layout.display());
    let remote = |name: &str| format!("docker://{}/{name}", registry.address());
    let copy = |from: &str, to: &str| {
        run("skopeo", &["copy", "--src-tls-verify=false", "--dest-tls-verify=false", &auth, from, to])
    };
    let copies = |from: &str, to: &str| {
        let output = copy(from, to);
        assert!(output.status.success(), "{from} {to}: {}", String::from_utf8_lossy(&output.stderr));
    };
    copies(&source, &remote("team/app:v1"));
    // A mount of a blob, with two scopes.
    copies(&remote("team/app:v1"), &remote("team/other:v2"));
    copies(&remote("team/other:v2"), &format!("oci:{}:v2", directory.path().join("pulled").display()));
    is_refused(&copy(&source, &remote("elsewhere:v1")));
    let nobody = directory.path().join("empty.json");
    fs::write(&nobody, "{}").expect("written");
    let auth = format!("--authfile={}", nobody.display());
    is_refused(&run("skopeo", &["inspect", "--tls-verify=false", &auth, &remote("team/app:v1")]));
}

#[test]
fn podman_logs_in_and_pulls_what_it_pushed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let tokens = directory.path().join("tokens.json");
    let layout = directory.path().join("layout");
    write_layout(&layout);
    let token = create_token(&tokens, "ci", "team/**=pull,push");
    let registry = Registry::start_with(&["--tokens", tokens.to_str().expect("UTF-8")]);
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (root, state, auth) = (path("root"), path("run"), format!("--authfile={}", path("auth.json")));
    let podman = |arguments: &[&str]| {
        let mut all = vec!["--root", root.as_str(), "--runroot", state.as_str(), "--storage-driver", "vfs"];
        all.extend(arguments);
        run("podman", &all)
    };
    let works = |arguments: &[&str]| {
        let output = podman(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let name = format!("{}/team/app:v1", registry.address());
    let source = format!("oci:{}:v1", layout.display());
    let credentials = format!("--dest-creds=ci:{token}");
    let pushed =
        run("skopeo", &["copy", "--dest-tls-verify=false", &credentials, &source, &format!("docker://{name}")]);
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    fs::write(path("auth.json"), "{}").expect("written");
    // Reading needs no login on loopback; writing does.
    works(&["pull", "--tls-verify=false", &auth, &name]);
    let copy = format!("{}/team/copy:v2", registry.address());
    let push = ["push", "--tls-verify=false", &auth, &name, &copy];
    is_refused(&podman(&push));
    works(&["login", "--tls-verify=false", &auth, "-u", "ci", "-p", &token, registry.address()]);
    works(&push);
    assert_eq!(registry.head("/v2/team/copy/manifests/v2").status, 200);
}
