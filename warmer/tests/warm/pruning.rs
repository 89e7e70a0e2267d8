//! `--max-bytes`.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::world::World;

/// As if nothing had been used for three hours.
fn age(directory: &Path) {
    let then = SystemTime::now() - Duration::from_secs(3 * 3600);
    for entry in fs::read_dir(directory).expect("directory").map(|entry| entry.expect("entry").path()) {
        if entry.is_dir() {
            age(&entry);
        } else {
            File::open(&entry).and_then(|file| file.set_modified(then)).expect("time");
        }
    }
}

fn layer(world: &World, name: &str) -> String {
    world.manifest(name).0["layers"][0]["digest"].as_str().expect("digest").to_owned()
}

#[test]
fn what_is_not_asked_for_any_more_makes_room() {
    let world = World::new();
    let (old, kept) = (world.push_small("old:1", "old"), world.push_small("kept:1", "kept"));
    world.warm(&["-i", &old, "-i", &kept]);
    let (old_layer, kept_layer) = (layer(&world, &old), layer(&world, &kept));
    // What was just used stays, whatever the limit.
    let said = world.warm(&["-i", &old, "-i", &kept, "--max-bytes", "1"]);
    assert!(said.contains("--max-bytes 1 B") && world.cached_blob(&old_layer).exists(), "{said}");
    age(&world.cache());
    assert!(!world.warm(&["-i", &kept, "--max-bytes", "1GB"]).contains("not asked for"));
    assert_eq!(world.warmed(), [kept.clone(), old.clone()]);
    let said = world.warm(&["-i", &kept, "--max-bytes", "1"]);
    assert!(said.contains(&format!("{old}: not asked for any more")) && said.contains("removed "), "{said}");
    assert_eq!(world.warmed(), std::slice::from_ref(&kept));
    assert!(!world.cached_blob(&old_layer).exists() && world.cached_blob(&kept_layer).exists());
    let fetches = world.fetches();
    assert!(world.warm(&["-i", &kept]).contains("already cached"));
    assert_eq!(world.fetches(), fetches);
}

#[test]
fn what_a_moved_tag_was_is_removed() {
    let world = World::new();
    let name = world.push_small("one:1", "before");
    world.warm(&["-i", &name]);
    let before = layer(&world, &name);
    age(&world.cache());
    world.push_small("one:1", "after");
    world.warm(&["-i", &name, "--max-bytes=1GB"]);
    assert!(!world.cached_blob(&before).exists() && world.cached_blob(&layer(&world, &name)).exists());
}
