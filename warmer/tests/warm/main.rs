//! The warmer against a real registry, and the executor on what it left.

#![allow(clippy::expect_used, reason = "a failed step of a test ends it")]

mod choice;
mod content;
mod daemon;
mod extraction;
mod freshness;
mod hot;
mod interruption;
mod lookup;
mod pruning;
mod world;

use world::{World, executor, run, succeed};

#[test]
fn the_executor_builds_from_a_warmed_image_when_the_registry_is_gone() {
    let mut world = World::new();
    let base = world.push("base:1", "FROM scratch\nCOPY tree /\nCOPY <<E /greeting\nhello\nE\nENV PATH=/bin\n", &[]);
    world.warm(&["--image", &base]);
    world.stop_registry();
    let context = world.context("FROM HOST/base:1\nCOPY --from=HOST/base:1 /greeting /copy\nRUN cat /greeting /copy\n");
    for (cache, is_told) in [("--cache=true", false), ("--cache=false", true)] {
        let archive = context.path().join("image.tar");
        let output = executor()
            .arg("--context")
            .arg(context.path())
            .args(["--no-push", cache, "--no-push-cache", "--destination", "app:1", "--cache-repo"])
            .arg(world.name("unreachable"))
            .arg("--cache-dir")
            .arg(world.cache())
            .arg("--tar-path")
            .arg(&archive)
            .output();
        let said = succeed(output.expect("executor runs"));
        assert_eq!(said.contains("from the cache directory, where it was put"), is_told, "{said}");
        assert_eq!(said.matches("] hello").count(), 2, "{said}");
        let archive = format!("docker-archive:{}", archive.display());
        assert!(run("skopeo", &["inspect", &archive]).contains("\"Layers\""));
    }
}

#[test]
fn tables_of_contents_spare_the_executor_the_layers() {
    let mut world = World::new();
    let base = world.push_small("base:1", "base");
    world.warm(&["--image", &base]);
    let (manifest, _) = world.manifest(&base);
    for layer in manifest["layers"].as_array().expect("layers") {
        std::fs::remove_file(world.cached_blob(layer["digest"].as_str().expect("digest"))).expect("blob");
    }
    world.stop_registry();
    let context = world.context("FROM HOST/base:1\nCOPY tree /one.d/\n");
    let build = |directory: &std::path::Path| {
        let mut command = executor();
        command.arg("-c").arg(context.path()).arg("--no-push").arg("--cache-dir").arg(directory);
        command.output().expect("executor runs")
    };
    succeed(build(&world.cache()));
    std::fs::remove_dir_all(world.cache().join("tocs")).expect("tocs");
    assert!(!build(&world.cache()).status.success());
}

#[test]
fn skopeo_reads_the_cache_directory() {
    let world = World::new();
    let (one, two) = (world.push_small("one:1", "first"), world.push_small("deep/two:2", "second"));
    world.warm(&["-i", &one, "-i", &two]);
    for name in [&one, &two] {
        let image = format!("oci:{}:{name}", world.cache().display());
        let found = run("skopeo", &["inspect", "--format", "{{.Digest}}", &image]);
        assert_eq!(found.trim(), world.manifest(name).1);
        // Reads and verifies every layer.
        let copy = tempfile::tempdir().expect("temporary directory");
        run("skopeo", &["--insecure-policy", "copy", "-q", &image, &format!("dir:{}", copy.path().display())]);
    }
}

#[test]
fn many_warmers_share_a_directory() {
    let world = World::new();
    let common = world.push_small("common:1", "common");
    let own: Vec<String> = (0..4).map(|n| world.push_small(&format!("own{n}:1"), &format!("own {n}"))).collect();
    let start = |image: &String| {
        let arguments = ["--image", &common, "--image", image, "--log-format", "json"];
        world.warmer().args(arguments).stderr(std::process::Stdio::piped()).spawn().expect("warmer runs")
    };
    let running: Vec<_> = own.iter().map(start).collect();
    for warmer in running {
        succeed(warmer.wait_with_output().expect("warmer ends"));
    }
    let mut expected: Vec<String> = own;
    expected.insert(0, common);
    assert_eq!(world.warmed(), expected);
    let left = std::fs::read_dir(world.cache().join("tmp")).expect("tmp").count();
    assert_eq!(left, 0);
}

#[test]
fn wrong_usage_is_2() {
    let world = World::new();
    for wrong in [
        &[][..],
        &["--image", "Not An Image"],
        &["--image", "a", "--custom-platform", "nonsense"],
        &["--image", "a", "--cache-ttl", "soon"],
        &["--image", "a", "--registry-map", "nothing"],
        &["--image", "a", "--registry-client-cert", "host=only-one"],
        &["--image", "a", "--force=perhaps"],
        &["--unknown"],
    ] {
        let (code, said) = world.warm_in_vain(wrong);
        assert_eq!(code, Some(2), "{wrong:?}: {said}");
    }
    assert!(!world.cache().exists());
}

#[test]
fn an_output_without_a_terminal_has_no_colours() {
    let world = World::new();
    let image = world.push_small("one:1", "first");
    let (_, said) = world.warm_in_vain(&["-i", &image, "-i", &world.name("missing:1")]);
    assert!(said.contains("INFO[") && said.contains("WARN[") && !said.contains('\x1b'), "{said}");
}
