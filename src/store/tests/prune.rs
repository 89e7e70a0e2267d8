use std::fs::FileTimes;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::*;
use crate::image::Descriptor;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn age(path: &Path, by: Duration) {
    let at = SystemTime::now() - by;
    fs::File::open(path).and_then(|f| f.set_times(FileTimes::new().set_modified(at))).expect("times");
}

/// A record whose files were not used for `days`.
fn aged(store: &Store, seed: u32, days: u32) -> Record {
    let record = stored_record(store, seed);
    store.put_record(&record.key, &record).expect("put");
    age_record(store, &record, days);
    record
}

fn age_record(store: &Store, record: &Record, days: u32) {
    age(&store.layout.record(&record.key), DAY * days);
    record.blobs().for_each(|blob| age(&store.blob_path(&blob.digest), DAY * days));
}

fn prune(store: &Store, limits: PruneLimits) -> Pruned {
    let plan = store.plan_prune(limits).expect("plan");
    store.prune(&plan).expect("prune")
}

fn older_than(days: u32) -> PruneLimits {
    PruneLimits { older_than: Some(DAY * days), keep_bytes: None }
}

fn is_whole(store: &Store, record: &Record) -> bool {
    store.record(&record.key).expect("read").is_some_and(|found| store.is_complete(&found))
}

#[test]
fn what_is_old_goes_with_the_blobs_that_nothing_else_names() {
    let directory = tempfile::tempdir().expect("directory");
    let store = durable(directory.path());
    let (old, young) = (aged(&store, 1, 9), aged(&store, 2, 3));
    let shared = Record { key: key(3), layers: vec![old.layers[0].clone(), young.layers[0].clone()], ..young.clone() };
    store.put_record(&shared.key, &shared).expect("put");
    age(&store.layout.record(&shared.key), DAY * 9);
    let orphan = store.put_blob(media_type::OCI_LAYER, b"orphan").expect("blob");
    age(&store.blob_path(&orphan.digest), DAY);
    let fresh = store.put_blob(media_type::OCI_LAYER, b"about to be named").expect("blob");
    let plan = store.plan_prune(older_than(7)).expect("plan");
    assert_eq!(plan.bytes_before - plan.bytes_after, old.blobs().map(|b| b.size).sum::<u64>() + orphan.size);
    assert!(is_whole(&store, &old), "a plan changes nothing");
    let done = store.prune(&plan).expect("prune");
    assert_eq!((done.removed, done.kept, done.interrupted), (5, 0, false), "two records, three blobs");
    assert_eq!(store.record(&old.key).expect("read"), None);
    assert!(old.blobs().all(|blob| !store.has(blob)) && !store.has(&orphan) && store.has(&fresh));
    assert!(is_whole(&store, &young));
    assert_eq!(store.verify().expect("verify").damage, []);
    assert_eq!(prune(&store, older_than(7)), Pruned::default());
}

#[test]
fn the_least_recently_used_goes_until_it_fits() {
    let directory = tempfile::tempdir().expect("directory");
    let store = durable(directory.path());
    let records: Vec<Record> = (0..5).map(|n| aged(&store, n, 10 - n)).collect();
    let each: u64 = records[0].blobs().map(|blob| blob.size).sum();
    assert_eq!(prune(&store, PruneLimits { keep_bytes: Some(2 * each), older_than: None }).removed, 9);
    let left: Vec<bool> = records.iter().map(|record| is_whole(&store, record)).collect();
    assert_eq!(left, [false, false, false, true, true]);
    // A use makes young, and what was used within the hour stays whatever the limit says.
    store.note_record_uses([&records[3].key]);
    prune(&store, PruneLimits { keep_bytes: Some(0), older_than: None });
    let left: Vec<bool> = records.iter().map(|record| is_whole(&store, record)).collect();
    assert_eq!(left, [false, false, false, true, false]);
}

