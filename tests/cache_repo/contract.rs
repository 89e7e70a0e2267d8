use std::fs;
use std::sync::Arc;
use std::time::Duration;

use yadokari::cache::{LayerCache, Record, TieredCache};
use yadokari::digest::{DiffId, Digest};
use yadokari::image::{Descriptor, media_type};
use yadokari::key::CacheKey;

use crate::{Place, Registry, empty_record, found, key, layer_bytes, now, read};

/// What every layer cache must do. `make` gives an empty one over a store, with a time to live.
fn contract(make: impl Fn(&Place, Option<Duration>) -> Box<dyn LayerCache>) {
    let place = Place::new();
    let cache = &*make(&place, None);
    results_are_found_under_both_keys(&place, cache);
    batches_keep_length_and_order(&place, cache);
    the_first_result_stays(&place, cache);
    a_result_without_its_blobs_is_none(&place, cache);
    base_layers_have_contents_too(&place, cache);
    assert_eq!(place.listener.warnings(), Vec::<String>::new());
    let place = Place::new();
    old_results_expire(&place, &*make(&place, Some(Duration::from_secs(1000))));
}

pub(crate) fn results_are_found_under_both_keys(place: &Place, cache: &dyn LayerCache) {
    let record = Record { content_key: Some(key("content")), ..place.record("one") };
    assert_eq!(found(cache, &record.key), None);
    cache.save(&record).expect("save");
    assert_eq!(found(cache, &record.key).as_ref(), Some(&record));
    assert_eq!(found(cache, &key("content")).as_ref(), Some(&record));
    let layer = &record.layers[0];
    assert_eq!(read(cache, &layer.blob), Some(layer_bytes("one")));
    assert_eq!(read(cache, &layer.toc).as_deref(), Some(&b"toc of one"[..]));
    assert_eq!(read(cache, &Descriptor::of("x", b"unknown")), None);
    let unchanged = empty_record("no change");
    cache.save(&unchanged).expect("save");
    assert_eq!(found(cache, &unchanged.key), Some(unchanged));
}

fn batches_keep_length_and_order(place: &Place, cache: &dyn LayerCache) {
    assert_eq!(cache.look_up(&[]), Vec::new());
    let names: Vec<String> = (0..40).map(|n| format!("batch {n}")).collect();
    let records: Vec<Record> = names.iter().step_by(3).map(|name| place.record(name)).collect();
    records.iter().for_each(|record| cache.save(record).expect("save"));
    let mut keys: Vec<CacheKey> = names.iter().map(|name| key(name)).collect();
    keys.push(keys[0]);
    let hits = cache.look_up(&keys);
    assert_eq!(hits.len(), keys.len());
    for (number, hit) in hits.into_iter().enumerate() {
        let expected = records.iter().find(|record| record.key == keys[number]);
        assert_eq!(hit.map(|hit| hit.record).as_ref(), expected, "{number}");
    }
}

fn the_first_result_stays(place: &Place, cache: &dyn LayerCache) {
    let first = place.record("first");
    let second = Record { key: first.key, ..place.record("second") };
    [&first, &second].into_iter().for_each(|record| cache.save(record).expect("save"));
    assert_eq!(found(cache, &first.key), Some(first));
}

fn a_result_without_its_blobs_is_none(place: &Place, cache: &dyn LayerCache) {
    let record = place.record("incomplete");
    fs::remove_file(place.store.blob_path(&record.layers[0].toc.digest)).expect("evict");
    let _ = cache.save(&record);
    assert_eq!(found(cache, &record.key), None);
}

pub(crate) fn base_layers_have_contents_too(place: &Place, cache: &dyn LayerCache) {
    let layer = DiffId(Digest::sha256(b"base layer"));
    assert_eq!(cache.layer_toc(&layer), None);
    let toc = place.store.put_blob(media_type::TOC, b"contents of a base layer").expect("blob");
    cache.save_layer_toc(&layer, &toc).expect("save");
    cache.save_layer_toc(&layer, &toc).expect("save again");
    assert_eq!(cache.layer_toc(&layer).as_deref(), Some(&b"contents of a base layer"[..]));
}

fn old_results_expire(place: &Place, cache: &dyn LayerCache) {
    let old = Record { created: now() - 1100, ..place.record("old") };
    cache.save(&old).expect("save");
    assert_eq!(found(cache, &old.key), None);
    let new = Record { created: now() - 900, ..place.record("old") };
    cache.save(&new).expect("save");
    assert_eq!(found(cache, &new.key), Some(new), "an expired record is replaced");
}

#[test]
fn the_local_cache_keeps_the_contract() {
    contract(|place, ttl| Box::new(place.local(ttl)));
}

#[test]
fn a_cache_repository_keeps_the_contract() {
    let registry = Registry::start();
    let repository = |place: &Place| registry.repository(&format!("cache{}", hex_of(place)));
    contract(|place, ttl| Box::new(place.registry(&repository(place), ttl)));
}

#[test]
fn a_tiered_cache_keeps_the_contract() {
    let registry = Registry::start();
    contract(|place, ttl| {
        let remote = Arc::new(place.registry(&registry.repository(&format!("cache{}", hex_of(place))), ttl));
        // Read only: what the local tier does not keep must not be found by a race.
        Box::new(TieredCache::new(place.local(ttl), place.observer()).with_remote(remote, false))
    });
}

/// A name that no other place has.
fn hex_of(place: &Place) -> String {
    Digest::sha256(place.store.directory().as_os_str().as_encoded_bytes()).hex()[..12].to_owned()
}
