//! The store as its users see it: what survives, what is refused, and who wins.

use std::fs::{self, File, FileTimes};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::digest::{Algorithm, ContentHash, DiffId, Digest};
use crate::image::{Descriptor, Platform, media_type};
use crate::key::CacheKey;

fn store(directory: &Path) -> Store {
    Store::open_with(directory, Access::ReadWrite, Durability::None).expect("a new store")
}

fn durable(directory: &Path) -> Store {
    Store::open(directory, Access::ReadWrite).expect("a new store")
}

fn key(seed: u32) -> CacheKey {
    CacheKey(ContentHash::of(&seed.to_le_bytes()))
}

/// A record whose blobs are stored.
fn stored_record(store: &Store, seed: u32) -> Record {
    let text = format!("layer {seed}");
    let blob = store.put_blob(media_type::OCI_LAYER, text.as_bytes()).expect("blob");
    let toc = store.put_blob(media_type::TOC, format!("toc {seed}").as_bytes()).expect("toc");
    let diff_id = DiffId(blob.digest.clone());
    let layer = RecordLayer { blob, diff_id, uncompressed_size: text.len() as u64, toc, created: 7 };
    Record {
        version: Record::VERSION,
        key: key(seed),
        content_key: None,
        parts: [("command".to_owned(), text)].into(),
        layers: vec![layer],
        state: None,
        created: 7,
        duration_ms: 3,
        executor: "yadokari test".into(),
    }
}

fn leftovers(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory.join("tmp")).expect("tmp").map(|e| e.expect("entry").path()).collect()
}

/// Replaces a file by another one, as a restored backup would.
fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).expect("write");
    fs::rename(&new, path).expect("rename");
}

#[test]
fn a_blob_is_there_only_after_commit() {
    let directory = tempfile::tempdir().expect("directory");
    let store = durable(directory.path());
    let mut writer = store.blob_writer().expect("writer");
    writer.write_all(b"half").expect("write");
    assert!(!store.has_blob(&Digest::sha256(b"half")));
    drop(writer);
    assert_eq!(leftovers(directory.path()), Vec::<PathBuf>::new());

    let mut writer = store.blob_writer().expect("writer");
    writer.write_all(b"wh").and_then(|()| writer.write_all(b"ole")).expect("write");
    assert_eq!(writer.size(), 5);
    let descriptor = writer.commit(media_type::OCI_LAYER).expect("commit");
    assert_eq!(descriptor, Descriptor::of(media_type::OCI_LAYER, b"whole"));
    assert_eq!(store.read_blob(&descriptor.digest, 5).expect("read").as_deref(), Some(&b"whole"[..]));
    assert!(store.read_blob(&descriptor.digest, 4).is_err(), "larger than the limit");
    let mode = fs::metadata(store.blob_path(&descriptor.digest)).expect("metadata").mode();
    assert_eq!(mode & 0o444, 0o444, "others who share the store can read it");
}

#[test]
fn a_blob_that_is_not_what_was_announced_is_refused() {
    let directory = tempfile::tempdir().expect("directory");
    let store = store(directory.path());
    let expected = Descriptor::of("x", b"expected");
    let commit = |bytes: &[u8]| {
        let mut writer = store.blob_writer_for(&expected).expect("writer");
        let written = writer.write_all(bytes);
        written.map(|()| writer.commit_as(&expected))
    };
    assert!(matches!(commit(b"unwanted"), Ok(Err(StoreError::Digest { .. }))));
    assert!(matches!(commit(b"short"), Ok(Err(StoreError::Size { actual: 5, expected: 8, .. }))));
    assert!(commit(b"expected and more").is_err(), "stops before the disk is full of it");
    assert!(!store.has_blob(&expected.digest));
    assert!(matches!(commit(b"expected"), Ok(Ok(()))));
    assert!(store.has(&expected));
}

#[test]
fn a_sha512_blob_is_hashed_with_its_own_algorithm() {
    use sha2::Digest as _;
    let directory = tempfile::tempdir().expect("directory");
    let store = store(directory.path());
    let digest = Digest::from_sha512(&sha2::Sha512::digest(b"long").into());
    assert_eq!(digest.algorithm(), Algorithm::Sha512);
    let expected = Descriptor::new("x", digest, 4);
    let mut writer = store.blob_writer_for(&expected).expect("writer");
    writer.write_all(b"long").expect("write");
    writer.commit_as(&expected).expect("commit");
    let mut text = String::new();
    let reader = store.open_verified(&expected).expect("open").map(|mut r| r.read_to_string(&mut text));
    assert_eq!((reader.expect("there").expect("right"), text.as_str()), (4, "long"));
}