#[test]
fn a_result_that_is_used_under_one_key_stays_under_both() {
    let directory = tempfile::tempdir().expect("directory");
    let store = durable(directory.path());
    let record = Record { content_key: Some(key(2)), ..stored_record(&store, 1) };
    [key(1), key(2)].iter().for_each(|key| store.put_record(key, &record).expect("put"));
    // Found again by content, under a new definition key that does not name the old one.
    let renamed = Record { key: key(3), content_key: None, ..record.clone() };
    store.put_record(&key(3), &renamed).expect("put");
    [key(1), key(2)].iter().for_each(|key| age(&store.layout.record(key), DAY * 9));
    prune(&store, older_than(7));
    let there = |seed| store.record(&key(seed)).expect("read").is_some();
    assert_eq!((there(1), there(2), there(3)), (false, true, true));
}

#[test]
fn named_images_stay_with_all_that_they_need() {
    let directory = tempfile::tempdir().expect("directory");
    let store = durable(directory.path());
    let layer = store.put_blob(media_type::OCI_LAYER, b"layer of an image").expect("layer");
    let diff_id = DiffId(layer.digest.clone());
    let config =
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#);
    let config = store.put_blob(media_type::OCI_CONFIG, config.as_bytes()).expect("config");
    let json = |blob: &Descriptor| serde_json::to_string(blob).expect("JSON");
    let manifest = format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#, json(&config), json(&layer));
    let manifest = store.put_blob(media_type::OCI_MANIFEST, manifest.as_bytes()).expect("manifest");
    store.set_named_image("base:1", &manifest).expect("name");
    let toc = store.put_blob(media_type::TOC, b"toc of it").expect("toc");
    store.put_toc(&diff_id, &toc).expect("put");
    let all = [&layer, &config, &manifest, &toc];
    all.iter().for_each(|blob| age(&store.blob_path(&blob.digest), DAY * 30));
    age(&store.layout.toc(&diff_id), DAY * 30);
    let done = prune(&store, PruneLimits { older_than: Some(Duration::ZERO), keep_bytes: Some(0) });
    assert_eq!(done.removed, 0);
    store.forget_images(&|_| true).expect("forget");
    let done = prune(&store, PruneLimits { older_than: Some(Duration::ZERO), keep_bytes: Some(0) });
    assert_eq!((done.removed, all.iter().any(|blob| store.has(blob))), (5, false));
}

#[test]
fn extracted_layers_go_by_their_last_use() {
    let directory = tempfile::tempdir().expect("directory");
    let store = durable(directory.path());
    for id in ["old", "used"] {
        let pending = store.begin_extracted_layer(id).expect("begin");
        fs::write(pending.path().join("file"), vec![0; 1000]).expect("write");
        pending.commit().expect("commit");
        assert!(store.extracted_layer(id).is_some());
        age(&store.layout.layer_use(id), DAY * 30);
    }
    assert!(store.extracted_layer("used").is_some());
    // Made anew after it was thrown away as damaged.
    store.begin_extracted_layer("again").expect("begin").commit().expect("commit");
    age(&store.layout.layer_use("again"), DAY * 30);
    store.discard_extracted_layer("again");
    age(&store.layout.layer_use("again"), DAY * 30);
    store.begin_extracted_layer("again").expect("begin").commit().expect("commit");
    let done = prune(&store, older_than(7));
    assert_eq!((done.removed, done.bytes), (1, 1000));
    assert!(store.extracted_layer("old").is_none() && store.extracted_layer("used").is_some());
    assert!(leftovers(directory.path()).is_empty());
}

#[test]
fn nothing_is_taken_from_a_running_build() {
    let directory = tempfile::tempdir().expect("directory");
    let store = durable(directory.path());
    let record = aged(&store, 1, 9);
    // It began before the record was used last: it may have found it then.
    let build = store.declare_build().expect("lease");
    let lease = fs::read_dir(store.layout.leases()).expect("leases").next().expect("one").expect("entry").path();
    let long_ago = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("clock") - DAY * 20;
    let text = fs::read_to_string(&lease).expect("read");
    let since = build.holder().since.to_string();
    fs::write(&lease, text.replace(&since, &long_ago.as_secs().to_string())).expect("write");
    assert_eq!(prune(&store, older_than(1)).removed, 0);
    drop(build);
    fs::remove_file(&lease).expect("its content was changed");
    // One that begins between plan and removal stops it.
    let plan = store.plan_prune(older_than(1)).expect("plan");
    assert_eq!(plan.removals.len(), 3);
    let build = store.declare_build().expect("lease");
    assert!(store.prune(&plan).expect("prune").interrupted);
    assert!(is_whole(&store, &record));
    drop(build);
    // As many as before, but not the same.
    let ending = store.declare_build().expect("lease");
    let before = store.plan_prune(older_than(1)).expect("plan");
    drop(ending);
    let build = store.declare_build().expect("lease");
    assert!(store.prune(&before).expect("prune").interrupted);
    drop(build);
    // What was used or named since the plan stays.
    store.note_record_uses([&record.key]);
    let done = store.prune(&plan).expect("prune");
    assert_eq!((done.removed, done.kept), (0, 3));
    assert!(is_whole(&store, &record));
    assert!(fs::read_dir(store.layout.leases()).expect("leases").next().is_none());
}

