//! The store's directory, seen by the cache and by skopeo.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use yadokari::cache::{CacheError, LayerCache, TieredCache};
use yadokari::digest::Digest;
use yadokari::image::{Descriptor, Manifest, Platform, media_type};
use yadokari::store::Store;

use crate::{Place, layer_bytes};

#[test]
fn a_damaged_local_layer_ends_in_an_error() {
    let place = Place::new();
    let tiered = TieredCache::new(place.local(None), place.observer());
    let record = place.record("damaged");
    tiered.save(&record).expect("save");
    let blob = &record.layers[0].blob;
    let mut bytes = layer_bytes("damaged");
    bytes[77] ^= 1;
    fs::write(place.store.blob_path(&blob.digest), bytes).expect("damage");
    let mut reader = tiered.fetch_layer(&record.layers[0]).expect("opens");
    assert!(reader.read_to_end(&mut Vec::new()).is_err());
    fs::write(place.store.blob_path(&record.layers[0].toc.digest), b"toc of damageD").expect("damage");
    assert!(matches!(tiered.fetch_toc(&record.layers[0]), Err(CacheError::Absent(_))));
}

fn skopeo(arguments: &[&str]) {
    let output = Command::new("skopeo").args(arguments).output().expect("skopeo");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_store_is_an_image_layout_that_skopeo_reads_and_writes() {
    let place = Place::new();
    let store = &place.store;
    let name = "docker.io/library/box:1.0";
    let manifest = store_image(store);
    store.set_named_image(name, &manifest).expect("set");
    let out = tempfile::tempdir().expect("directory");
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let ours = format!("oci:{}:", path(store.directory()));
    let insecure = "--insecure-policy";
    skopeo(&[insecure, "copy", &format!("{ours}{name}"), &format!("dir:{}", path(&out.path().join("copy")))]);
    let copied = fs::read(out.path().join("copy/manifest.json")).expect("copied");
    assert_eq!(Digest::sha256(&copied), manifest.digest);

    let source = format!("dir:{}", path(&out.path().join("copy")));
    skopeo(&[insecure, "copy", &source, &format!("{ours}theirs:2")]);
    let (theirs, _) = store.named_image("theirs:2", Some(&Platform::host())).expect("index").expect("there");
    assert!(store.has(&theirs));
    assert!(store.named_image(name, None).expect("index").is_some(), "ours is still there");
}

fn store_image(store: &Store) -> Descriptor {
    // An empty tar: two blocks of zeros.
    let layer = store.put_blob(media_type::OCI_LAYER, &[0; 1024]).expect("layer");
    let platform = Platform::host();
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        platform.architecture, layer.digest
    );
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.into()),
        artifact_type: None,
        config: store.put_blob(media_type::OCI_CONFIG, config.as_bytes()).expect("config"),
        layers: vec![layer],
        subject: None,
        annotations: BTreeMap::new(),
    };
    store.put_blob(media_type::OCI_MANIFEST, &manifest.to_bytes()).expect("manifest")
}