#[test]
fn damage_shows_at_the_end_of_a_verified_read() {
    let directory = tempfile::tempdir().expect("directory");
    let store = store(directory.path());
    let blob = store.put_blob("x", b"some bytes").expect("blob");
    for damaged in [&b"some"[..], b"some bytes and more", b"same bytes"] {
        replace(&store.blob_path(&blob.digest), damaged);
        let mut reader = store.open_verified(&blob).expect("open").expect("there");
        assert!(reader.read_to_end(&mut Vec::new()).is_err(), "{damaged:?}");
    }
    assert_eq!(store.read_blob(&blob.digest, 100).expect("read"), None);
    assert_eq!(store.take_notices().len(), 1);
    replace(&store.blob_path(&blob.digest), b"cut");
    store.put_blob("x", b"some bytes").expect("blob");
    assert!(store.has(&blob), "a blob that was cut off is written again");
}

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

fn thirty(directory: &Path) -> Vec<CacheKey> {
    let store = durable(directory);
    let records: Vec<Record> = (0..30).map(|seed| stored_record(&store, seed)).collect();
    records.iter().for_each(|record| store.put_record(&record.key, record).expect("put"));
    records.iter().map(|record| record.key).collect()
}

fn count(store: &Store, keys: &[CacheKey]) -> usize {
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
    assert!(matches!(index.get(&keys), Err(index::IndexFault::Untrusted)));
    assert_eq!(count(&durable(directory.path()), &keys), 30);
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

#[test]
fn tables_of_contents_are_found_by_layer() {
    let directory = tempfile::tempdir().expect("directory");
    let store = store(directory.path());
    let layer = DiffId(Digest::sha256(b"layer"));
    assert_eq!(store.toc(&layer).expect("read"), None);
    let missing = Descriptor::of(media_type::TOC, b"missing");
    assert!(matches!(store.put_toc(&layer, &missing), Err(StoreError::MissingBlob { .. })));
    let toc = store.put_blob(media_type::TOC, b"contents").expect("blob");
    store.put_toc(&layer, &toc).expect("put");
    assert_eq!(store.toc(&layer).expect("read").as_deref(), Some(&b"contents"[..]));
    fs::remove_file(store.blob_path(&toc.digest)).expect("evicted");
    assert_eq!(store.toc(&layer).expect("read"), None);
    let again = store.put_blob(media_type::TOC, b"other contents").expect("blob");
    store.put_toc(&layer, &again).expect("put");
    assert_eq!(store.toc(&layer).expect("read").as_deref(), Some(&b"other contents"[..]));
}

#[test]
fn images_are_named_per_platform() {
    let directory = tempfile::tempdir().expect("directory");
    let store = store(directory.path());
    let platform = |text: &str| text.parse::<Platform>().expect(text);
    let image = |bytes: &[u8], on: Option<&str>| {
        let mut image = store.put_blob(media_type::OCI_MANIFEST, bytes).expect("blob");
        image.platform = on.map(platform);
        image
    };
    let named = |on: &str| store.named_image("a:1", Some(&platform(on))).expect("index").map(|(image, _)| image);
    let (amd, arm) = (image(b"amd", Some("linux/amd64")), image(b"arm", Some("linux/arm64")));
    let before = SystemTime::now() - Duration::from_secs(2);
    [&amd, &arm].into_iter().for_each(|i| store.set_named_image("a:1", i).expect("set"));
    assert_eq!(
        (named("linux/amd64"), named("linux/arm64"), named("linux/s390x")),
        (Some(amd), Some(arm.clone()), None)
    );
    let newer = image(b"newer", Some("linux/amd64"));
    store.set_named_image("a:1", &newer).expect("set");
    assert_eq!((named("linux/amd64"), named("linux/arm64")), (Some(newer), Some(arm)));
    let index = image(b"index", None);
    store.set_named_image("a:1", &index).expect("set");
    assert_eq!((named("linux/amd64"), named("linux/s390x")), (Some(index.clone()), Some(index)));
    let (_, modified) = store.named_image("a:1", None).expect("index").expect("there");
    assert!(modified > before);
    assert_eq!(store.named_image("a:2", None).expect("index"), None);
    let missing = Descriptor::of(media_type::OCI_MANIFEST, b"missing");
    assert!(matches!(store.set_named_image("b", &missing), Err(StoreError::MissingBlob { .. })));
}

#[test]
fn concurrent_writers_lose_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let stores = [durable(directory.path()), durable(directory.path())];
    std::thread::scope(|scope| {
        for worker in 0..6_u32 {
            let store = &stores[(worker % 2) as usize];
            scope.spawn(move || work(store, worker));
        }
    });
    let [store, other] = &stores;
    for seed in (0..6).flat_map(|worker| worker * 100..worker * 100 + 8) {
        let image = store.named_image(&format!("image:{seed}"), None).expect("index");
        assert!(image.is_some(), "image {seed}");
        let record = other.record(&key(seed)).expect("read");
        assert!(record.is_some_and(|r| other.is_complete(&r)), "record {seed}");
    }
    let shared = store.record(&key(7777)).expect("read").expect("one of six won");
    assert!(store.is_complete(&shared));
    assert_eq!(fs::read(store.extracted_layer("shared").expect("one won").join("file")).expect("whole"), b"content");
    assert_eq!(leftovers(directory.path()), Vec::<PathBuf>::new());
}

