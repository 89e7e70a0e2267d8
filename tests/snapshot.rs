//! The two ways of taking a snapshot, on real steps: they agree with each other and with the
//! disk. Needs root, and busybox at /bin/busybox.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};
use tempfile::TempDir;
use yadokari::digest::ContentHash;
use yadokari::layer::{Change, ChangeKind, Content, Device};
use yadokari::plan::Network;
use yadokari::sandbox::{Exit, IgnoreList, OverlaySandbox, Process, Root, Sandbox};
use yadokari::snapshot::{changed, index, overlay};
use yadokari::view::{FileNode, Node, NodeKind, View, apply_changes};

/// Long ago: nothing that a step does has this time.
const OLD: i64 = 1_000_000_000;

/// The same tree twice: as the lower layer of an overlay, and as a directory of its own.
struct Twins {
    directory: TempDir,
    below: View,
}

impl Twins {
    fn new(build: impl Fn(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["lower", "plain"] {
            let root = directory.path().join(name);
            fs::create_dir_all(root.join("bin")).unwrap();
            fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
            // A bare root would get these from its first step.
            ["dev", "proc", "sys", "w"].iter().for_each(|name| fs::create_dir(root.join(name)).unwrap());
            build(&root.join("w"));
            age(&root);
        }
        for name in ["upper", "work"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let below = view_of(&directory.path().join("lower"));
        Self { directory, below }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the script on both; returns what each way says that it changed.
    fn run(&self, script: &str) -> (Vec<Change>, Vec<Change>) {
        let lowers = [self.path("lower")];
        let (upper, work, plain) = (self.path("upper"), self.path("work"), self.path("plain"));
        run(script, &Root::Overlay { lowers: &lowers, upper: &upper, work: &work, user_xattr: false });
        let before = index(&plain, &IgnoreList::default()).unwrap();
        run(script, &Root::Directory { path: &plain });
        let from_upper = overlay(&upper, &self.below, false).unwrap();
        let (from_index, _) = changed(&plain, &before, &self.below, &IgnoreList::default()).unwrap();
        (from_upper, from_index)
    }

    /// As [`Self::run`] with both checked against each other and against the disk; returns them in words.
    fn agreed(&self, script: &str) -> Vec<String> {
        let (from_upper, from_index) = self.run(script);
        let words: Vec<_> = from_upper.iter().map(word).collect();
        assert_eq!(words, from_index.iter().map(word).collect::<Vec<_>>(), "{script}");
        for changes in [from_upper, from_index] {
            let mut view = self.below.clone();
            apply_changes(&mut view, &changes);
            assert_eq!(words_of_view(&view), words_of_view(&view_of(&self.path("plain"))), "{script}");
        }
        words
    }
}

fn run(script: &str, root: &Root<'_>) {
    let process = Process {
        argv: ["/bin/sh", "-c", script].map(Into::into).into(),
        env: Vec::new(),
        user: String::new(),
        workdir: "/w".into(),
        hostname: "x".into(),
        network: Network::Default,
        mounts: Vec::new(),
        terminal: false,
    };
    let sandbox = OverlaySandbox::new(env!("CARGO_BIN_EXE_executor").into());
    let mut said = Vec::new();
    let exit = sandbox.run(&process, root, &mut |_, bytes| said.extend_from_slice(bytes)).unwrap();
    assert_eq!(exit, Exit::Code(0), "{script}: {}", String::from_utf8_lossy(&said));
}

/// Gives everything below `root` the old time.
fn age(root: &Path) {
    for path in walk(root).into_iter().map(|path| root.join(path)) {
        set_time(&path);
    }
    set_time(root);
}

fn set_time(path: &Path) {
    let time = Timespec { tv_sec: OLD, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Every path below `root`, parents first.
fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(root).unwrap().to_owned());
            if path.symlink_metadata().unwrap().is_dir() {
                waiting.push(path);
            }
        }
    }
    found
}

/// The tree as the layers below would show it.
fn view_of(root: &Path) -> View {
    let mut view = View::new();
    for path in walk(root) {
        let host = root.join(&path);
        let metadata = host.symlink_metadata().unwrap();
        let Some(kind) = node_kind(&host, &metadata) else { continue };
        let node = Node {
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid().into(),
            gid: metadata.gid().into(),
            mtime: metadata.mtime(),
            xattrs: BTreeMap::new(),
        };
        view.insert(&path.into_os_string().into_vec(), node);
    }
    view
}

fn node_kind(host: &Path, metadata: &fs::Metadata) -> Option<NodeKind> {
    let kind = metadata.file_type();
    let device = Device { major: rustix::fs::major(metadata.rdev()), minor: rustix::fs::minor(metadata.rdev()) };
    if kind.is_dir() {
        Some(NodeKind::Directory)
    } else if kind.is_symlink() {
        Some(NodeKind::Symlink(fs::read_link(host).unwrap().into_os_string().into_vec()))
    } else if kind.is_fifo() {
        Some(NodeKind::Fifo)
    } else if kind.is_char_device() {
        Some(NodeKind::CharDevice(device))
    } else if kind.is_file() {
        let bytes = fs::read(host).unwrap();
        let hash = Some(ContentHash::of(&bytes));
        let content = Content::Host(host.to_owned());
        Some(NodeKind::File(FileNode { size: bytes.len() as u64, hash, content, inode: None }))
    } else {
        None
    }
}

/// A change without its times.
fn word(change: &Change) -> String {
    let kind = match &change.kind {
        ChangeKind::Directory => "directory".to_owned(),
        ChangeKind::File { size, content: Content::Host(path) } => {
            let text = fs::read(path).unwrap();
            assert_eq!(text.len() as u64, *size);
            format!("file {:?}", String::from_utf8_lossy(&text))
        }
        ChangeKind::Whiteout => return format!("{} gone", change.path.escape_ascii()),
        ChangeKind::Hardlink { target } => format!("link to {}", target.escape_ascii()),
        ChangeKind::Symlink { target } => format!("symlink {}", target.escape_ascii()),
        other => format!("{other:?}"),
    };
    let mode = if matches!(change.kind, ChangeKind::Symlink { .. }) { 0o777 } else { change.mode };
    let xattrs = if change.xattrs.is_empty() { String::new() } else { format!(" {:?}", change.xattrs) };
    format!("{} {kind} {mode:o} {}:{}{xattrs}", change.path.escape_ascii(), change.uid, change.gid)
}

fn words_of_view(view: &View) -> Vec<String> {
    let bytes = |content: &Content| match content {
        Content::Host(path) => fs::read(path).unwrap(),
        other => panic!("{other:?}"),
    };
    let word = |(path, node): (Vec<u8>, &Node)| {
        let kind = match &node.kind {
            NodeKind::File(file) => format!("file {:?}", bytes(&file.content)),
            other => format!("{other:?}"),
        };
        let mode = if matches!(node.kind, NodeKind::Symlink(_)) { 0 } else { node.mode };
        format!("{} {kind} {mode:o} {}:{}", path.escape_ascii(), node.uid, node.gid)
    };
    // The shell itself is big and never changes.
    view.walk(b"").filter(|(path, _)| path != b"bin/sh").map(word).collect()
}

fn empty(_: &Path) {}

fn some_files(w: &Path) {
    fs::create_dir_all(w.join("d/e")).unwrap();
    for (path, text) in [("f", "f"), ("d/a", "a"), ("d/b", "b"), ("d/e/x", "x"), ("d.z", "z")] {
        fs::write(w.join(path), text).unwrap();
    }
    symlink("f", w.join("l")).unwrap();
}

#[test]
fn nothing_changed() {
    let untouched = [
        "true",
        "cat f d/a",
        "touch x; rm x",
        "mkdir y; rmdir y",
        "chmod 755 d; chown 0:0 f d/a l",
        ": >> f; touch -d @1000000000 f",
    ];
    for script in untouched {
        assert_eq!(Twins::new(some_files).agreed(script), [""; 0], "{script}");
    }
}

#[test]
fn order_ancestors_and_whiteouts() {
    let words = Twins::new(some_files).agreed("echo new > d/e/y; rm d/b f; echo 1 > d.a; rm -rf d/e/x");
    assert_eq!(
        words,
        [
            "w directory 755 0:0",
            "w/d directory 755 0:0",
            "w/d/b gone",
            "w/d/e directory 755 0:0",
            "w/d/e/x gone",
            "w/d/e/y file \"new\\n\" 644 0:0",
            "w/d.a file \"1\\n\" 644 0:0",
            "w/f gone",
        ]
    );
}

#[test]
fn a_removed_directory_is_one_whiteout() {
    assert_eq!(Twins::new(some_files).agreed("rm -rf d"), ["w directory 755 0:0", "w/d gone"]);
}

#[test]
fn a_replaced_directory_has_single_whiteouts() {
    let words = Twins::new(some_files).agreed("rm -rf d; mkdir -p d/e; echo 2 > d/b; echo n > d/e/n");
    assert_eq!(
        words,
        [
            "w directory 755 0:0",
            "w/d directory 755 0:0",
            "w/d/a gone",
            "w/d/b file \"2\\n\" 644 0:0",
            "w/d/e directory 755 0:0",
            "w/d/e/n file \"n\\n\" 644 0:0",
            "w/d/e/x gone",
        ]
    );
}

#[test]
fn kinds_that_replace_each_other() {
    let words = Twins::new(some_files).agreed("rm -rf d; echo f > d; rm f l; mkdir f; mkfifo l");
    assert_eq!(
        words,
        ["w directory 755 0:0", "w/d file \"f\\n\" 644 0:0", "w/f directory 755 0:0", "w/l Fifo 644 0:0"]
    );
}

#[test]
fn links_and_owners() {
    let words = Twins::new(some_files)
        .agreed("echo n > n; ln n d/m; ln n o; chmod 4755 f; chown 7:8 d; ln -sf /new l; ln d.z z");
    assert_eq!(
        words,
        [
            "w directory 755 0:0",
            "w/d directory 755 7:8",
            "w/d/m file \"n\\n\" 644 0:0",
            "w/f file \"f\" 4755 0:0",
            "w/l symlink /new 777 0:0",
            "w/n link to w/d/m 644 0:0",
            "w/o link to w/d/m 644 0:0",
            "w/z file \"z\" 644 0:0",
        ]
    );
}

#[test]
fn the_same_size_and_time_do_not_hide_a_change() {
    let words = Twins::new(some_files).agreed("echo -n g > f; touch -d @1000000000 f");
    assert_eq!(words, ["w directory 755 0:0", "w/f file \"g\" 644 0:0"]);
}

#[test]
fn names_that_are_no_text() {
    let twins = Twins::new(empty);
    let words = twins.agreed("echo x > \"$(printf 'a\\377b')\"; mkdir \"$(printf '\\303')\"");
    assert_eq!(words, ["w directory 755 0:0", "w/a\\xffb file \"x\\n\" 644 0:0", "w/\\xc3 directory 755 0:0"]);
}

#[test]
fn capabilities_are_kept_and_sockets_skipped() {
    let upper = tempfile::tempdir().unwrap();
    let file = upper.path().join("ping");
    fs::write(&file, "x").unwrap();
    lchown(&file, Some(5), Some(6)).unwrap();
    let value = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::setxattr(&file, "security.capability", &value, XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(&file, "user.other", b"x", XattrFlags::empty()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(upper.path().join("socket")).unwrap();

    let changes = overlay(upper.path(), &View::new(), false).unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!((changes[0].uid, changes[0].gid), (5, 6));
    assert_eq!(changes[0].xattrs.iter().collect::<Vec<_>>(), [(&"security.capability".to_owned(), &value.to_vec())]);

    let mut same = View::new();
    apply_changes(&mut same, &changes);
    rustix::fs::removexattr(&file, "security.capability").unwrap();
    assert_eq!(overlay(upper.path(), &same, false).unwrap().len(), 1, "losing a capability is a change");
}

#[test]
fn a_change_within_one_tick_of_the_clock_is_seen() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f");
        fs::write(&file, "1").unwrap();
        let (below, before) = (view_of(directory.path()), index(directory.path(), &IgnoreList::default()).unwrap());
        let modified = file.metadata().unwrap().modified().unwrap();
        fs::write(&file, "2").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        let (changes, _) = changed(directory.path(), &before, &below, &IgnoreList::default()).unwrap();
        assert_eq!(changes.iter().map(word).collect::<Vec<_>>(), ["f file \"2\" 644 0:0"]);
    }
}

#[test]
fn what_is_ignored_is_neither_new_nor_gone() {
    let directory = tempfile::tempdir().unwrap();
    some_files(directory.path());
    let ignore = IgnoreList::new(["/d/e", "/f", "/new"].map(PathBuf::from));
    let below = view_of(directory.path());
    let before = index(directory.path(), &ignore).unwrap();
    fs::remove_dir_all(directory.path().join("d/e")).unwrap();
    fs::write(directory.path().join("f"), "changed").unwrap();
    fs::write(directory.path().join("new"), "").unwrap();
    fs::write(directory.path().join("d/n"), "n").unwrap();
    let (changes, _) = changed(directory.path(), &before, &below, &ignore).unwrap();
    assert_eq!(changes.iter().map(word).collect::<Vec<_>>(), ["d directory 755 0:0", "d/n file \"n\" 644 0:0"]);
}

/// One thing that a step does, in shell.
fn operation() -> impl Strategy<Value = String> {
    let path = || "[abc](/[abc](/[ab])?)?";
    prop_oneof![
        3 => (path(), 0..4u8).prop_map(|(p, n)| format!("[ -d {p} ] || [ -p {p} ] || echo {n} > {p}")),
        2 => path().prop_map(|p| format!("[ -d {p} ] || [ -p {p} ] || echo more >> {p}")),
        3 => path().prop_map(|p| format!("mkdir {p}")),
        1 => path().prop_map(|p| format!("mkdir -p {p}/b")),
        2 => path().prop_map(|p| format!("rm -f {p}")),
        2 => path().prop_map(|p| format!("rm -rf {p}")),
        1 => path().prop_map(|p| format!("rmdir {p}")),
        // An overlay cannot rename a directory of a lower layer: mv copies it. That gives the
        // same tree as long as nothing is in the way.
        3 => (path(), path()).prop_map(|(p, q)| format!("[ -e {q} ] || [ -L {q} ] || mv {p} {q}")),
        1 => (path(), path()).prop_map(|(p, q)| format!("[ -d {p} ] || [ -d {q} ] || mv -f {p} {q}")),
        1 => (path(), path()).prop_map(|(p, q)| format!("[ -d {q} ] || ln -sf ../{p} {q}")),
        2 => (path(), path()).prop_map(|(p, q)| format!("[ -d {q} ] || ln {p} {q}")),
        2 => (path(), prop_oneof![Just("600"), Just("644"), Just("755"), Just("4711")])
            .prop_map(|(p, m)| format!("[ -L {p} ] || chmod {m} {p}")),
        1 => (path(), 0..3u8).prop_map(|(p, n)| format!("chown -h {n}:{n} {p}")),
        1 => path().prop_map(|p| format!("touch -c -h {p}")),
        1 => path().prop_map(|p| format!("mkfifo {p}")),
        1 => path().prop_map(|p| format!("mknod {p} c 1 3")),
    ]
}

fn script(count: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let quiet = |operations: Vec<String>| {
        operations.iter().map(|one| format!("{{ {one}; }} 2>/dev/null\n")).collect::<String>()
    };
    proptest::collection::vec(operation(), count).prop_map(quiet)
}

/// Names of one file that go different ways on the two: an overlay separates the names of a lower
/// file when one of them is changed, and mv of a directory copies there. So the first tree has none.
fn without_links(script: &str) -> String {
    script
        .lines()
        .filter(|line| !line.contains("|| ln ") || line.contains("-sf"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// A hard link in words as the file that it is.
fn spread(changes: &[Change]) -> Vec<String> {
    let file = |path: &[u8]| changes.iter().find(|change| change.path == path).unwrap();
    let spread = |change: &Change| match &change.kind {
        ChangeKind::Hardlink { target } => Change { kind: file(target).kind.clone(), ..change.clone() },
        _ => change.clone(),
    };
    changes.iter().map(|change| word(&spread(change))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_agree(first in script(0..25), second in script(1..25)) {
        let build = |w: &Path| {
            let shell = std::process::Command::new("/bin/busybox").args(["sh", "-c", &without_links(&first)]).current_dir(w).status();
            shell.unwrap();
        };
        let twins = Twins::new(build);
        let (from_upper, from_index) = twins.run(&format!("{second}true"));
        prop_assert_eq!(spread(&from_upper), spread(&from_index));
        let plain = words_of_view(&view_of(&twins.path("plain")));
        for changes in [from_upper, from_index] {
            let mut view = twins.below.clone();
            apply_changes(&mut view, &changes);
            prop_assert_eq!(&words_of_view(&view), &plain);
        }
    }
}
