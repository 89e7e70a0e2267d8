//! Trees by hand, and a line of text for each change.

mod adding;
mod metadata;
mod paths;
mod properties;
mod selection;

use std::collections::BTreeMap;

use super::*;
use crate::layer::{Change, ChangeKind, Content, Device};
use crate::plan::{AddOptions, Chmod, CopyOp, CopySource, Source, WorkdirOp};
use crate::view::{FileNode, apply_changes, with_ancestors};

const NOW: i64 = 5_000;

fn node(kind: NodeKind, mode: u32) -> Node {
    Node { kind, mode, uid: 0, gid: 0, mtime: 1_000, xattrs: BTreeMap::new() }
}

fn dir(mode: u32) -> Node {
    node(NodeKind::Directory, mode)
}

fn file(text: &str) -> Node {
    let content = Content::Bytes(text.as_bytes().into());
    let hash = Some(ContentHash::of(text.as_bytes()));
    node(NodeKind::File(FileNode { size: text.len() as u64, hash, content, inode: None }), 0o644)
}

fn hard(text: &str, number: u64) -> Node {
    let mut node = file(text);
    let NodeKind::File(file) = &mut node.kind else { unreachable!() };
    file.inode = Some(number);
    node
}

fn link(target: &str) -> Node {
    node(NodeKind::Symlink(target.into()), 0o777)
}

trait With: Sized {
    fn mode(self, mode: u32) -> Self;
    fn owner(self, uid: u64, gid: u64) -> Self;
    fn time(self, mtime: i64) -> Self;
}

impl With for Node {
    fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }
    fn owner(self, uid: u64, gid: u64) -> Self {
        Self { uid, gid, ..self }
    }
    fn time(self, mtime: i64) -> Self {
        Self { mtime, ..self }
    }
}

fn tree(entries: &[(&str, Node)]) -> View {
    let mut view = View::new();
    for (path, node) in entries {
        view.insert(path.as_bytes(), node.clone());
    }
    view
}

const PASSWD: &str = "root:x:0:0::/:\ndaemon:x:1:2::/:\napp:x:1000:1001::/home/app:/bin/sh\nbroken:x:\n";
const GROUP: &str = "root:x:0:\nstaff:x:50:app\napp:x:1001:\n";

/// Like a small base image.
fn base() -> View {
    let mut view = View::new();
    let changes = [
        change("etc", ChangeKind::Directory, 0o755),
        change("etc/passwd", text(PASSWD), 0o644),
        change("etc/group", text(GROUP), 0o644),
        change("opt", ChangeKind::Directory, 0o700),
        change("opt/dir", ChangeKind::Directory, 0o711),
        change("opt/dir/one", text("one"), 0o600),
        change("usr/lib/x", text("x"), 0o644),
        change("lib", ChangeKind::Symlink { target: b"usr/lib".to_vec() }, 0o777),
        change("abs", ChangeKind::Symlink { target: b"/usr/lib".to_vec() }, 0o777),
        change("dangling", ChangeKind::Symlink { target: b"new/place".to_vec() }, 0o777),
        change("loop", ChangeKind::Symlink { target: b"loop".to_vec() }, 0o777),
        change("motd", text("hello"), 0o644),
        change("tomotd", ChangeKind::Symlink { target: b"/motd".to_vec() }, 0o777),
    ];
    apply_changes(&mut view, &changes);
    view
}

fn text(text: &str) -> ChangeKind {
    ChangeKind::File { size: text.len() as u64, content: Content::Bytes(text.as_bytes().into()) }
}

fn change(path: &str, kind: ChangeKind, mode: u32) -> Change {
    Change { path: path.into(), kind, mode, uid: 0, gid: 0, mtime: 500, xattrs: BTreeMap::new() }
}

