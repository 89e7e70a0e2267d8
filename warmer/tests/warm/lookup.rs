//! Where the executor takes base images from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::world::{World, executor, run, succeed, text};

/// A build that reads a file of its base image.
fn build(world: &World, from: &str, flags: &[&str]) -> Output {
    let context = world.context(&format!("FROM {from}\nCOPY --from={from} /one /copy\nRUN cat /one\n"));
    let mut command = executor();
    command.arg("-c").arg(context.path()).args(["--no-push", "--no-push-cache", "--destination", "app:1"]);
    command.args(["--cache-repo", "127.0.0.1:9/cache", "--cache-dir"]).arg(world.cache()).args(flags);
    command.output().expect("executor runs")
}

fn base(world: &World, name: &str, content: &str) -> String {
    world.push(name, &format!("FROM scratch\nCOPY tree /\nCOPY <<E /one\n{content}\nE\nENV PATH=/bin\n"), &[])
}

/// Every request so far but those for nothing.
fn requests(world: &World) -> usize {
    world.log().lines().filter(|line| line.contains(" /v2/") && !line.contains(" /v2/ ")).count()
}

#[test]
fn a_fresh_tag_is_not_asked_for_and_an_expired_one_is() {
    let mut world = World::new();
    let name = base(&world, "base:1", "before");
    world.warm(&["-i", &name]);
    base(&world, "base:1", "after");
    let before = requests(&world);
    let said = succeed(build(&world, &name, &["--cache"]));
    assert!(said.contains("] before") && !said.contains("from the cache directory"), "{said}");
    assert_eq!(requests(&world), before);
    // A build without a cache takes nothing old, and neither does one whose images expire at once.
    assert!(succeed(build(&world, &name, &["--cache=false"])).contains("] after"));
    let asked = requests(&world);
    assert!(asked > before);
    assert!(succeed(build(&world, &name, &["--cache", "--cache-ttl=0s"])).contains("] after"));
    assert!(requests(&world) > asked);
    // What is old is better than nothing.
    world.stop_registry();
    let said = succeed(build(&world, &name, &["--cache", "--cache-ttl=0s"]));
    assert!(said.contains("] before") && said.contains("from the cache directory, where it was put"), "{said}");
    let (gone, said) = (build(&world, &world.name("other:1"), &["--cache"]), world.name("other:1"));
    assert!(!gone.status.success() && text(&gone).contains(&said));
}

#[test]
fn digests_are_never_asked_for() {
    let world = World::new();
    let name = base(&world, "base:1", "fixed");
    world.warm(&["-i", &name]);
    let by_digest = format!("{}@{}", world.name("base"), world.manifest(&name).1);
    let before = requests(&world);
    for flags in [&["--cache", "--cache-ttl=0s"][..], &["--cache=false"]] {
        for from in [&by_digest, &format!("{name}@{}", world.manifest(&name).1)] {
            let asked = requests(&world);
            assert!(succeed(build(&world, from, flags)).contains("] fixed"));
            assert_eq!(requests(&world), asked);
        }
    }
    assert!(before > 0);
}

/// As Kaniko 1.24's warmer leaves an image: an archive, and its manifest beside it.
fn kaniko_archive(world: &World, name: &str) {
    let (manifest, digest) = world.manifest(name);
    let members = tempfile::tempdir().expect("directory");
    let mut files = Vec::new();
    let mut keep = |digest: &str, member: String| {
        fs::copy(world.served_blob(digest), members.path().join(&member)).expect("blob");
        files.push(member);
    };
    let config = manifest["config"]["digest"].as_str().expect("digest");
    keep(config, config.to_owned());
    let layers: Vec<String> = manifest["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .map(|layer| {
            let digest = layer["digest"].as_str().expect("digest");
            let member = format!("{}.tar.gz", digest.trim_start_matches("sha256:"));
            keep(digest, member.clone());
            member
        })
        .collect();
    let list = serde_json::json!([{ "Config": config, "RepoTags": [name], "Layers": layers }]);
    fs::write(members.path().join("manifest.json"), list.to_string()).expect("manifest.json");
    files.push("manifest.json".into());
    fs::create_dir_all(world.cache()).expect("cache");
    let archive = members.path().join("archive");
    let mut arguments = vec!["-C", members.path().to_str().expect("path"), "-cf", archive.to_str().expect("path")];
    arguments.extend(files.iter().map(String::as_str));
    run("tar", &arguments);
    fs::copy(archive, world.cache().join(&digest)).expect("archive");
    fs::copy(world.served_blob(&digest), world.cache().join(format!("{digest}.json"))).expect("manifest");
}

