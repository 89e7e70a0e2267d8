//! `--extract`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::world::{World, executor, succeed, text};

fn trees(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.cache().join("layers")).into_iter().flatten();
    entries.map(|entry| entry.expect("entry").path()).collect()
}

#[test]
fn executors_run_on_extracted_layers_without_their_blobs() {
    let mut world = World::new();
    let base = "FROM scratch\nCOPY tree /\nCOPY <<E /gone/file\nlower\nE\n";
    let lower = world.push("lower:1", base, &[]);
    let name = world.push(
        "base:1",
        "FROM HOST/lower:1\nRUN [\"/bin/busybox\", \"rm\", \"-r\", \"/gone\"]\nENV PATH=/bin\n",
        &[],
    );
    let said = world.warm(&["--extract", "-i", &lower, "-i", &name]);
    assert!(said.contains("2 of 2"), "{said}");
    // The images share two layers.
    assert_eq!(trees(&world).len(), 3);
    let (manifest, _) = world.manifest(&name);
    for layer in manifest["layers"].as_array().expect("layers") {
        fs::remove_file(world.cached_blob(layer["digest"].as_str().expect("digest"))).expect("blob");
    }
    world.stop_registry();
    let context =
        world.context(&format!("FROM {name}\nRUN test ! -e /gone && echo whole\n").replace("test", "busybox test"));
    let build = || {
        let mut command = executor();
        command.arg("-c").arg(context.path()).args(["--no-push", "--no-push-cache", "--destination", "app:1"]);
        command.args(["--cache", "--cache-repo", "127.0.0.1:9/cache", "--cache-dir"]).arg(world.cache());
        command.output().expect("executor runs")
    };
    assert!(succeed(build()).contains("] whole"));
    fs::remove_dir_all(world.cache().join("layers"))
        .and_then(|()| fs::remove_dir_all(world.cache().join("records")))
        .expect("trees");
    let output = build();
    assert!(!output.status.success(), "{}", text(&output));
}

#[test]
fn a_tree_is_made_once_and_again_when_it_is_damaged_and_forced() {
    let world = World::new();
    let name = world.push("one:1", "FROM scratch\nCOPY <<E /one\none\nE\n", &[]);
    world.warm(&["-i", &name]);
    assert_eq!(trees(&world).len(), 0);
    world.warm(&["-i", &name, "--extract"]);
    let inode = || trees(&world)[0].metadata().expect("tree").ino();
    let first = inode();
    world.warm(&["-i", &name, "--extract"]);
    world.warm(&["-i", &name, "--extract", "--force"]);
    assert_eq!(inode(), first);
    fs::write(trees(&world)[0].join("one"), "damaged").expect("write");
    world.warm(&["-i", &name, "--extract", "--force"]);
    assert_eq!(fs::read_to_string(trees(&world)[0].join("one")).expect("file"), "one\n");
    assert_eq!(fs::read_dir(world.cache().join("tmp")).expect("tmp").count(), 0);
}

/// The same command, as root of a user namespace of its own.
fn in_user_namespace(command: &Command) -> Command {
    let mut inside = Command::new("unshare");
    inside.args(["--user", "--map-root-user", "--mount"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    inside.stdin(Stdio::null());
    inside
}

#[test]
fn trees_of_a_user_namespace_are_for_executors_in_one() {
    let mut world = World::new();
    let lower = world.push("lower:1", "FROM scratch\nCOPY tree /\nCOPY <<E /gone/file\nlower\nE\n", &[]);
    let dockerfile = format!("FROM {lower}\nRUN [\"/bin/busybox\", \"rm\", \"-r\", \"/gone\"]\nENV PATH=/bin\n");
    let name = world.push("base:1", &dockerfile, &[]);
    let mut warmer = in_user_namespace(&world.warmer());
    succeed(warmer.args(["--extract", "-i", &name]).output().expect("unshare runs"));
    assert_eq!(trees(&world).len(), 3);
    // Those of this machine's root are others: their whiteouts are of a kind that only it can make.
    world.warm(&["--extract", "-i", &name]);
    assert_eq!(trees(&world).len(), 6);
    for layer in world.manifest(&name).0["layers"].as_array().expect("layers") {
        fs::remove_file(world.cached_blob(layer["digest"].as_str().expect("digest"))).expect("blob");
    }
    world.stop_registry();
    let context = world.context(&format!("FROM {name}\nRUN busybox test ! -e /gone && echo whole\n"));
    let mut build = executor();
    build.arg("-c").arg(context.path()).args(["--no-push", "--no-push-cache", "--destination", "app:1", "--cache"]);
    build.args(["--cache-repo", "127.0.0.1:9/cache", "--cache-dir"]).arg(world.cache());
    assert!(succeed(in_user_namespace(&build).output().expect("unshare runs")).contains("] whole"));
}