fn work(store: &Store, worker: u32) {
    for seed in worker * 100..worker * 100 + 8 {
        let record = stored_record(store, seed);
        store.put_record(&record.key, &record).expect("record");
        store.set_named_image(&format!("image:{seed}"), &record.layers[0].blob).expect("image");
    }
    let same_key = Record { key: key(7777), ..stored_record(store, worker) };
    store.put_record(&key(7777), &same_key).expect("record");
    let pending = store.begin_extracted_layer("shared").expect("begin");
    fs::write(pending.path().join("file"), b"content").expect("fill");
    pending.commit().expect("commit");
}

#[test]
fn an_extracted_layer_appears_as_a_whole_and_the_first_wins() {
    let directory = tempfile::tempdir().expect("directory");
    let store = durable(directory.path());
    let begin = |content: &str| {
        let pending = store.begin_extracted_layer("abc").expect("begin");
        fs::create_dir(pending.path().join("sealed")).expect("fill");
        fs::write(pending.path().join("sealed/file"), content).expect("fill");
        fs::set_permissions(pending.path().join("sealed"), fs::Permissions::from_mode(0o555)).expect("mode");
        pending
    };
    let (first, second, dropped) = (begin("first"), begin("second"), begin("dropped"));
    assert_eq!(store.extracted_layer("abc"), None);
    let place = first.commit().expect("commit");
    assert_eq!(second.commit().expect("commit"), place);
    drop(dropped);
    assert_eq!(store.extracted_layer("abc"), Some(place.clone()));
    assert_eq!(fs::read_to_string(place.join("sealed/file")).expect("read"), "first");
    assert_eq!(leftovers(directory.path()), Vec::<PathBuf>::new());
    for bad in ["", ".", "..", "a/b", "../x", "sha256:abc", "a,b", ".hidden", &"x".repeat(129)] {
        assert!(matches!(store.begin_extracted_layer(bad), Err(StoreError::LayerName(_))), "{bad}");
        assert_eq!(store.extracted_layer(bad), None);
    }
}

#[test]
fn old_leftovers_are_removed_and_new_ones_are_not() {
    let directory = tempfile::tempdir().expect("directory");
    drop(store(directory.path()));
    let tmp = directory.path().join("tmp");
    let old = SystemTime::now() - Duration::from_secs(7 * 3600);
    fs::create_dir_all(tmp.join("old-tree/sub")).expect("mkdir");
    fs::write(tmp.join("old-tree/sub/file"), b"x").expect("write");
    for (name, time) in [("old", old), ("new", SystemTime::now())] {
        fs::write(tmp.join(name), b"x").expect("write");
        File::options().write(true).open(tmp.join(name)).and_then(|f| f.set_modified(time)).expect("times");
    }
    File::open(tmp.join("old-tree")).and_then(|d| d.set_times(FileTimes::new().set_modified(old))).expect("times");
    drop(store(directory.path()));
    assert_eq!(leftovers(directory.path()), [tmp.join("new")]);
}

#[test]
fn an_unknown_layout_version_is_refused() {
    let directory = tempfile::tempdir().expect("directory");
    fs::write(directory.path().join("oci-layout"), br#"{"imageLayoutVersion":"2.0.0"}"#).expect("write");
    for access in [Access::ReadWrite, Access::ReadOnly, Access::Auto] {
        let opened = Store::open(directory.path(), access);
        assert!(matches!(opened, Err(StoreError::Version { version, .. }) if version == "2.0.0"));
    }
    assert!(Store::open(&directory.path().join("absent"), Access::ReadOnly).is_err());
}

#[test]
fn a_read_only_store_changes_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let empty = Store::open(directory.path(), Access::ReadOnly).expect("open");
    assert_eq!(empty.named_image("a", None).expect("none"), None);
    assert!(matches!(empty.blob_writer(), Err(StoreError::ReadOnly { .. })));
    empty.for_each_record(&mut |_| panic!("there is none")).expect("list");
    drop(empty);
    assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 0);
}

