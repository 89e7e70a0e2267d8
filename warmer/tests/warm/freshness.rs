//! What happens to images that are there already.

use std::fs;
use std::time::SystemTime;

use crate::world::World;

/// Makes the only entry as old as the epoch.
fn age(world: &World) {
    let path = world.cache().join("index.json");
    let text = fs::read_to_string(&path).expect("index");
    let mut index: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    index["manifests"][0]["annotations"]["dev.yadokari.modified"] = "1".into();
    fs::write(&path, index.to_string()).expect("index");
}

fn modified(world: &World) -> u64 {
    let entry = &world.index()[0]["annotations"]["dev.yadokari.modified"];
    entry.as_str().expect("annotation").parse().expect("seconds")
}

#[test]
fn a_fresh_image_costs_no_fetch() {
    let world = World::new();
    let name = world.push_small("one:1", "one");
    world.warm(&["-i", &name]);
    let (fetches, entry) = (world.fetches(), world.index());
    assert!(fetches > 0);
    assert!(world.warm(&["-i", &name]).contains("already cached, sha256:"));
    assert_eq!((world.fetches(), world.index()), (fetches, entry));
}

#[test]
fn an_expired_image_is_renewed() {
    let world = World::new();
    let name = world.push_small("one:1", "one");
    world.warm(&["-i", &name]);
    let fetches = world.fetches();
    age(&world);
    assert!(world.warm(&["-i", &name]).contains("already cached, renewed"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("time").as_secs();
    assert!(now - modified(&world) < 3600);
    assert_eq!(world.fetches(), fetches);
}

#[test]
fn a_tag_that_moved_is_fetched_however_fresh() {
    let world = World::new();
    let name = world.push_small("one:1", "before");
    world.warm(&["-i", &name]);
    world.push_small("one:1", "after");
    assert!(world.warm(&["-i", &name]).contains(": stored, "));
    let (entries, digest) = (world.index(), world.manifest(&name).1);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["digest"], digest.as_str());
}

#[test]
fn a_digest_needs_no_registry() {
    let mut world = World::new();
    let name = world.push_small("one:1", "one");
    let by_digest = format!("{}@{}", world.name("one"), world.manifest(&name).1);
    world.warm(&["-i", &by_digest]);
    world.stop_registry();
    assert!(world.warm(&["-i", &by_digest]).contains("already cached"));
    // A tag may have moved.
    let (code, said) = world.warm_in_vain(&["-i", &name]);
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot connect"), "{said}");
}
