use std::fs::File;

use super::super::index::IndexFault;
use super::*;
use crate::image::Descriptor;

#[test]
fn records_are_bound_to_their_keys_and_need_their_blobs() {
    let directory = tempfile::tempdir().expect("directory");
    let store = durable(directory.path());
    let record = Record { content_key: Some(key(2)), ..stored_record(&store, 1) };
    assert!(matches!(store.put_record(&key(3), &record), Err(StoreError::ForeignKey { .. })));
    store.put_record(&key(1), &record).expect("put");
    store.put_record(&key(2), &record).expect("put");
    assert_eq!(store.record(&key(1)).expect("read").as_ref(), Some(&record));
    assert_eq!(store.record(&key(2)).expect("read").as_ref(), Some(&record));
    assert_eq!(store.record(&key(3)).expect("read"), None);

    let mut missing = record.clone();
    missing.layers[0].toc = Descriptor::of(media_type::TOC, b"never stored");
    assert!(matches!(store.put_record(&key(1), &missing), Err(StoreError::MissingBlob { .. })));
}

#[test]
fn a_complete_record_is_never_rewritten_but_a_useless_one_is() {
    let directory = tempfile::tempdir().expect("directory");
    let store = store(directory.path());
    let first = stored_record(&store, 1);
    let second = Record { key: key(1), ..stored_record(&store, 2) };
    let put = |record: &Record| store.put_record(&key(1), record).expect("put");
    let got = || store.record(&key(1)).expect("read");
    put(&first);
    put(&second);
    assert_eq!(got().as_ref(), Some(&first), "put if absent");

    fs::remove_file(store.blob_path(&first.layers[0].blob.digest)).expect("evicted");
    assert!(!store.is_complete(&first));
    put(&second);
    assert_eq!(got().as_ref(), Some(&second), "else a key whose blobs are gone would miss for ever");

    for damaged in [&b""[..], b"{", &first.to_bytes()[..50], &stored_record(&store, 9).to_bytes()] {
        replace(&directory.path().join("records").join(key(1).to_string()), damaged);
        assert_eq!(got(), None, "{damaged:?}");
        assert!(!store.take_notices().is_empty(), "{damaged:?}");
        put(&second);
        assert_eq!(got().as_ref(), Some(&second));
    }
}

#[test]
fn a_record_of_another_version_is_quietly_none() {
    let directory = tempfile::tempdir().expect("directory");
    let store = store(directory.path());
    let text = r#"{"version":2,"key":{"anything":1}}"#;
    fs::write(directory.path().join("records").join(key(1).to_string()), text).expect("write");
    assert_eq!(store.record(&key(1)).expect("read"), None);
    assert_eq!(store.take_notices(), Vec::<String>::new());
}

pub(super) fn thirty(directory: &Path) -> Vec<CacheKey> {
    let store = durable(directory);
    let records: Vec<Record> = (0..30).map(|seed| stored_record(&store, seed)).collect();
    records.iter().for_each(|record| store.put_record(&record.key, record).expect("put"));
    records.iter().map(|record| record.key).collect()
}

pub(super) fn count(store: &Store, keys: &[CacheKey]) -> usize {
    store.records(keys).into_iter().filter(|found| found.as_ref().expect("readable").is_some()).count()
}

#[test]
fn the_index_answers_but_files_are_the_truth() {
    let directory = tempfile::tempdir().expect("directory");
    let keys = thirty(directory.path());
    let records = directory.path().join("records");
    // A damaged file shows who answers: only the index still knows what it held.
    replace(&records.join(keys[5].to_string()), b"damaged");
    fs::remove_file(records.join(keys[6].to_string())).expect("remove");
    let store = durable(directory.path());
    let found = store.records(&keys);
    assert!(found[5].as_ref().expect("readable").is_some(), "from the index");
    assert!(found[6].as_ref().expect("readable").is_none(), "a removed file is a miss");
    assert_eq!(count(&store, &keys), 29);
    assert_eq!(store.take_notices(), Vec::<String>::new());
    let mut visited = 0;
    store.for_each_record(&mut |_| visited += 1).expect("list");
    assert_eq!(visited, 29);
}