/// Runs the test `name` of this program again as the only one, in a mount namespace of its own.
fn in_own_mount_namespace(name: &str) -> bool {
    const INSIDE: &str = "YADOKARI_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("own path");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(program);
    let output = command.args(["--exact", "--nocapture", name]).env(INSIDE, "1").output().expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    false
}

#[test]
fn a_read_only_mount_is_noticed() {
    if !in_own_mount_namespace("store::tests::a_read_only_mount_is_noticed") {
        return;
    }
    let directory = tempfile::tempdir().expect("directory");
    let keys = thirty(directory.path());
    let mount = |arguments: &[&str]| {
        let status = Command::new("mount").args(arguments).arg(directory.path()).arg(directory.path()).status();
        assert!(status.expect("mount").success());
    };
    mount(&["--bind"]);
    mount(&["-o", "remount,bind,ro"]);
    let auto = Store::open(directory.path(), Access::Auto).expect("open");
    assert!(!auto.is_writable());
    assert_eq!(count(&auto, &keys), 30);
    assert!(matches!(auto.put_blob("x", b"new"), Err(StoreError::ReadOnly { .. })));
    assert_eq!(auto.take_notices(), Vec::<String>::new());
    let refused = Store::open(directory.path(), Access::ReadWrite);
    assert!(matches!(refused, Err(StoreError::Io { .. })));
    assert!(Command::new("umount").arg(directory.path()).status().expect("umount").success());
    assert!(Store::open(directory.path(), Access::Auto).expect("open").is_writable());
}

#[test]
fn a_full_disk_is_named() {
    if !in_own_mount_namespace("store::tests::a_full_disk_is_named") {
        return;
    }
    let directory = tempfile::tempdir().expect("directory");
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(directory.path()).status();
    assert!(mounted.expect("mount").success());
    let store = durable(directory.path());
    let mut writer = store.blob_writer().expect("writer");
    let error = writer.write_all(&vec![1; 1 << 20]).expect_err("a megabyte does not fit");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(error.to_string().contains("disk full while writing a blob"), "{error}");
    let error = store.put_blob("x", &vec![2; 1 << 20]).expect_err("a megabyte does not fit");
    assert!(matches!(&error, StoreError::DiskFull { what, .. } if what == "a blob"), "{error:?}");
    drop(writer);
    assert!(store.put_blob("x", b"little").is_ok(), "what was half written is gone");
    assert!(Command::new("umount").arg(directory.path()).status().expect("umount").success());
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    ("[a-z/+.]{1,20}", any::<[u8; 32]>(), any::<u64>())
        .prop_map(|(media_type, digest, size)| Descriptor::new(media_type, Digest::from_sha256(&digest), size))
}

fn record_layer() -> impl Strategy<Value = RecordLayer> {
    (descriptor(), any::<[u8; 64]>(), any::<u64>(), descriptor(), any::<i64>()).prop_map(
        |(blob, diff_id, uncompressed_size, toc, created)| {
            let diff_id = DiffId(Digest::from_sha512(&diff_id));
            RecordLayer { blob, diff_id, uncompressed_size, toc, created }
        },
    )
}

prop_compose! {
    fn record()(
        keys in any::<([u8; 32], Option<[u8; 32]>, Option<[u8; 32]>)>(),
        parts in prop::collection::btree_map(".*", ".*", 0..4),
        layers in prop::collection::vec(record_layer(), 0..3),
        times in any::<(i64, u64)>(),
        executor in ".*",
    ) -> Record {
        Record {
            version: Record::VERSION,
            key: CacheKey(ContentHash(keys.0)),
            content_key: keys.1.map(|k| CacheKey(ContentHash(k))),
            parts,
            layers,
            state: keys.2.map(ContentHash),
            created: times.0,
            duration_ms: times.1,
            executor,
        }
    }
}

proptest! {
    #[test]
    fn a_record_is_read_as_written(record in record()) {
        let bytes = record.to_bytes();
        prop_assert_eq!(Record::from_bytes(&bytes, &record.key).expect("own form"), record.clone());
        if let Some(key) = record.content_key {
            prop_assert_eq!(Record::from_bytes(&bytes, &key).expect("own form"), record.clone());
        }
        let foreign = CacheKey(ContentHash::of(&bytes));
        prop_assert!(matches!(Record::from_bytes(&bytes, &foreign), Err(RecordError::Key(_))));
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), seed in any::<u32>()) {
        prop_assert!(Record::from_bytes(&bytes, &key(seed)).is_err());
    }

    #[test]
    fn a_cut_record_is_an_error(record in record(), at in any::<prop::sample::Index>()) {
        let bytes = record.to_bytes();
        prop_assert!(Record::from_bytes(&bytes[..at.index(bytes.len())], &record.key).is_err());
    }
}
