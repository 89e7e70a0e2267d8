use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;

use super::disk::{listing_of, listing_on, listing_under};
use super::*;
use crate::view::{View, apply_changes, with_ancestors};

fn path() -> impl Strategy<Value = EntryPath> {
    let name = prop_oneof!["[abc]", Just("lib".to_owned()), Just("lib.d".to_owned())];
    vec(name, 1..4).prop_map(|names| names.join("/").into_bytes())
}

fn kind() -> impl Strategy<Value = ChangeKind> {
    let target = prop_oneof![
        path(),
        path().prop_map(|path| [b"/", path.as_slice()].concat()),
        path().prop_map(|path| [b"../", path.as_slice()].concat()),
    ];
    prop_oneof![
        3 => Just(ChangeKind::Directory),
        4 => vec(any::<u8>(), 0..20).prop_map(|bytes| file("", &bytes).kind),
        2 => target.prop_map(|target| ChangeKind::Symlink { target }),
        1 => path().prop_map(|target| ChangeKind::Hardlink { target }),
        1 => Just(ChangeKind::Fifo),
        1 => Just(ChangeKind::CharDevice(Device { major: 1, minor: 3 })),
        2 => Just(ChangeKind::Whiteout),
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    let owner = (0u64..3, 0u64..3);
    (path(), kind(), 0..=0o7777u32, owner, 0..2_000_000_000i64).prop_map(|(path, kind, mode, (uid, gid), mtime)| {
        let xattrs = BTreeMap::new();
        Change { path, kind, mode, uid, gid, mtime, xattrs }
    })
}

/// A member that empties a directory.
fn opaque(path: &str) -> Change {
    file(format!("{path}/.wh..wh..opq"), b"")
}

fn layer_change() -> impl Strategy<Value = Change> {
    prop_oneof![9 => any_change(), 1 => path().prop_map(|path| opaque(std::str::from_utf8(&path).unwrap()))]
}

fn apply(view: &mut View, tar: &[u8]) {
    let scanned = scan(tar).unwrap();
    view.apply(&scanned.diff_id, &scanned.toc);
}

fn merge(tar: &[u8], root: &Path) -> Result<Extracted, ExtractError> {
    extract(tar, root, Form::Merge { skip: &|_| false }, Ownership::Exact)
}

fn overlay(tar: &[u8], root: &Path, below: &View) -> Result<Extracted, ExtractError> {
    extract(tar, root, Form::Overlay { below: Some(below), user_xattr: false }, Ownership::Exact)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any members in any order: the view is the tree that extraction makes, in both forms.
    #[test]
    fn views_and_extracted_trees_agree(layers in vec(vec(layer_change(), 0..8), 1..4)) {
        let scratch = tempfile::tempdir().unwrap();
        let (mut view, mut lower) = (View::new(), Vec::<PathBuf>::new());
        for (index, changes) in layers.iter().enumerate() {
            let tar = raw_tar(changes);
            let own = scratch.path().join(format!("layer{index}"));
            fs::create_dir(&own).unwrap();
            // Hard links to nothing and links in loops are errors on disk, and passed over in the view.
            let Ok(extracted) = overlay(&tar, &own, &view) else { continue };
            prop_assert_eq!(extracted.scanned, scan(&*tar).unwrap());
            apply(&mut view, &tar);
            lower.insert(0, own);
        }
        prop_assert_eq!(listing_under(&lower), listing_of(&view));
    }

    /// A layer that needs nothing of those underneath looks the same when it is extracted without them.
    #[test]
    fn layers_extracted_alone_agree(layers in vec(vec(any_change(), 0..8), 1..4)) {
        let scratch = tempfile::tempdir().unwrap();
        let (mut view, mut lower) = (View::new(), Vec::<PathBuf>::new());
        for (index, changes) in layers.iter().enumerate() {
            let tar = raw_tar(&with_ancestors(&view, changes.clone()));
            let own = scratch.path().join(format!("layer{index}"));
            fs::create_dir(&own).unwrap();
            let form = Form::Overlay { below: None, user_xattr: false };
            let extracted = extract(&*tar, &own, form, Ownership::Exact);
            let before = view.clone();
            apply(&mut view, &tar);
            match extracted {
                Ok(extracted) => {
                    settle_root(&own, view.get(b"").unwrap(), Ownership::Exact).unwrap();
                    prop_assert!(is_intact(&own, &extracted.scanned.toc, Ownership::Exact));
                }
                Err(_) => {
                    let again = scratch.path().join(format!("again{index}"));
                    fs::create_dir(&again).unwrap();
                    if overlay(&tar, &again, &before).is_err() {
                        return Ok(());
                    }
                    lower.insert(0, again);
                    continue;
                }
            }
            lower.insert(0, own);
        }
        prop_assert_eq!(listing_under(&lower), listing_of(&view));
    }

    #[test]
    fn views_and_merged_trees_agree(layers in vec(vec(layer_change(), 0..8), 1..4)) {
        let scratch = tempfile::tempdir().unwrap();
        let mut view = View::new();
        for changes in &layers {
            let tar = raw_tar(changes);
            let Ok(extracted) = merge(&tar, scratch.path()) else { return Ok(()) };
            prop_assert_eq!(extracted.scanned, scan(&*tar).unwrap());
            apply(&mut view, &tar);
        }
        prop_assert_eq!(listing_on(scratch.path()), listing_of(&view));
    }

    /// What the executor writes: the tables agree, and so do the views over table and changes.
    #[test]
    fn written_layers_read_back(base in vec(any_change(), 0..8), changes in vec(any_change(), 0..8)) {
        let mut view = View::new();
        apply_changes(&mut view, &base);
        let listed = with_ancestors(&view, changes);
        let (tar, encoded) = encoded(&listed, Compression::None);
        let scanned = scan(&*tar).unwrap();
        prop_assert_eq!(&scanned.toc, &encoded.toc);
        prop_assert_eq!(&scanned.diff_id, &encoded.diff_id);
        let mut by_changes = view.clone();
        apply_changes(&mut by_changes, &listed);
        view.apply(&encoded.diff_id, &encoded.toc);
        prop_assert_eq!(listing_of(&by_changes), listing_of(&view));
    }
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn metadata_is_restored() {
    let root = tempfile::tempdir().unwrap();
    let set = |mut change: Change, mode, uid, mtime| {
        (change.mode, change.uid, change.gid, change.mtime) = (mode, uid, uid + 1, mtime);
        change
    };
    let mut capable = set(file("d/ping", b"x"), 0o755, 0, 30);
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    capable.xattrs.insert("security.capability".to_owned(), capability.to_vec());
    let changes = [
        set(change("d", ChangeKind::Directory), 0o2555, 7, 10),
        capable,
        set(file("d/su", b""), 0o4755, 9, -5),
        set(change("l", ChangeKind::Symlink { target: b"d".to_vec() }), 0o777, 11, 20),
    ];
    let extracted = merge(&tar(&changes), root.path()).unwrap();
    assert_eq!(extracted.skipped, []);
    for (path, mode, uid, mtime) in [("d", 0o2555, 7, 10), ("d/su", 0o4755, 9, -5), ("l", 0o777, 11, 20)] {
        let path = root.path().join(path);
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!((mode_of(&path), metadata.uid(), metadata.gid(), metadata.mtime()), (mode, uid, uid + 1, mtime));
    }
    let mut value = [0; 32];
    let length = rustix::fs::lgetxattr(root.path().join("d/ping"), "security.capability", &mut value).unwrap();
    assert_eq!(value[..length], capability);
}

#[test]
fn implied_directories_look_as_underneath() {
    let root = tempfile::tempdir().unwrap();
    let mut below = View::new();
    let mut directory = change("usr/lib", ChangeKind::Directory);
    (directory.mode, directory.uid, directory.mtime) = (0o751, 4, 99);
    let link = change("lib", ChangeKind::Symlink { target: b"usr/lib".to_vec() });
    apply(&mut below, &tar(&[directory, link]));
    overlay(&tar(&[file("lib/x", b"")]), root.path(), &below).unwrap();
    let directory = root.path().join("usr/lib");
    let metadata = fs::metadata(&directory).unwrap();
    assert_eq!((mode_of(&directory), metadata.uid(), metadata.mtime()), (0o751, 4, 99));
    assert!(directory.join("x").exists() && !root.path().join("lib").exists());
}

#[test]
fn opaque_marks_follow_the_mount() {
    let root = tempfile::tempdir().unwrap();
    let mut below = View::new();
    apply(&mut below, &tar(&[file("d/x", b"")]));
    let form = Form::Overlay { below: Some(&below), user_xattr: true };
    extract(&*raw_tar(&[opaque("d")]), root.path(), form, Ownership::Exact).unwrap();
    let mut value = [0; 8];
    assert_eq!(rustix::fs::lgetxattr(root.path().join("d"), "user.overlay.opaque", &mut value), Ok(1));
}

#[test]
fn excluded_paths_stay_as_they_are() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    fs::create_dir_all(at("proc/1")).unwrap();
    fs::create_dir_all(at("var/run/own")).unwrap();
    fs::write(at("var/run/own/key"), "mine").unwrap();
    fs::write(at("var/log"), "old").unwrap();
    let changes = [
        change("l", ChangeKind::Symlink { target: b"/var/run".to_vec() }),
        file("l/own/key", b"theirs"),
        file("proc/1/x", b""),
        change("proc", ChangeKind::Whiteout),
        change("var", ChangeKind::Whiteout),
        file("var", b""),
        change("h", ChangeKind::Hardlink { target: b"l/own/key".to_vec() }),
    ];
    let skip = |path: &[u8]| path == b"proc" || path == b"var/run/own";
    let form = Form::Merge { skip: &skip };
    let extracted = extract(&*raw_tar(&changes), root.path(), form, Ownership::Exact).unwrap();
    let skipped: Vec<_> = extracted.skipped.iter().map(|skipped| String::from_utf8_lossy(&skipped.path)).collect();
    assert_eq!(skipped, ["var/run/own/key", "proc/1/x", "proc", "var", "h"]);
    assert_eq!(fs::read_to_string(at("var/run/own/key")).unwrap(), "mine");
    assert!(at("proc/1").is_dir() && !at("proc/1/x").exists() && !at("var/log").exists() && !at("h").exists());
}

#[test]
fn owners_out_of_range_need_best_effort() {
    let root = tempfile::tempdir().unwrap();
    let mut odd = file("f", b"");
    odd.uid = u64::from(u32::MAX);
    let bytes = tar(&[odd]);
    assert!(matches!(merge(&bytes, root.path()), Err(ExtractError::Write { .. })));
    let form = Form::Merge { skip: &|_| false };
    assert!(extract(&*bytes, root.path(), form, Ownership::BestEffort).is_ok());
}

#[test]
fn what_overlayfs_would_misread_is_left_out() {
    let root = tempfile::tempdir().unwrap();
    let device = change("zero", ChangeKind::CharDevice(Device { major: 0, minor: 0 }));
    let extracted = overlay(&tar(&[device]), root.path(), &View::new()).unwrap();
    assert_eq!(extracted.skipped, [Skipped { path: b"zero".to_vec(), reason: SkipReason::Device }]);
    assert!(!root.path().join("zero").exists());
}
