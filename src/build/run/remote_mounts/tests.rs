#![allow(clippy::expect_used, reason = "a failed step of a test ends it")]

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::layer::Toc;

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("d")).expect("directory");
    fs::write(at("d/file"), "contents").expect("file");
    fs::hard_link(at("d/file"), at("other-name")).expect("link");
    symlink("/etc/passwd", at("link")).expect("link");
    directory
}

#[test]
fn members_stand_below_one_directory() {
    let directory = directory();
    let members = members(directory.path()).expect("members");
    let paths: Vec<_> = members.iter().map(|member| String::from_utf8_lossy(&member.path)).collect();
    assert_eq!(paths, ["root", "root/d", "root/d/file", "root/link", "root/other-name"]);
    assert_eq!(members[4].kind, ChangeKind::Hardlink { target: b"root/d/file".to_vec() });
    let mut tar = Vec::new();
    let open = |content: &Content| open_inside(directory.path(), content);
    let encoded = encode_files(&members, &open, Compression::Zstd, &mut tar).expect("archive");
    check_members(&encoded.toc).expect("its own members");
}

#[test]
fn a_listing_tells_what_a_look_tells() {
    let directory = directory();
    let look = || listing(&members(directory.path()).expect("members"));
    let first = look();
    assert_eq!(look(), first);
    fs::write(directory.path().join("d/file"), "longer contents").expect("file");
    let second = look();
    assert_ne!(second, first);
    fs::rename(directory.path().join("link"), directory.path().join("link2")).expect("rename");
    assert_ne!(look(), second);
}

#[test]
fn a_file_that_became_a_link_is_not_followed() {
    let directory = directory();
    let content = |name: &str| Content::Host(directory.path().join(name));
    assert!(open_inside(directory.path(), &content("d/file")).is_ok());
    assert!(open_inside(directory.path(), &content("link")).is_err());
    fs::rename(directory.path().join("d"), directory.path().join("moved")).expect("rename");
    symlink("moved", directory.path().join("d")).expect("link");
    assert!(open_inside(directory.path(), &content("d/file")).is_err(), "a directory that became a link");
    assert!(open_inside(directory.path(), &Content::Host("/etc/passwd".into())).is_err());
}

#[test]
fn foreign_members_are_refused() {
    let kinds = [
        ("rootless", ChangeKind::Directory),
        ("root/device", ChangeKind::CharDevice(crate::layer::Device { major: 1, minor: 3 })),
        ("root/link", ChangeKind::Hardlink { target: b"etc/passwd".to_vec() }),
    ];
    for (path, kind) in kinds {
        let change = Change { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() };
        let open = |_: &Content| -> io::Result<Box<dyn Read>> { Err(io::ErrorKind::NotFound.into()) };
        let toc: Toc = encode_files(&[change], &open, Compression::None, &mut Vec::new()).expect("archive").toc;
        let error = check_members(&toc).expect_err(path).to_string();
        assert!(error.contains(path), "{error}");
    }
}

#[test]
fn what_is_longer_than_allowed_ends_in_an_error() {
    let read = |left: u64| {
        let mut bounded = Bounded { inner: io::repeat(0).take(1000), left };
        io::copy(&mut bounded, &mut io::sink())
    };
    assert_eq!(read(1000).expect("within"), 1000);
    assert!(read(999).is_err());
}
