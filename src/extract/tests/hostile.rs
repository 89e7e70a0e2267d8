//! Layers that try to reach out of the root.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;

use super::disk::listing_on;
use super::*;
use crate::view::View;

/// A root to extract to, beside files that must not change.
struct Trap {
    scratch: tempfile::TempDir,
}

impl Trap {
    fn new() -> Self {
        let trap = Self { scratch: tempfile::tempdir().unwrap() };
        fs::create_dir(trap.root()).unwrap();
        fs::create_dir(trap.outside()).unwrap();
        fs::write(trap.outside().join("file"), "untouched").unwrap();
        trap
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.scratch.path().join("outside")
    }

    /// Extracts in both forms, and fails when anything outside has changed.
    fn spring(&self, tar: &[u8]) -> Vec<Result<Extracted, ExtractError>> {
        let before = listing_on(&self.outside());
        let below = View::new();
        let forms = [Form::Overlay { below: Some(&below), user_xattr: false }, Form::Merge { skip: &|_| false }];
        let results = forms.map(|form| extract(tar, &self.root(), form, Ownership::Exact));
        assert_eq!(listing_on(&self.outside()), before);
        let names: Vec<_> =
            fs::read_dir(self.scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        results.into()
    }
}

fn symlink(path: &str, target: impl AsRef<Path>) -> Change {
    change(path, ChangeKind::Symlink { target: target.as_ref().as_os_str().as_encoded_bytes().to_vec() })
}

fn hardlink(path: &str, target: &str) -> Change {
    change(path, ChangeKind::Hardlink { target: target.into() })
}

#[test]
fn parent_components_are_refused() {
    for name in ["../x", "a/../../x", "..", "/../x", "a/../..", "../outside/file"] {
        for change in [file(name, b"bad"), symlink(name, "t"), change(name, ChangeKind::Directory)] {
            for result in Trap::new().spring(&raw_tar(&[change])) {
                assert!(matches!(result, Err(ExtractError::Decode(DecodeError::Name { .. }))), "{name}: {result:?}");
            }
        }
    }
}

#[test]
fn absolute_names_are_relative_to_the_root() {
    let trap = Trap::new();
    let outside = trap.outside();
    let name = outside.join("file").to_str().unwrap().to_owned();
    for result in trap.spring(&raw_tar(&[file(&name, b"inside")])) {
        result.unwrap();
    }
    assert_eq!(fs::read(trap.root().join(&name[1..])).unwrap(), b"inside");
}

#[test]
fn planted_links_lead_nowhere_else() {
    let trap = Trap::new();
    let outside = trap.outside();
    let archives = [
        vec![symlink("l", &outside), file("l/file", b"bad"), file("l/new", b"bad")],
        vec![symlink("l", "../outside"), file("l/file", b"bad"), file("l/new/er", b"bad")],
        vec![symlink("l", "../outside"), change("l/file", ChangeKind::Whiteout), file("l/.wh..wh..opq", b"")],
        vec![symlink("l", "../outside/file"), file("l", b"bad")],
        vec![symlink("l", outside.join("file")), change("l", ChangeKind::Fifo)],
        vec![symlink("l", "../outside/file"), hardlink("h", "l"), file("h", b"bad")],
        vec![symlink("a", ".."), symlink("b", "a/.."), symlink("c", "b/../outside"), file("c/file", b"bad")],
        vec![change("d", ChangeKind::Directory), symlink("d", &outside), file("d/file", b"bad")],
        vec![symlink("d", &outside), change("d", ChangeKind::Directory), file("d/file", b"fine")],
        vec![symlink("l", &outside), change("l", ChangeKind::Whiteout)],
    ];
    for archive in archives {
        for result in trap.spring(&raw_tar(&archive)) {
            result.unwrap();
        }
        fs::remove_dir_all(trap.root()).unwrap();
        fs::create_dir(trap.root()).unwrap();
    }
}

#[test]
fn hard_links_do_not_reach_out() {
    let trap = Trap::new();
    let outside = trap.outside().join("file");
    for target in ["../outside/file", outside.to_str().unwrap(), "l/file", "."] {
        let archive = [symlink("l", "../outside"), hardlink("h", target), file("h", b"bad")];
        for result in trap.spring(&raw_tar(&archive)) {
            assert!(result.is_err(), "{target}: {result:?}");
        }
    }
}

#[test]
fn links_in_a_loop_are_an_error() {
    let archive = [symlink("a", "b"), symlink("b", "a"), file("a/x", b"")];
    for result in Trap::new().spring(&raw_tar(&archive)) {
        assert!(matches!(result, Err(ExtractError::Resolve(_))), "{result:?}");
    }
}

#[test]
fn deep_trees_are_an_error_or_made() {
    let deep = ["d"; 1500].join("/");
    let archive = raw_tar(&[file(&deep, b""), change("d", ChangeKind::Whiteout)]);
    Trap::new().spring(&archive);
}

fn name() -> impl Strategy<Value = String> {
    vec(prop_oneof!["[ab]", Just("..".to_owned()), Just(".".to_owned()), Just(String::new())], 1..5)
        .prop_map(|names| names.join("/"))
}

proptest! {
    #[test]
    fn no_archive_writes_outside(
        members in vec((name(), prop_oneof![name(), Just("../outside".to_owned())], 0..6u8), 0..10),
    ) {
        let members = members.iter().map(|(name, target, kind)| match kind {
            0 => file(name, b"bad"),
            1 => change(name, ChangeKind::Directory),
            2 | 3 => symlink(name, target),
            4 => hardlink(name, target),
            _ => file(format!("{name}/.wh.file"), b""),
        });
        Trap::new().spring(&raw_tar(&members.collect::<Vec<_>>()));
    }

    #[test]
    fn damaged_archives_write_nothing_outside(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut archive = raw_tar(&[symlink("l", "../outside"), file("l/x", b"1"), hardlink("h", "l/x")]);
        let at = at.index(archive.len());
        archive[at] = byte;
        Trap::new().spring(&archive);
    }
}