#[test]
fn a_deleted_index_is_made_again_from_what_is_looked_up() {
    let directory = tempfile::tempdir().expect("directory");
    let keys = thirty(directory.path());
    fs::remove_file(directory.path().join("index.redb")).expect("remove");
    assert_eq!(count(&durable(directory.path()), &keys), 30);
    let index = RecordIndex::new(directory.path());
    let indexed = index.get(&keys).expect("usable").expect("made again");
    assert!(indexed.iter().all(Option::is_some));
}

#[test]
fn a_look_up_of_few_keys_does_not_write_the_index() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().expect("directory");
    let keys = thirty(directory.path());
    let changed =
        || fs::metadata(directory.path().join("index.redb")).map(|m| (m.ctime(), m.ctime_nsec())).expect("index");
    let before = changed();
    assert_eq!(count(&durable(directory.path()), &keys[..3]), 3);
    assert_eq!(changed(), before);
}

#[test]
fn a_damaged_index_is_a_notice_and_made_again() {
    let directory = tempfile::tempdir().expect("directory");
    let keys = thirty(directory.path());
    let path = directory.path().join("index.redb");
    let good = fs::read(&path).expect("index");
    let mut flipped = good.clone();
    flipped.iter_mut().skip(4096).step_by(977).for_each(|b| *b ^= 0xff);
    for damaged in [&b""[..], b"no database at all", &good[..good.len() / 2], &flipped] {
        replace(&path, damaged);
        let store = durable(directory.path());
        assert_eq!(count(&store, &keys), 30);
        assert_eq!(count(&store, &keys), 30);
        let notices = store.take_notices();
        assert_eq!(notices.len(), 1, "said once: {notices:?}");
        drop(store);
        let store = durable(directory.path());
        assert_eq!(count(&store, &keys), 30);
        assert_eq!(store.take_notices(), Vec::<String>::new(), "made again");
    }
}

#[test]
fn an_index_left_unfinished_by_a_kill_is_not_opened() {
    let directory = tempfile::tempdir().expect("directory");
    let keys = thirty(directory.path());
    // As `flush` leaves it between its two writes of the stamp.
    File::options().write(true).open(directory.path().join("index.stamp")).and_then(|f| f.set_len(0)).expect("cut");
    let index = RecordIndex::new(directory.path());
    assert!(matches!(index.get(&keys), Err(IndexFault::Untrusted)));
    assert_eq!(count(&durable(directory.path()), &keys), 30);
}

/// One that a later version of this program, with a later redb, left with a stamp that fits.
#[test]
fn an_index_of_a_newer_version_is_a_notice() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().expect("directory");
    let keys = thirty(directory.path());
    let path = directory.path().join("index.redb");
    let mut bytes = fs::read(&path).expect("index");
    // The format's version is the first byte of each commit slot (redb, docs/design.md).
    let before = (bytes[64], bytes[192]);
    (bytes[64], bytes[192]) = (77, 77);
    assert_ne!(before, (77, 77));
    replace(&path, &bytes);
    let m = fs::metadata(&path).expect("metadata");
    let stamp =
        format!("{} {} {}.{:09} {}.{:09}", m.ino(), m.size(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
    fs::write(directory.path().join("index.stamp"), stamp).expect("stamp");
    let index = RecordIndex::new(directory.path());
    assert!(matches!(index.get(&keys), Err(IndexFault::Database(_))), "opened, and refused without a panic");
    let store = durable(directory.path());
    assert_eq!(count(&store, &keys), 30);
    assert_eq!(store.take_notices().len(), 1);
}

#[test]
fn a_locked_index_is_a_notice() {
    use rustix::fs::{FlockOperation, flock};
    let directory = tempfile::tempdir().expect("directory");
    let keys = thirty(directory.path());
    let stamp = File::open(directory.path().join("index.stamp")).expect("stamp");
    flock(&stamp, FlockOperation::LockExclusive).expect("lock");
    let store = durable(directory.path());
    assert_eq!(count(&store, &keys), 30);
    let notices = store.take_notices();
    assert!(notices.iter().any(|n| n.contains("another process")), "{notices:?}");
}

#[test]
fn a_throw_away_store_keeps_no_index() {
    let directory = tempfile::tempdir().expect("directory");
    let store = store(directory.path());
    let record = stored_record(&store, 1);
    store.put_record(&record.key, &record).expect("put");
    drop(store);
    assert!(!directory.path().join("index.redb").exists());
}
