//! Nobody sees half an image, or a damaged one.

use std::fs;

use crate::world::{World, damage};

fn layer(world: &World, name: &str, number: usize) -> String {
    world.manifest(name).0["layers"][number]["digest"].as_str().expect("digest").to_owned()
}

#[test]
fn an_image_whose_layer_is_missing_gets_no_name() {
    let world = World::new();
    let name = world.push_small("broken:1", "broken");
    let missing = layer(&world, &name, 1);
    let bytes = fs::read(world.served_blob(&missing)).expect("blob");
    fs::remove_file(world.served_blob(&missing)).expect("blob");
    let (code, said) = world.warm_in_vain(&["-i", &name]);
    assert_eq!(code, Some(1));
    assert!(said.contains(&missing), "{said}");
    assert!(world.warmed().is_empty());
    // What was fetched is not fetched again.
    fs::write(world.served_blob(&missing), bytes).expect("blob");
    assert!(world.warm(&["-i", &name]).contains("fetching 1 of 2 layers"));
    assert_eq!(world.warmed(), [name]);
}

#[test]
fn a_layer_that_is_damaged_in_the_registry_is_refused() {
    let world = World::new();
    let name = world.push_small("damaged:1", "damaged");
    let damaged = layer(&world, &name, 0);
    damage(&world.served_blob(&damaged));
    let (code, said) = world.warm_in_vain(&["-i", &name]);
    assert_eq!(code, Some(1));
    assert!(said.contains("digest mismatch"), "{said}");
    assert!(!world.cached_blob(&damaged).exists() && world.warmed().is_empty());
}

#[test]
fn force_repairs_what_is_damaged_on_disk() {
    let world = World::new();
    let name = world.push_small("good:1", "good");
    world.warm(&["-i", &name]);
    let (manifest, _) = world.manifest(&name);
    let layer = layer(&world, &name, 0);
    let config = manifest["config"]["digest"].as_str().expect("digest").to_owned();
    let toc = fs::read_dir(world.cache().join("tocs")).expect("tocs").next().expect("one").expect("entry").path();
    let toc: serde_json::Value = serde_json::from_slice(&fs::read(toc).expect("file")).expect("JSON");
    let toc = toc["digest"].as_str().expect("digest").to_owned();
    let blobs = [&layer, &config, &toc].map(|digest| world.cached_blob(digest));
    let whole = blobs.clone().map(|path| fs::read(path).expect("blob"));
    blobs.iter().for_each(|path| damage(path));
    let said = world.warm(&["-i", &name, "--force"]);
    assert!(said.contains(&layer) && said.contains("to be fetched again"), "{said}");
    assert_eq!(blobs.map(|path| fs::read(path).expect("blob")), whole);
    let before = world.fetches();
    assert!(world.warm(&["-i", &name, "-f=false"]).contains("already cached"));
    assert_eq!(world.fetches(), before);
}

#[test]
fn what_was_deleted_comes_back() {
    let world = World::new();
    let name = world.push_small("one:1", "one");
    world.warm(&["-i", &name]);
    let layer = layer(&world, &name, 1);
    fs::remove_file(world.cached_blob(&layer)).expect("blob");
    assert!(world.warm(&["-i", &name]).contains("fetching 1 of 2 layers"));
    assert!(world.cached_blob(&layer).is_file());
    fs::remove_dir_all(world.cache().join("tocs")).expect("tocs");
    assert!(world.warm(&["-i", &name]).contains("already cached"));
    assert_eq!(fs::read_dir(world.cache().join("tocs")).expect("tocs").count(), 2);
}
