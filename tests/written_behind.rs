//! A long layer is compressed while the next step runs: what must hold all the same.

#![allow(clippy::expect_used)]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use support::{Registry, assert_success, context, executor, text};
use tempfile::TempDir;

/// Makes a layer of 64 MB that does not compress, then does something else.
const DOCKERFILE: &str = "\
FROM BASE
RUN dd if=/dev/urandom of=/long bs=1000000 count=64
RUN LAST
RUN cp /long /again
";

fn project(registry: &Registry, last: &str) -> TempDir {
    let base = registry.push_base();
    context(&DOCKERFILE.replace("BASE", &base).replace("LAST", last), &[])
}

fn build(registry: &Registry, context: &TempDir, cache: &Path, more: &[&str]) -> Output {
    executor()
        .arg("--context")
        .arg(context.path())
        .args(["--destination", &format!("{}/app:1", registry.address), "--cache=true", "--cache-dir"])
        .arg(cache)
        .args(more)
        .output()
        .expect("executor runs")
}

#[test]
fn the_image_holds_what_the_step_wrote_and_the_next_build_finds_it() {
    let registry = Registry::start();
    let context = project(&registry, "echo next > /next");
    let caches = [TempDir::new().expect("directory"), TempDir::new().expect("directory")];
    let first = build(&registry, &context, caches[0].path(), &[]);
    assert_success(&first);
    assert_eq!(text(&first).matches("missed:").count(), 3, "{}", text(&first));
    let second = build(&registry, &context, caches[1].path(), &[]);
    assert_success(&second);
    assert_eq!(text(&second).matches("missed:").count(), 0, "{}", text(&second));
    // The two layers hold the same file.
    let sizes: Vec<u64> = registry_layer_sizes(&registry);
    assert_eq!(sizes.iter().filter(|size| **size > 60_000_000).count(), 2, "{sizes:?}");
}

fn registry_layer_sizes(registry: &Registry) -> Vec<u64> {
    let name = format!("docker://{}/app:1", registry.address);
    let manifest = support::run("skopeo", &["inspect", "--raw", "--tls-verify=false", &name]);
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("manifest");
    let layers = manifest["layers"].as_array().expect("layers");
    layers.iter().filter_map(|layer| layer["size"].as_u64()).collect()
}

/// The step after it fails while the layer is being compressed.
#[test]
fn a_step_that_fails_does_not_take_the_layer_before_it_along() {
    let registry = Registry::start();
    let cache = TempDir::new().expect("directory");
    let failed = build(&registry, &project(&registry, "exit 7"), cache.path(), &[]);
    assert_eq!(failed.status.code(), Some(7), "{}", text(&failed));
    let again = build(&registry, &project(&registry, "true"), cache.path(), &[]);
    assert_success(&again);
    assert_eq!(text(&again).matches("missed:").count(), 2, "{}", text(&again));
}

/// A file system of 24 MB for the cache directory; the step's own files are elsewhere.
#[test]
fn a_full_disk_behind_a_step_fails_the_build_and_says_so() {
    let registry = Registry::start();
    let context = project(&registry, "sleep 60");
    let small = TempDir::new().expect("directory");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(small.path()).status();
    assert!(mounted.expect("mount").success());
    let output = build(&registry, &context, &small.path().join("cache"), &[]);
    let unmounted = Command::new("umount").arg(small.path()).status();
    assert!(unmounted.expect("umount").success());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let log = text(&output);
    assert!(log.to_lowercase().contains("no space") || log.contains("full"), "{log}");
    assert!(log.contains("dd if=/dev/urandom"), "the step is named: {log}");
}
