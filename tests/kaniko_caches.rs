//! Layer caches that Kaniko filled, made here as it makes them: a build with the same flags leaves them
//! alone, and has its own results beside them. What Kaniko's warmer left: `warmer/tests/warm/lookup.rs`.

#![allow(clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{Registry, assert_success, context, executor, run, text};
use tempfile::TempDir;

/// Kaniko's keys are SHA-256 in hex, as ours are 64 hexadecimal digits.
const KEYS: [&str; 2] = [
    "1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014",
    "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
];

const DOCKERFILE: &str = "FROM scratch\nCOPY a /a\nCOPY b /b\nWORKDIR /w\n";

fn project() -> TempDir {
    context(DOCKERFILE, &[("a", "one"), ("b", "two")])
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn keep(layout: &Path, bytes: &[u8], media_type: &str) -> Value {
    let hex = hex(bytes);
    fs::write(layout.join("blobs/sha256").join(&hex), bytes).expect("blob");
    json!({"mediaType": media_type, "size": bytes.len(), "digest": format!("sha256:{hex}")})
}

/// An entry as Kaniko's layout cache has it: one layer on an empty configuration, in a layout of its own.
///
/// # Source
/// Kaniko `pkg/executor/push.go` (`pushLayerToCache`), go-containerregistry `pkg/v1/empty`, `pkg/v1/layout`.
fn entry(layout: &Path, labels: &Value) {
    fs::create_dir_all(layout.join("blobs/sha256")).expect("directory");
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).expect("oci-layout");
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    tar.append_data(&mut header, "made", &b"stale"[..]).expect("member");
    let tar = tar.into_inner().expect("tar");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&tar).expect("gzip");
    let layer = gzip.finish().expect("gzip");
    let config = json!({
        "architecture": "amd64", "created": "2026-11-20T10:00:00Z", "os": "linux", "config": {"Labels": labels},
        "history": [{"author": "kaniko", "created": "0001-01-01T00:00:00Z", "created_by": "COPY a /a"}],
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&tar))]},
    });
    let docker = "application/vnd.docker";
    let config = keep(layout, config.to_string().as_bytes(), &format!("{docker}.container.image.v1+json"));
    let layer = keep(layout, &layer, &format!("{docker}.image.rootfs.diff.tar.gzip"));
    let media_type = format!("{docker}.distribution.manifest.v2+json");
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]});
    let manifest = keep(layout, manifest.to_string().as_bytes(), &media_type);
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest],
    });
    fs::write(layout.join("index.json"), index.to_string()).expect("index.json");
}

/// The second one only points to another key (`FF_KANIKO_INFER_CROSS_STAGE_CACHE_KEY`).
fn labels() -> [Value; 2] {
    [json!(null), json!({"kaniko.cache.pointer-target": KEYS[0]})]
}

fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).expect("file"));
        }
    }
    found
}

/// Builds on a runner that has nothing; says how many of the three steps were cached.
fn build(project: &TempDir, flags: &[String], cached: usize) {
    let output = executor().arg("-c").arg(project.path()).arg("--cache=true").args(flags).output();
    let output = output.expect("executor runs");
    assert_success(&output);
    let said = text(&output);
    assert!(said.contains(&format!("{cached} steps cached, {} run", 3 - cached)), "{said}");
    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
}

fn cache_command(arguments: &[&str]) -> String {
    run(env!("CARGO_BIN_EXE_executor"), &[&["cache"], arguments].concat())
}

/// Kaniko keeps each result in a layout of its own, at the path with `:` and the key behind.
#[test]
fn kanikos_layouts_stay_beside_ours() {
    let place = tempfile::tempdir().expect("directory");
    let path = place.path().join("layers");
    for (key, labels) in KEYS.iter().zip(labels()) {
        entry(&PathBuf::from(format!("{}:{key}", path.display())), &labels);
    }
    let before = files(place.path());
    let (project, repository) = (project(), format!("oci:{}", path.display()));
    let flags = ["--no-push".to_owned(), format!("--cache-repo={repository}")];
    build(&project, &flags, 0);
    build(&project, &flags, 3);
    assert!(cache_command(&["ls", "--cache-repo", &repository]).contains("COPY a /a"));
    cache_command(&["verify", "--cache-repo", &repository]);
    cache_command(&["prune", "--older-than=0s", "--cache-repo", &repository]);
    let after = files(place.path());
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)), "{:?}", after.keys());
}

/// The default repository is the one that Kaniko takes as well.
#[test]
fn kanikos_repository_is_ignored_without_a_word() {
    let (registry, place) = (Registry::start(), tempfile::tempdir().expect("directory"));
    let name = format!("{}/app", registry.address);
    let theirs = |key: &str| format!("docker://{name}/cache:{key}");
    for (key, labels) in KEYS.iter().zip(labels()) {
        let layout = place.path().join(key);
        entry(&layout, &labels);
        let from = format!("oci:{}", layout.display());
        run("skopeo", &["copy", "-q", "--format=v2s2", "--dest-tls-verify=false", &from, &theirs(key)]);
    }
    let inspect = |key: &str| run("skopeo", &["inspect", "--raw", "--tls-verify=false", &theirs(key)]);
    let before = KEYS.map(inspect);
    let (project, flags) = (project(), ["-d".to_owned(), format!("{name}:1")]);
    build(&project, &flags, 0);
    build(&project, &flags, 3);
    let repository = format!("{name}/cache");
    let listed = cache_command(&["ls", "--cache-repo", &repository]);
    assert!(listed.contains("COPY a /a") && KEYS.iter().all(|key| !listed.contains(&key[..12])), "{listed}");
    let verified = cache_command(&["verify", "--read", "--cache-repo", &repository]);
    assert!(verified.contains("2 tags hold no record of this version"), "{verified}");
    cache_command(&["stats", "--cache-repo", &repository]);
    cache_command(&["prune", "--older-than=0s", "--cache-repo", &repository]);
    assert_eq!(KEYS.map(inspect), before, "only what is ours is pruned");
    build(&project, &flags, 0);
}