/// As the fork's warmer leaves one: an image layout.
fn kaniko_layout(world: &World, name: &str) {
    let (_, digest) = world.manifest(name);
    let layout = world.cache().join("layout");
    fs::create_dir_all(world.cache()).expect("cache");
    let target = format!("oci:{}:{name}", layout.display());
    run("skopeo", &["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &format!("docker://{name}"), &target]);
    fs::rename(layout, world.cache().join(digest)).expect("rename");
}

#[test]
fn what_kaniko_warmed_is_used() {
    for make in [kaniko_archive, kaniko_layout] {
        let mut world = World::new();
        let name = base(&world, "base:1", "kept");
        let by_digest = format!("{}@{}", world.name("base"), world.manifest(&name).1);
        make(&world, &name);
        let is_layer = |line: &String| line.contains("/blobs/");
        // A tag is asked for, its layers are not.
        let before = world.log_lines("").into_iter().filter(is_layer).count();
        assert!(succeed(build(&world, &name, &["--cache=false"])).contains("] kept"));
        let config_only = world.log_lines("").into_iter().filter(is_layer).count() - before;
        assert_eq!(config_only, 1);
        let asked = requests(&world);
        assert!(succeed(build(&world, &by_digest, &["--cache"])).contains("] kept"));
        assert_eq!(requests(&world), asked);
        world.stop_registry();
        let said = succeed(build(&world, &name, &["--cache=false"]));
        assert!(said.contains("] kept") && said.contains("where Kaniko's warmer put it"), "{said}");
    }
}

/// A volume of Kaniko's, with what else its warmer leaves there, is our warmer's from then on.
#[test]
fn our_warmer_goes_on_with_kanikos_volume() {
    for (make, is_damaged) in
        [(kaniko_archive as fn(&World, &str), false), (kaniko_layout, false), (kaniko_layout, true)]
    {
        let mut world = World::new();
        let name = base(&world, "base:1", "kept");
        make(&world, &name);
        let (manifest, digest) = world.manifest(&name);
        for path in [format!(".warmer-locks/{digest}.lock"), "1823509871/partial.tar".to_owned()] {
            let path = world.cache().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            fs::write(path, "").expect("file");
        }
        if is_damaged {
            let layer = manifest["layers"][0]["digest"].as_str().expect("digest").replace(':', "/");
            crate::world::damage(&world.cache().join(&digest).join("blobs").join(layer));
        }
        let theirs = entries(&world);
        let is_blob = |line: &String| line.contains("/blobs/");
        let before = world.log_lines("").into_iter().filter(is_blob).count();
        world.warm(&["-i", &name]);
        let fetched = world.log_lines("").into_iter().filter(is_blob).count() - before;
        assert_eq!(fetched, 1 + usize::from(is_damaged), "the configuration, and what was damaged");
        assert_eq!(world.warmed(), std::slice::from_ref(&name));
        assert_eq!(entries(&world), theirs);
        let verify = executor().args(["cache", "verify", "--cache-dir"]).arg(world.cache()).output();
        succeed(verify.expect("executor runs"));
        // Ours does without theirs, which may go.
        for path in theirs {
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("remove");
        }
        world.stop_registry();
        let said = succeed(build(&world, &name, &["--cache"]));
        assert!(said.contains("] kept") && !said.contains("Kaniko"), "{said}");
    }
}

/// The files at the top of the cache directory that Kaniko wrote.
fn entries(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.cache()).expect("cache").map(|entry| entry.expect("entry").path());
    let is_kaniko = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sha256:"));
    entries.filter(is_kaniko).collect()
}

#[test]
fn what_kaniko_left_damaged_is_not_used() {
    let mut world = World::new();
    let name = base(&world, "base:1", "kept");
    kaniko_archive(&world, &name);
    let is_archive = |path: &&PathBuf| path.extension().is_none();
    let archive = entries(&world).iter().find(is_archive).expect("archive").clone();
    let whole = fs::read(&archive).expect("archive");
    world.stop_registry();
    let refused = |path: &Path, bytes: &[u8]| {
        fs::write(path, bytes).expect("write");
        let output = build(&world, &name, &["--cache=false"]);
        assert!(!output.status.success(), "{}", text(&output));
    };
    refused(&archive, &whole[..whole.len() / 2]);
    refused(&archive, b"no archive");
    refused(&archive, &[]);
    // Bytes of the first layer, which are checked as they are read.
    let mut damaged = whole.clone();
    let layer = damaged.windows(2).position(|bytes| bytes == [0x1f, 0x8b]).expect("gzip");
    damaged[layer + 100] ^= 1;
    refused(&archive, &damaged);
    fs::write(&archive, &whole).expect("write");
    fs::write(archive.with_file_name(format!("{}.json", archive.file_name().expect("name").display())), "{}")
        .expect("write");
    refused(&archive, &whole);
}