/// The build context of most tests.
fn context() -> View {
    tree(&[
        ("", dir(0o755).time(900)),
        ("d", dir(0o770).time(800)),
        ("d/1.txt", file("1")),
        ("d/2.md", file("2").mode(0o4755)),
        ("d/s", dir(0o1777).time(700)),
        ("d/s/3.txt", file("3")),
        ("d/s/t/4.txt", file("4")),
        ("f", file("f")),
        ("g", file("gg")),
        (".hidden", file("h")),
        ("lf", link("d/1.txt")),
        ("ld", link("/d/s")),
        ("gone", link("missing")),
    ])
}

fn copy(sources: &[&str], destination: &str) -> CopyOp {
    CopyOp {
        add: None,
        from: Source::Context,
        sources: sources.iter().map(|path| CopySource::Path((*path).into())).collect(),
        destination: destination.into(),
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        excludes: Vec::new(),
    }
}

fn plan(op: &CopyOp, destination: &View, tree: &View) -> Result<Vec<Change>, CopyError> {
    let sources =
        SourceTrees { tree, hashes: &BTreeMap::new(), archives: &BTreeMap::new(), prepared: &BTreeMap::new() };
    plan_copy(op, destination, &sources, NOW)
}

/// `path mode uid:gid mtime what`, one string each.
fn lines(changes: &[Change]) -> Vec<String> {
    changes.iter().map(line).collect()
}

fn line(change: &Change) -> String {
    let bytes = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let what = match &change.kind {
        ChangeKind::Directory => "dir".to_owned(),
        ChangeKind::File { content: Content::Bytes(content), .. } => format!("={}", bytes(content)),
        ChangeKind::File { size, .. } => format!("file of {size}"),
        ChangeKind::Symlink { target } => format!("-> {}", bytes(target)),
        ChangeKind::Hardlink { target } => format!("== {}", bytes(target)),
        ChangeKind::CharDevice(device) => format!("char {}:{}", device.major, device.minor),
        ChangeKind::BlockDevice(device) => format!("block {}:{}", device.major, device.minor),
        ChangeKind::Fifo => "fifo".to_owned(),
        ChangeKind::Whiteout => "gone".to_owned(),
    };
    let Change { path, mode, uid, gid, mtime, .. } = change;
    format!("{} {mode:o} {uid}:{gid} {mtime} {what}", bytes(path))
}

#[track_caller]
fn check(op: &CopyOp, expected: &[&str]) {
    assert_eq!(lines(&plan(op, &base(), &context()).unwrap()), expected, "{op:?}");
}

#[track_caller]
fn fails(op: &CopyOp, message: &str) {
    let error = plan(op, &base(), &context()).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

fn add(sources: &[&str], destination: &str) -> CopyOp {
    CopyOp { add: Some(AddOptions::default()), ..copy(sources, destination) }
}

fn archive(members: &[(&str, MemberKindOf)]) -> Archive {
    let members = members.iter().map(|(path, kind)| crate::context::ArchiveMember {
        path: path.as_bytes().to_vec(),
        kind: match kind {
            MemberKindOf::Is(node) => crate::context::MemberKind::Node(node.clone()),
            MemberKindOf::Same(target, mode) => hard_link(target, *mode),
        },
    });
    archive_of(members.collect())
}

fn archive_of(members: Vec<crate::context::ArchiveMember>) -> Archive {
    let diff_id = crate::digest::DiffId(crate::digest::Digest::sha256(b""));
    Archive { members, diff_id, tar: "/dev/null".into(), hash: ContentHash::of(b"") }
}

enum MemberKindOf {
    Is(Node),
    /// Another name, with what the file's mode is to be.
    Same(&'static str, u32),
}

/// Its other metadata are those that the tests give everything.
fn hard_link(target: &str, mode: u32) -> crate::context::MemberKind {
    let metadata = crate::context::Metadata { mode, mtime: 1000, ..Default::default() };
    crate::context::MemberKind::Hardlink { target: target.as_bytes().to_vec(), metadata }
}

use MemberKindOf::{Is, Same};
