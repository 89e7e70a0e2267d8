use std::fs::{self, File};
use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

use super::*;
use crate::image::Descriptor;

fn claimed(store: &Store, blob: &Descriptor) -> PartialBlob {
    match store.claim_blob(blob).expect("claim") {
        BlobClaim::Ours(partial) => *partial,
        other => panic!("not ours: {other:?}"),
    }
}

fn partials(directory: &Path) -> usize {
    fs::read_dir(directory.join("partial")).map_or(0, Iterator::count)
}

#[test]
fn a_broken_off_blob_is_gone_on_with() {
    let directory = tempfile::tempdir().expect("directory");
    let blob = Descriptor::of("x", b"first second");
    let mut partial = claimed(&durable(directory.path()), &blob);
    assert_eq!(partial.size(), 0);
    partial.write_all(b"first ").expect("write");
    drop(partial);

    let store = durable(directory.path());
    let mut partial = claimed(&store, &blob);
    let mut text = String::new();
    partial.bytes().expect("open").read_to_string(&mut text).expect("read");
    assert_eq!((partial.size(), text.as_str()), (6, "first "));
    assert!(partial.write_all(b"far too long").is_err(), "stops before the disk is full of it");
    partial.write_all(b"second").expect("write");
    partial.commit_verified().expect("commit");
    assert_eq!(store.read_blob(&blob.digest, 20).expect("read").as_deref(), Some(&b"first second"[..]));
    assert!(matches!(store.claim_blob(&blob), Ok(BlobClaim::Stored)));
    assert_eq!(partials(directory.path()), 0);
}

#[test]
fn one_at_a_time_fetches_a_blob() {
    let directory = tempfile::tempdir().expect("directory");
    let (one, two) = (store(directory.path()), store(directory.path()));
    let blob = Descriptor::of("x", b"bytes");
    let mut partial = claimed(&one, &blob);
    assert!(matches!(two.claim_blob(&blob), Ok(BlobClaim::Elsewhere(0))));
    assert!(matches!(two.claim_blob(&Descriptor::of("x", b"other")), Ok(BlobClaim::Ours(_))));
    partial.write_all(b"byte").expect("write");
    assert!(matches!(two.claim_blob(&blob), Ok(BlobClaim::Elsewhere(4))));
    assert!(matches!(partial.commit_verified(), Err(StoreError::Size { actual: 4, expected: 5, .. })));
    let mut partial = claimed(&two, &blob);
    partial.restart().expect("restart");
    assert_eq!(partial.size(), 0);
    drop(partial);
    assert_eq!(partials(directory.path()), 0, "nothing is worth keeping");
}

#[test]
fn too_many_bytes_are_not_gone_on_with() {
    let directory = tempfile::tempdir().expect("directory");
    let store = store(directory.path());
    let blob = Descriptor::of("x", b"bytes");
    let mut partial = claimed(&store, &blob);
    partial.write_all(b"bytes").expect("write");
    let path = directory.path().join("partial").join(format!("sha256-{}", blob.digest.hex()));
    fs::write(&path, b"more bytes").expect("write");
    drop(partial);
    assert_eq!(claimed(&store, &blob).size(), 0);
}

#[test]
fn what_nobody_goes_on_with_is_removed() {
    let directory = tempfile::tempdir().expect("directory");
    let first = store(directory.path());
    let blobs = [b"old", b"use", b"new"].map(|bytes| Descriptor::of("x", bytes));
    let long_ago = SystemTime::now() - Duration::from_secs(80 * 3600);
    let path = |blob: &Descriptor| directory.path().join("partial").join(format!("sha256-{}", blob.digest.hex()));
    let mut partials = blobs.each_ref().map(|blob| claimed(&first, blob));
    for (partial, blob) in partials.iter_mut().zip(&blobs) {
        partial.write_all(b"x").expect("write");
        if blob != &blobs[2] {
            File::open(path(blob)).and_then(|file| file.set_modified(long_ago)).expect("time");
        }
    }
    let [old, used, new] = partials;
    drop((old, new));
    store(directory.path());
    assert_eq!(blobs.each_ref().map(|blob| path(blob).exists()), [false, true, true]);
    drop(used);
}
