use std::fs::{File, FileTimes};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::records::{count, thirty};
use super::*;
use crate::digest::Digest;
use crate::image::{Descriptor, Platform};

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

/// The root of a layer's tree has the layer's time. It was taken for what a dead process left behind.
#[test]
fn another_executor_leaves_a_tree_alone_that_says_it_is_old() {
    let directory = tempfile::tempdir().expect("directory");
    let store = durable(directory.path());
    let pending = store.begin_extracted_layer("abc").expect("begin");
    fs::write(pending.path().join("file"), "content").expect("fill");
    fs::File::open(pending.path()).and_then(|root| root.set_modified(SystemTime::UNIX_EPOCH)).expect("time");
    drop(durable(directory.path()));
    let path = pending.commit().expect("it is still there");
    assert_eq!(fs::read_to_string(path.join("file")).expect("read"), "content");
    assert!(leftovers(directory.path()).is_empty());
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

/// True inside. Outside: runs the test `name` of this program again as the only one, by way of
/// `launcher`, and sees that it passes.
fn is_launched_by(launcher: &[&str], name: &str) -> bool {
    const INSIDE: &str = "YADOKARI_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // A copy that every user can reach.
    let directory = tempfile::tempdir().expect("directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    let program = directory.path().join("tests");
    fs::copy(std::env::current_exe().expect("own path"), &program).expect("copy");
    let name = format!("store::tests::sharing::{name}");
    let mut command = Command::new(launcher[0]);
    command.args(&launcher[1..]).arg(program).args(["--exact", "--nocapture", &name]).env(INSIDE, "1");
    let output = command.current_dir("/").output().expect(launcher[0]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    false
}

const MOUNT_NAMESPACE: &[&str] = &["unshare", "--mount", "--propagation", "private"];
const NOBODY: &[&str] = &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];

#[test]
fn a_user_removes_sealed_trees_and_reads_the_stores_of_others() {
    if !is_launched_by(NOBODY, "a_user_removes_sealed_trees_and_reads_the_stores_of_others") {
        return;
    }
    let directory = tempfile::tempdir().expect("directory");
    let keys = thirty(directory.path());
    let store = durable(directory.path());
    let pending = store.begin_extracted_layer("abc").expect("begin");
    let sealed = pending.path().join("usr");
    fs::create_dir_all(sealed.join("bin")).expect("fill");
    fs::write(sealed.join("bin/file"), b"x").expect("fill");
    [sealed.join("bin"), sealed].iter().for_each(|d| set_mode(d, 0o555));
    drop(pending);
    assert_eq!(leftovers(directory.path()), Vec::<PathBuf>::new());

    for name in ["blobs/sha256", "records", "tocs", "layers", "tmp", ""] {
        set_mode(&directory.path().join(name), 0o555);
    }
    let auto = Store::open(directory.path(), Access::Auto).expect("open");
    assert!(!auto.is_writable());
    assert_eq!(count(&auto, &keys), 30);
    assert!(matches!(Store::open(directory.path(), Access::ReadWrite), Err(StoreError::Io { .. })));
    for name in ["", "blobs/sha256", "records", "tocs", "layers", "tmp"] {
        set_mode(&directory.path().join(name), 0o755);
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
}

#[test]
fn a_read_only_mount_is_noticed() {
    if !is_launched_by(MOUNT_NAMESPACE, "a_read_only_mount_is_noticed") {
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
    if !is_launched_by(MOUNT_NAMESPACE, "a_full_disk_is_named") {
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
