//! What a rebuild asks registries for when there is nothing to do, and that it is pushed all the same.

#![allow(clippy::expect_used)]

mod support;

use support::front::{self, Refusal};
use support::{Registry, assert_success, context, executor, run, text, write};
use tempfile::TempDir;

/// What a build says that has no local state.
fn build(context: &TempDir, destination: &str, cache: &str, more: &[&str]) -> String {
    let output = executor()
        .arg("-c")
        .arg(context.path())
        .args(["--cache=true", "-d", destination, "--cache-repo", cache])
        .args(more)
        .output()
        .expect("executor runs");
    assert_success(&output);
    text(&output)
}

/// The digest that a tag names.
fn digest(name: &str) -> String {
    let image = format!("docker://{name}");
    run("skopeo", &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &image]).trim().to_owned()
}

#[test]
fn an_unchanged_rebuild_asks_for_little_and_pushes_everywhere() {
    let registry = Registry::start();
    let base = registry.push_base();
    let dockerfile = format!("FROM {base}\nRUN echo one > /one\nCOPY a /a\n");
    let context = context(&dockerfile, &[("a", "one")]);
    let name = |name: &str| format!("{}/{name}", registry.address);
    let cache = name("cache");
    build(&context, &name("app:1"), &cache, &[]);
    let built = digest(&name("app:1"));
    // The image's manifest, the base's manifest and configuration, the record, what the cache is; the
    // permission, and taking it back.
    let same = build(&context, &name("app:1"), &cache, &[]);
    assert!(same.contains("2 steps cached, 0 run") && same.contains("registries: 7 requests in "), "{same}");
    let unasked = build(&context, &name("app:1"), &cache, &["--skip-push-permission-check"]);
    assert!(unasked.contains("registries: 5 requests in "), "{unasked}");
    // A new tag, a new repository, and two at once, one of them new.
    build(&context, &name("app:2"), &cache, &[]);
    build(&context, &name("other/app:1"), &cache, &[]);
    build(&context, &name("third:1"), &cache, &["-d", &name("app:3"), "-d", &name("third:2")]);
    for tag in ["app:2", "other/app:1", "third:1", "third:2", "app:3"] {
        assert_eq!(digest(&name(tag)), built, "{tag}");
    }
    let copy = context.path().join("copy");
    let from = format!("docker://{}", name("other/app:1"));
    run("skopeo", &["--insecure-policy", "copy", "--src-tls-verify=false", &from, &format!("dir:{}", copy.display())]);
}

#[test]
fn a_tag_that_somebody_moved_is_moved_back() {
    let registry = Registry::start();
    let context = context("FROM scratch\nCOPY a /a\n", &[("a", "one")]);
    let (name, cache) = (format!("{}/app:1", registry.address), format!("{}/cache", registry.address));
    build(&context, &name, &cache, &[]);
    let first = digest(&name);
    write(context.path(), "a", "two");
    build(&context, &name, &cache, &[]);
    assert_ne!(digest(&name), first);
    write(context.path(), "a", "one");
    assert!(build(&context, &name, &cache, &[]).contains("1 steps cached, 0 run"));
    assert_eq!(digest(&name), first);
}

/// What the tag named at the beginning is not believed for as long as this step takes.
#[test]
fn a_tag_that_names_the_image_is_not_written_again_after_a_long_build() {
    let registry = Registry::start();
    let context = context(&format!("FROM {}\nRUN sleep 6 && echo one > /one\n", registry.push_base()), &[]);
    let immutable = front::start(&registry.address, |asked| {
        let exists = "The image tag already exists and cannot be overwritten because the repository is immutable.";
        let refusal = Refusal { status: 400, headers: "", code: "TAG_INVALID", message: exists };
        asked.is("PUT", "/v2/app/manifests/1").then_some(refusal)
    });
    for address in [&registry.address, &immutable] {
        let mut command = executor();
        command.arg("-c").arg(context.path()).args(["--reproducible", "-d", &format!("{address}/app:1")]);
        assert_success(&command.output().expect("executor runs"));
    }
}

#[test]
fn an_upload_that_was_opened_is_not_left_behind() {
    let registry = Registry::start();
    let context = context("FROM scratch\nCOPY a /a\n", &[("a", "one")]);
    let name = |tag: &str| format!("{}/app:{tag}", registry.address);
    let cache = format!("{}/cache", registry.address);
    for tag in ["1", "1", "2"] {
        build(&context, &name(tag), &cache, &[]);
    }
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY missing /a\n");
    let failed = executor().arg("-c").arg(context.path()).args(["-d", &name("3")]).output().expect("executor runs");
    assert!(!failed.status.success(), "{}", text(&failed));
    let repository = registry.data().join("docker/registry/v2/repositories/app");
    // An upload is a directory on the registry's disk; of a cancelled one docker-registry leaves an empty one.
    let uploads = std::fs::read_dir(repository.join("_uploads")).expect("uploads").map(|entry| entry.expect("entry"));
    let open: Vec<_> = uploads.map(|upload| upload.path().join("startedat")).filter(|path| path.exists()).collect();
    assert_eq!(open, Vec::<std::path::PathBuf>::new());
}

#[test]
fn every_one_of_several_targets_is_in_the_cache() {
    let registry = Registry::start();
    let context =
        context("FROM scratch AS one\nCOPY a /a\nFROM scratch AS two\nCOPY b /b\n", &[("a", "1"), ("b", "2")]);
    let (name, cache) = (format!("{}/app:1", registry.address), format!("{}/cache", registry.address));
    let targets = ["--target=two", "--target=one"];
    let first = build(&context, &name, &cache, &targets);
    assert_eq!(first.matches("0 steps cached, 1 run").count(), 2, "{first}");
    let again = build(&context, &name, &cache, &targets);
    assert_eq!(again.matches("1 steps cached, 0 run").count(), 2, "{again}");
}
