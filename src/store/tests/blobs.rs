use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::digest::{Algorithm, Digest};
use crate::image::Descriptor;

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