#[test]
fn a_dead_build_keeps_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let store = durable(directory.path());
    let record = aged(&store, 1, 9);
    let lease = store.declare_build().expect("lease");
    let text = serde_json::to_string(lease.holder()).expect("JSON");
    // As left behind by a process that was killed: its id is no longer its own.
    let mut child = Command::new("true").spawn().expect("true");
    child.wait().expect("wait");
    let dead = text.replace(&format!("\"pid\":{}", std::process::id()), &format!("\"pid\":{}", child.id()));
    fs::write(store.layout.leases().join("build-dead"), dead).expect("write");
    drop(lease);
    assert_eq!(store.plan_prune(older_than(1)).expect("plan").builds, []);
    assert_eq!(prune(&store, older_than(1)).removed, 3);
    assert!(!is_whole(&store, &record));
}

#[test]
fn one_removal_at_a_time() {
    let directory = tempfile::tempdir().expect("directory");
    let store = durable(directory.path());
    let _other = store.layout.try_lease("removal").expect("lease").expect("free");
    let refused = store.prune(&PrunePlan::default());
    assert!(matches!(refused, Err(StoreError::Busy { .. })), "{refused:?}");
}

#[test]
fn damage_is_found_named_and_removed() {
    let directory = tempfile::tempdir().expect("directory");
    let store = durable(directory.path());
    let records: Vec<Record> = (0..6).map(|n| aged(&store, n, 0)).collect();
    let blob = |n: usize| store.blob_path(&records[n].layers[0].blob.digest);
    let path = |n: usize| store.layout.record(&records[n].key);
    assert_eq!(store.verify().expect("verify").damage, []);
    // Same size, other bytes; cut off; gone; garbage; moved under another key; another version.
    fs::write(blob(0), vec![b'x'; fs::metadata(blob(0)).expect("blob").len() as usize]).expect("write");
    fs::write(blob(1), b"").expect("write");
    fs::remove_file(blob(2)).expect("remove");
    fs::write(path(3), b"{\"version\":1").expect("write");
    fs::rename(path(4), store.layout.record(&key(99))).expect("rename");
    let text = fs::read_to_string(path(5)).expect("read");
    fs::write(path(5), text.replace("\"version\":1", "\"version\":77")).expect("write");
    let found = store.verify().expect("verify");
    let kinds: Vec<String> = found.damage.iter().map(|d| d.to_string()).collect();
    assert_eq!((found.damage.len(), found.foreign), (7, 1), "{kinds:#?}");
    for (part, reason) in [
        (records[0].layers[0].blob.digest.to_string(), "has digest"),
        (records[0].key.to_string(), "is damaged"),
        (records[2].key.to_string(), "is not there"),
        (records[3].key.to_string(), "malformed"),
        (key(99).to_string(), "belongs to key"),
    ] {
        assert!(kinds.iter().any(|k| k.contains(&part) && k.contains(reason)), "{part}: {kinds:#?}");
    }
    assert_eq!(store.remove_damaged(&found.damage).expect("remove"), []);
    let again = store.verify().expect("verify");
    assert_eq!((again.damage, again.foreign), (Vec::new(), 1));
    assert!(matches!(
        Store::open(directory.path(), Access::ReadOnly).expect("open").remove_damaged(&found.damage),
        Err(StoreError::ReadOnly { .. })
    ));
}
