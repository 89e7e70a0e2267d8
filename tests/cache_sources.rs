//! Several caches: which are read, which are written.

#![allow(clippy::expect_used)]

mod support;

use std::fs;
use std::process::Output;

use support::{Registry, assert_success, context, executor, run, text, write};
use tempfile::TempDir;

const DOCKERFILE: &str = "FROM scratch\nCOPY a /a\nCOPY b /b\nWORKDIR /w\n";

/// A build on a runner that has nothing.
fn build(context: &TempDir, registry: &Registry, caches: &[String]) -> Output {
    let output = executor()
        .arg("-c")
        .arg(context.path())
        .args(["--cache=true", "-d", &format!("{}/app:1", registry.address)])
        .args(caches)
        .output()
        .expect("executor runs");
    assert_success(&output);
    output
}

fn tags(registry: &Registry, repository: &str) -> usize {
    let url = format!("docker://{}/{repository}", registry.address);
    let output = std::process::Command::new("skopeo").args(["list-tags", "--tls-verify=false", &url]).output();
    let output = output.expect("skopeo");
    String::from_utf8_lossy(&output.stdout).matches("        \"").count()
}

#[test]
fn a_branch_reads_the_cache_of_main_and_writes_its_own() {
    let registry = Registry::start();
    let context = context(DOCKERFILE, &[("a", "one"), ("b", "one")]);
    let flag = |flag: &str, name: &str| format!("--{flag}={}/{name}", registry.address);
    build(&context, &registry, &[flag("cache-repo", "main")]);
    let in_main = tags(&registry, "main");
    let branch = [flag("cache-from", "main"), flag("cache-to", "branch")];
    let unchanged = text(&build(&context, &registry, &branch));
    assert!(unchanged.contains("3 steps cached, 0 run"), "{unchanged}");
    assert!(unchanged.contains("waited for 1 time, 1 of 1 keys found"), "{unchanged}");
    assert_eq!(tags(&registry, "branch"), 0, "there was nothing to add");
    write(context.path(), "a", "two");
    let changed = text(&build(&context, &registry, &branch));
    assert!(changed.contains("2 steps cached, 1 run") && !changed.contains("WARN"), "{changed}");
    assert_eq!(tags(&registry, "main"), in_main, "only read");
    // The branch's cache is whole by itself, with layers that only main's runner ever had.
    let alone = text(&build(&context, &registry, &[flag("cache-repo", "branch")]));
    assert!(alone.contains("3 steps cached, 0 run"), "{alone}");
}

#[test]
fn all_repositories_are_read_and_the_first_is_written() {
    let registry = Registry::start();
    let context = context(DOCKERFILE, &[("a", "one"), ("b", "one")]);
    let repository = |name: &str| format!("--cache-repo={}/{name}", registry.address);
    build(&context, &registry, &[repository("third")]);
    let third = tags(&registry, "third");
    write(context.path(), "b", "two");
    let all = text(&build(&context, &registry, &[repository("first"), repository("second"), repository("third")]));
    assert!(all.contains("2 steps cached, 1 run"), "{all}");
    assert!(tags(&registry, "first") > 0);
    assert_eq!((tags(&registry, "second"), tags(&registry, "third")), (0, third));
}

#[test]
fn a_directory_is_a_cache_repository() {
    let registry = Registry::start();
    let context = context(DOCKERFILE, &[("a", "one"), ("b", "one")]);
    let parent = tempfile::tempdir().expect("directory");
    let path = parent.path().join("layout");
    let cache = [format!("--cache-repo=oci:{}", path.display())];
    let first = text(&build(&context, &registry, &cache));
    assert!(first.contains("0 steps cached, 3 run") && !first.contains("WARN"), "{first}");
    assert!(fs::read_to_string(path.join("oci-layout")).expect("layout").contains("1.0.0"));
    let again = text(&build(&context, &registry, &cache));
    assert!(again.contains("3 steps cached, 0 run"), "{again}");
    let place = format!("oci:{}", path.display());
    let command = [env!("CARGO_BIN_EXE_executor"), "cache", "ls", "--cache-repo", &place];
    assert!(run(command[0], &command[1..]).contains("COPY a /a"));
    assert!(run(command[0], &["cache", "verify", "--cache-repo", &place]).contains("records"));
    assert_eq!(tags(&registry, "app/cache"), 0, "the destination's is not used then");
    // A cache that cannot be had costs a warning.
    let broken = [format!("--cache-repo=oci:{}/file/below", parent.path().join("layout/oci-layout").display())];
    let without = text(&build(&context, &registry, &broken));
    assert!(without.contains("is not used") && without.contains("3 run"), "{without}");
}
