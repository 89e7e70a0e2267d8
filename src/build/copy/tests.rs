use std::collections::BTreeMap;

use proptest::prelude::*;

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

#[test]
fn a_file_goes_to_a_name_or_into_a_directory() {
    check(&copy(&["f"], "/new"), &["new 644 0:0 1000 =f"]);
    check(&copy(&["f"], "/opt"), &["opt/f 644 0:0 1000 =f"]);
    check(&copy(&["f"], "/n/"), &["n 755 0:0 5000 dir", "n/f 644 0:0 1000 =f"]);
    check(&copy(&["f"], "/n/."), &["n 755 0:0 5000 dir", "n/f 644 0:0 1000 =f"]);
    check(&copy(&["f"], "/"), &["f 644 0:0 1000 =f"]);
    check(&copy(&["f"], "/a/b"), &["a 755 0:0 5000 dir", "a/b 644 0:0 1000 =f"]);
    check(&copy(&["f"], "/a/../b"), &["b 644 0:0 1000 =f"]);
    check(&copy(&["f"], "/a/b/"), &["a 755 0:0 5000 dir", "a/b 755 0:0 5000 dir", "a/b/f 644 0:0 1000 =f"]);
}

#[test]
fn sources_are_cleaned_and_never_leave_the_root() {
    for path in ["f", "/f", "./f", "../f", "../../f", "f/", "f/.", "d/../f", "//f"] {
        check(&copy(&[path], "/new"), &["new 644 0:0 1000 =f"]);
    }
}

#[test]
fn a_directory_gives_its_contents() {
    let expected = [
        "x 755 0:0 800 dir",
        "x/1.txt 644 0:0 1000 =1",
        "x/2.md 4755 0:0 1000 =2",
        "x/s 1777 0:0 700 dir",
        "x/s/3.txt 644 0:0 1000 =3",
        "x/s/t 755 0:0 0 dir",
        "x/s/t/4.txt 644 0:0 1000 =4",
    ];
    for path in ["d", "d/", "d/.", "/d"] {
        check(&copy(&[path], "/x"), &expected);
        check(&copy(&[path], "/x/"), &expected);
    }
    let root: Vec<String> = lines(&plan(&copy(&["."], "/x"), &base(), &context()).unwrap());
    assert_eq!(root[0], "x 755 0:0 900 dir");
    assert_eq!(root[1], "x/.hidden 644 0:0 1000 =h");
    assert!(root.contains(&"x/gone 777 0:0 1000 -> missing".to_owned()));
}

#[test]
fn an_existing_directory_keeps_mode_and_owner_but_not_its_time() {
    let source =
        tree(&[("d", dir(0o750).time(800)), ("d/dir", dir(0o1777).owner(7, 8).time(77)), ("d/new", file("n"))]);
    let changes = plan(&copy(&["d"], "/opt"), &base(), &source).unwrap();
    let expected = ["opt 700 0:0 800 dir", "opt/dir 1777 7:8 77 dir", "opt/new 644 0:0 1000 =n"];
    assert_eq!(lines(&changes), expected);
}

#[test]
fn several_sources() {
    check(&copy(&["f", "g"], "/nodir"), &["nodir 644 0:0 1000 =gg"]);
    check(&copy(&["g", "f"], "/nodir"), &["nodir 644 0:0 1000 =f"]);
    check(
        &copy(&["f", "d/s"], "/b/"),
        &[
            "b 755 0:0 700 dir",
            "b/3.txt 644 0:0 1000 =3",
            "b/f 644 0:0 1000 =f",
            "b/t 755 0:0 0 dir",
            "b/t/4.txt 644 0:0 1000 =4",
        ],
    );
}

#[test]
fn links_named_as_source_are_followed_and_keep_their_name() {
    check(&copy(&["lf"], "/x/"), &["x 755 0:0 5000 dir", "x/lf 644 0:0 1000 =1"]);
    check(&copy(&["ld/3.txt"], "/x"), &["x 644 0:0 1000 =3"]);
    check(
        &copy(&["l*"], "/x/"),
        &[
            "x 755 0:0 700 dir",
            "x/3.txt 644 0:0 1000 =3",
            "x/lf 644 0:0 1000 =1",
            "x/t 755 0:0 0 dir",
            "x/t/4.txt 644 0:0 1000 =4",
        ],
    );
    fails(&copy(&["gone"], "/x"), "\"/gone\": not found");
    fails(&copy(&["g*"], "/x/"), "\"/gone\": not found");
}

#[test]
fn missing_sources() {
    fails(&copy(&["nope"], "/x"), "\"/nope\": not found");
    fails(&copy(&["f", "d/nope"], "/x/"), "\"/d/nope\": not found");
    fails(&copy(&["nope/*"], "/x"), "\"/nope\": not found");
    fails(&copy(&["f/x"], "/x"), "\"/f/x\": not found");
    check(&copy(&["nope*"], "/x/"), &[]);
    check(&copy(&["f/*"], "/x/"), &[]);
}

#[test]
fn wildcards() {
    check(&copy(&["d/*.txt"], "/x/"), &["x 755 0:0 5000 dir", "x/1.txt 644 0:0 1000 =1"]);
    check(
        &copy(&["?"], "/x/"),
        &[
            "x 755 0:0 800 dir",
            "x/1.txt 644 0:0 1000 =1",
            "x/2.md 4755 0:0 1000 =2",
            "x/f 644 0:0 1000 =f",
            "x/g 644 0:0 1000 =gg",
            "x/s 1777 0:0 700 dir",
            "x/s/3.txt 644 0:0 1000 =3",
            "x/s/t 755 0:0 0 dir",
            "x/s/t/4.txt 644 0:0 1000 =4",
        ],
    );
    check(&copy(&["*/s/*.txt"], "/x/"), &["x 755 0:0 5000 dir", "x/3.txt 644 0:0 1000 =3"]);
    check(&copy(&["ld/*.txt"], "/x/"), &["x 755 0:0 5000 dir", "x/3.txt 644 0:0 1000 =3"]);
    check(&copy(&["*d/*.txt"], "/x/"), &["x 755 0:0 5000 dir", "x/1.txt 644 0:0 1000 =1"]);
    check(&copy(&["*hidden"], "/x"), &["x 644 0:0 1000 =h"]);
    // Several matches without a slash: each overwrites the one before.
    check(&copy(&["[fg]"], "/x"), &["x 644 0:0 1000 =gg"]);
    fails(&copy(&["[f"], "/x"), "invalid pattern \"[f\"");
}

#[test]
fn links_of_the_destination() {
    check(&copy(&["f"], "/lib/new"), &["usr/lib/new 644 0:0 1000 =f"]);
    check(&copy(&["f"], "/abs/"), &["usr/lib/f 644 0:0 1000 =f"]);
    check(&copy(&["f"], "/tomotd"), &["motd 644 0:0 1000 =f"]);
    check(&copy(&["f"], "/dangling"), &["new 755 0:0 5000 dir", "new/place 644 0:0 1000 =f"]);
    check(
        &copy(&["f"], "/dangling/"),
        &["new 755 0:0 5000 dir", "new/place 755 0:0 5000 dir", "new/place/f 644 0:0 1000 =f"],
    );
    fails(&copy(&["f"], "/loop"), "too many levels of symbolic links");
    let source = tree(&[("tomotd", file("t"))]);
    let changes = plan(&copy(&["tomotd"], "/"), &base(), &source).unwrap();
    assert_eq!(lines(&changes), ["tomotd 644 0:0 1000 =t"], "a link in the directory is replaced");
}

#[test]
fn files_and_directories_that_meet() {
    let context = context();
    for (source, expected) in [
        (tree(&[("x/opt", file("o"))]), "cannot replace to directory /opt with file"),
        (tree(&[("x/opt", link("o"))]), "cannot replace to directory /opt with file"),
        (tree(&[("x/motd/f", file("o"))]), "cannot copy to non-directory: /motd"),
        (tree(&[("x/lib/f", file("o"))]), "cannot copy to non-directory: /lib"),
    ] {
        let error = plan(&copy(&["x"], "/"), &base(), &source).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let error = plan(&copy(&["d"], "/etc/passwd"), &base(), &context).unwrap_err();
    assert_eq!(error.to_string(), "cannot copy to non-directory: /etc/passwd");
    fails(&copy(&["f"], "/etc/passwd/x"), "/etc/passwd: not a directory");
    fails(&copy(&["f"], "/etc/passwd/"), "/etc/passwd: not a directory");
    fails(&copy(&["f"], "/etc/passwd/x/y"), "/etc/passwd is not a directory");
}

#[test]
fn chown() {
    for (chown, owner) in [
        ("app", "1000:1001"),
        ("app:staff", "1000:50"),
        ("app:7", "1000:7"),
        ("daemon", "1:2"),
        ("5", "5:5"),
        ("5:6", "5:6"),
        ("5:nogroup", "5:5"),
        ("app:nogroup", "1000:1001"),
        (":50", "0:50"),
        ("5:", "5:0"),
        ("root:staff", "0:50"),
        ("root", "0:0"),
        ("nobodyknows", "0:0"),
        ("nobodyknows:staff", "0:50"),
        ("broken", "0:0"),
        ("4294967296", "0:0"),
    ] {
        let op = CopyOp { chown: Some(chown.into()), ..copy(&["f"], "/n/f") };
        check(&op, &[&format!("n 755 {owner} 5000 dir"), &format!("n/f 644 {owner} 1000 =f")]);
    }
}

#[test]
fn names_need_a_file_system() {
    let scratch =
        |chown: &str| plan(&CopyOp { chown: Some(chown.into()), ..copy(&["f"], "/f") }, &View::new(), &context());
    assert!(scratch("bin").unwrap_err().to_string().starts_with("invalid user index: -1"));
    assert!(scratch("1:bin").unwrap_err().to_string().starts_with("invalid user index: -1"));
    assert_eq!(lines(&scratch("1:2").unwrap()), ["f 644 1:2 1000 =f"]);
    assert_eq!(lines(&scratch("root").unwrap()), ["f 644 0:0 1000 =f"]);
    fails(&CopyOp { chown: Some("app".into()), link: true, ..copy(&["f"], "/f") }, "invalid user index: -1");
    let without_accounts = plan(&CopyOp { chown: Some("app".into()), ..copy(&["f"], "/f") }, &context(), &context());
    assert_eq!(lines(&without_accounts.unwrap()), Vec::<String>::new(), "unknown is root, and f was there");
}

#[test]
fn owners_of_a_stage_are_kept_and_flags_win() {
    let stage = tree(&[("s/f", file("f").owner(3, 4).mode(0o4750)), ("s/l", link("f").owner(5, 6))]);
    let copied = plan(&copy(&["s"], "/x"), &base(), &stage).unwrap();
    assert_eq!(lines(&copied), ["x 755 0:0 0 dir", "x/f 4750 3:4 1000 =f", "x/l 777 5:6 1000 -> f"]);
    let op = CopyOp { chown: Some("7:8".into()), chmod: Some(Chmod::Octal(0o600)), ..copy(&["s"], "/x") };
    let copied = plan(&op, &base(), &stage).unwrap();
    assert_eq!(lines(&copied), ["x 600 7:8 0 dir", "x/f 600 7:8 1000 =f", "x/l 777 7:8 1000 -> f"]);
}

#[test]
fn chmod() {
    let octal = |mode, op| CopyOp { chmod: Some(Chmod::Octal(mode)), ..op };
    check(&octal(0o4640, copy(&["f"], "/n/f")), &["n 640 0:0 5000 dir", "n/f 4640 0:0 1000 =f"]);
    check(
        &octal(0o1777, copy(&["d/s"], "/x")),
        &["x 777 0:0 700 dir", "x/3.txt 1777 0:0 1000 =3", "x/t 1777 0:0 0 dir", "x/t/4.txt 1777 0:0 1000 =4"],
    );
    let symbolic = |text: &str, op| CopyOp { chmod: Some(Chmod::Symbolic(text.into())), ..op };
    check(&symbolic("u+x", copy(&["f"], "/n/f")), &["n 755 0:0 5000 dir", "n/f 744 0:0 1000 =f"]);
    check(
        &symbolic("go=rX", copy(&["d/s"], "/x")),
        &["x 755 0:0 700 dir", "x/3.txt 644 0:0 1000 =3", "x/t 755 0:0 0 dir", "x/t/4.txt 644 0:0 1000 =4"],
    );
    fails(&symbolic("xyz", copy(&["f"], "/f")), "invalid chmod parameter: 'xyz'");
}

#[test]
fn excludes_are_relative_to_each_copied_root() {
    let without = |excludes: &[&str], op| CopyOp { excludes: excludes.iter().map(|&e| e.into()).collect(), ..op };
    let paths = |op: &CopyOp| -> Vec<String> {
        let changes = plan(op, &base(), &context()).unwrap();
        changes.iter().map(|change| String::from_utf8_lossy(&change.path).into_owned()).collect()
    };
    assert_eq!(
        paths(&without(&["*.txt"], copy(&["d"], "/x"))),
        ["x", "x/2.md", "x/s", "x/s/3.txt", "x/s/t", "x/s/t/4.txt"]
    );
    assert_eq!(paths(&without(&["**/*.txt"], copy(&["d"], "/x"))), ["x", "x/2.md", "x/s", "x/s/t"]);
    assert_eq!(paths(&without(&["s"], copy(&["d"], "/x"))), ["x", "x/1.txt", "x/2.md"]);
    assert_eq!(paths(&without(&["f"], copy(&["[fg]"], "/x/"))), ["x", "x/f", "x/g"], "a file root stays");
    assert_eq!(
        paths(&without(&["s", "!s/t/4.txt"], copy(&["d"], "/x"))),
        ["x", "x/1.txt", "x/2.md", "x/s", "x/s/t", "x/s/t/4.txt"]
    );
}

#[test]
fn parents() {
    let parents = |sources: &[&str], to| CopyOp { parents: true, ..copy(sources, to) };
    check(
        &parents(&["d/s/3.txt"], "/o/"),
        &["o 755 0:0 900 dir", "o/d 770 0:0 800 dir", "o/d/s 1777 0:0 700 dir", "o/d/s/3.txt 644 0:0 1000 =3"],
    );
    check(
        &parents(&["./d/./s/t"], "/o/"),
        &["o 755 0:0 800 dir", "o/s 1777 0:0 700 dir", "o/s/t 755 0:0 0 dir", "o/s/t/4.txt 644 0:0 1000 =4"],
    );
    check(&parents(&["**/*.md"], "/o"), &["o 755 0:0 900 dir", "o/d 770 0:0 800 dir", "o/d/2.md 4755 0:0 1000 =2"]);
    check(&parents(&["no*/f"], "/o/"), &["o 755 0:0 900 dir"]);
    fails(&parents(&["d/nope"], "/o/"), "\"/d/nope\": not found");
    fails(&parents(&["d/./nope"], "/o/"), "\"/d/nope\": not found");
    let source = tree(&[("opt", dir(0o1750).owner(9, 9)), ("opt/f", file("f"))]);
    let changes = plan(&parents(&["opt/f"], "/"), &base(), &source).unwrap();
    assert_eq!(lines(&changes), ["opt 1750 0:0 500 dir", "opt/f 644 0:0 1000 =f"]);
}

#[test]
fn link_copies_onto_an_empty_tree() {
    let linked = |op| CopyOp { link: true, ..op };
    check(&linked(copy(&["f"], "/lib/f")), &["lib 755 0:0 5000 dir", "lib/f 644 0:0 1000 =f"]);
    check(
        &linked(copy(&["d/s/t"], "/opt/dir/")),
        &["opt 755 0:0 5000 dir", "opt/dir 755 0:0 0 dir", "opt/dir/4.txt 644 0:0 1000 =4"],
    );
    let op = linked(copy(&["f"], "/lib/f"));
    let mut view = base();
    let changes = with_ancestors(&view, plan(&op, &view, &context()).unwrap());
    apply_changes(&mut view, &changes);
    assert!(is_directory(view.get(b"lib").unwrap()));
    assert!(view.get(b"lib/f").is_some() && view.get(b"lib/x").is_none());
}

#[test]
fn hard_links_stay_within_one_root() {
    let source = tree(&[
        ("h/1", hard("one", 3)),
        ("h/2", hard("one", 3)),
        ("h/s/3", hard("one", 3)),
        ("h/other", hard("other", 4)),
        ("outside", hard("one", 3)),
    ]);
    let changes = plan(&copy(&["h"], "/h"), &base(), &source).unwrap();
    assert_eq!(
        lines(&changes)[1..],
        [
            "h/1 644 0:0 1000 =one",
            "h/2 644 0:0 1000 == h/1",
            "h/other 644 0:0 1000 =other",
            "h/s 755 0:0 0 dir",
            "h/s/3 644 0:0 1000 == h/1",
        ]
    );
    let changes = plan(&copy(&["h/1", "h/2"], "/two/"), &base(), &source).unwrap();
    assert_eq!(lines(&changes)[1..], ["two/1 644 0:0 1000 =one", "two/2 644 0:0 1000 =one"]);
    // The first name is overwritten: the second one takes its place as the file.
    let source = tree(&[("h/1", hard("one", 3)), ("h/2", hard("one", 3)), ("i/1", file("new"))]);
    let changes = plan(&copy(&["h", "i"], "/h/"), &base(), &source).unwrap();
    assert_eq!(lines(&changes)[1..], ["h/1 644 0:0 1000 =new", "h/2 644 0:0 1000 =one"]);
}

#[test]
fn special_files() {
    let tty = Device { major: 5, minor: 0 };
    let source = tree(&[
        ("n/c", node(NodeKind::CharDevice(tty), 0o620)),
        ("n/b", node(NodeKind::BlockDevice(tty), 0o660)),
        ("n/p", node(NodeKind::Fifo, 0o600)),
        ("n/s", node(NodeKind::Socket, 0o755)),
    ]);
    let changes = plan(&copy(&["n"], "/n"), &base(), &source).unwrap();
    assert_eq!(
        lines(&changes)[1..],
        ["n/b 660 0:0 1000 block 5:0", "n/c 620 0:0 1000 char 5:0", "n/p 600 0:0 1000 fifo", "n/s 755 0:0 1000 =",]
    );
}

#[test]
fn what_stays_as_it_is_is_left_out() {
    let context = context();
    let mut view = base();
    for op in [copy(&["d"], "/x"), copy(&["f"], "/x/y/"), copy(&["."], "/z"), copy(&["f"], "/opt/dir/")] {
        let changes = with_ancestors(&view, plan(&op, &view, &context).unwrap());
        assert!(!changes.is_empty());
        apply_changes(&mut view, &changes);
        assert_eq!(plan(&op, &view, &context).unwrap(), []);
    }
    let older = tree(&[("f", file("f").time(1))]);
    assert_eq!(lines(&plan(&copy(&["f"], "/opt/dir/"), &view, &older).unwrap()), ["opt/dir/f 644 0:0 1 =f"]);
    let other = tree(&[("f", file("g"))]);
    assert_eq!(lines(&plan(&copy(&["f"], "/opt/dir/"), &view, &other).unwrap()), ["opt/dir/f 644 0:0 1000 =g"]);
}

#[test]
fn hashes_of_the_context_are_found_by_path() {
    let mut unhashed = file("f");
    let NodeKind::File(inner) = &mut unhashed.kind else { unreachable!() };
    inner.hash = None;
    let source = tree(&[("d/f", unhashed)]);
    let destination = tree(&[("x", dir(0o755).time(0)), ("x/f", file("f"))]);
    let hashes = BTreeMap::from([(b"d/f".to_vec(), ContentHash::of(b"f"))]);
    let (archives, prepared) = (BTreeMap::new(), BTreeMap::new());
    let known = SourceTrees { tree: &source, hashes: &hashes, archives: &archives, prepared: &prepared };
    assert_eq!(plan_copy(&copy(&["d"], "/x"), &destination, &known, NOW).unwrap(), []);
    let unknown = plan(&copy(&["d"], "/x"), &destination, &source).unwrap();
    assert_eq!(lines(&unknown), ["x/f 644 0:0 1000 =f"], "what nobody read may be different");
}

#[test]
fn heredocs_come_last_and_are_new() {
    let mut op = copy(&["f"], "/mix/");
    op.sources.insert(0, CopySource::Inline { name: "g".into(), content: "text\n".into() });
    check(&op, &["mix 755 0:0 5000 dir", "mix/f 644 0:0 1000 =f", "mix/g 644 0:0 5000 =text\n"]);
}

fn add(sources: &[&str], destination: &str) -> CopyOp {
    CopyOp { add: Some(AddOptions::default()), ..copy(sources, destination) }
}

fn archive(members: &[(&str, MemberKindOf)]) -> Archive {
    let members = members.iter().map(|(path, kind)| crate::context::ArchiveMember {
        path: path.as_bytes().to_vec(),
        kind: match kind {
            MemberKindOf::Is(node) => crate::context::MemberKind::Node(node.clone()),
            MemberKindOf::Same(target) => crate::context::MemberKind::Hardlink(target.as_bytes().to_vec()),
        },
    });
    archive_of(members.collect())
}

fn archive_of(members: Vec<crate::context::ArchiveMember>) -> Archive {
    let diff_id = crate::digest::DiffId(crate::digest::Digest::sha256(b""));
    Archive { members, diff_id, tar: "/dev/null".into() }
}

enum MemberKindOf {
    Is(Node),
    Same(&'static str),
}

use MemberKindOf::{Is, Same};

/// ADD of the context's file `f`, which is that archive.
fn unpack(op: &CopyOp, destination: &View, archive: Archive) -> Result<Vec<String>, CopyError> {
    let (hashes, prepared) = (BTreeMap::new(), BTreeMap::new());
    let archives = BTreeMap::from([(b"f".to_vec(), archive)]);
    let sources = SourceTrees { tree: &context(), hashes: &hashes, archives: &archives, prepared: &prepared };
    plan_copy(op, destination, &sources, NOW).map(|changes| lines(&changes))
}

#[test]
fn archives_are_unpacked_with_their_own_metadata() {
    let members = || {
        archive(&[
            ("s", Is(dir(0o700).owner(7, 8).time(77))),
            ("s/2", Is(file("2").mode(0o4755).owner(9, 9))),
            ("s/.wh.x", Is(file(""))),
            ("1", Is(file("1"))),
            ("h", Same("s/2")),
            ("deep/l", Is(link("/1"))),
        ])
    };
    let expected = [
        "a 755 0:0 5000 dir",
        "a/1 644 0:0 1000 =1",
        "a/deep 755 0:0 5000 dir",
        "a/deep/l 777 0:0 1000 -> /1",
        "a/h 4755 9:9 1000 =2",
        "a/s 700 7:8 77 dir",
        "a/s/.wh.x 644 0:0 1000 =",
        "a/s/2 4755 9:9 1000 == a/h",
    ];
    assert_eq!(unpack(&add(&["f"], "/a"), &base(), members()).unwrap(), expected);
    let chmod = CopyOp { chmod: Some(Chmod::Octal(0)), excludes: vec!["s".into()], ..add(&["f"], "/a/") };
    assert_eq!(unpack(&chmod, &base(), members()).unwrap(), expected, "--chmod and --exclude mean nothing");
    let owned = CopyOp { chown: Some("app".into()), ..add(&["f"], "/a") };
    let lines = unpack(&owned, &base(), members()).unwrap();
    assert_eq!(lines[0], "a 755 1000:1001 5000 dir");
    assert_eq!(lines[2], "a/deep 755 0:0 5000 dir", "implied directories are root's");
    assert_eq!(lines[5], "a/s 700 1000:1001 77 dir");
}

#[test]
fn archives_replace_what_is_no_directory_and_follow_links_inside() {
    let over = |path: &'static str, node: Node| unpack(&add(&["f"], "/"), &base(), archive(&[(path, Is(node))]));
    assert_eq!(over("opt", dir(0o755)).unwrap(), ["opt 755 0:0 1000 dir"]);
    assert_eq!(over("opt", file("o")).unwrap(), ["opt 644 0:0 1000 =o"]);
    assert_eq!(over("lib", dir(0o755)).unwrap(), ["lib 755 0:0 1000 dir"]);
    assert_eq!(over("lib/f", file("o")).unwrap(), ["usr/lib/f 644 0:0 1000 =o"]);
    assert!(over("motd/f", file("o")).is_err());
    assert!(unpack(&add(&["f"], "/"), &base(), archive(&[("h", Same("no"))])).is_err());
    let inside = archive(&[
        ("l", Is(link("/etc"))),
        ("l/f", Is(file("o"))),
        ("up", Is(link("../../x"))),
        ("up/g", Is(file("g"))),
    ]);
    let lines = unpack(&add(&["f"], "/a"), &base(), inside).unwrap();
    assert_eq!(
        lines,
        [
            "a 755 0:0 5000 dir",
            "a/etc 755 0:0 5000 dir",
            "a/etc/f 644 0:0 1000 =o",
            "a/l 777 0:0 1000 -> /etc",
            "a/up 777 0:0 1000 -> ../../x",
            "a/x 755 0:0 5000 dir",
            "a/x/g 644 0:0 1000 =g",
        ]
    );
    let again = archive(&[("opt", Is(file("o"))), ("opt", Is(dir(0o755))), ("opt/new", Is(file("n")))]);
    let lines = unpack(&add(&["f"], "/"), &base(), again).unwrap();
    assert_eq!(lines, ["opt 755 0:0 1000 dir", "opt/dir 0 0:0 0 gone", "opt/new 644 0:0 1000 =n"]);
}

#[test]
fn which_files_may_be_archives() {
    let context = tree(&[("d/a.tar", file("x")), ("a.tar", file("x")), ("empty", file("")), ("l", link("a.tar"))]);
    let candidates = |op: &CopyOp| -> Vec<String> {
        let selected = select(op, &context).unwrap();
        let found = selected.iter().filter(|selected| selected.may_be_archive(op));
        found.map(|selected| String::from_utf8_lossy(&selected.root).into_owned()).collect()
    };
    assert_eq!(candidates(&add(&["d", "a.tar", "empty", "l"], "/x/")), ["a.tar", "a.tar"]);
    assert_eq!(candidates(&copy(&["a.tar"], "/x/")), Vec::<String>::new());
    let mut packed = add(&["a.tar"], "/x/");
    packed.add = Some(AddOptions { unpack: Some(false), ..AddOptions::default() });
    assert_eq!(candidates(&packed), Vec::<String>::new());
}

#[test]
fn prepared_sources() {
    let mut op = add(&["g"], "/x/");
    op.sources.insert(0, CopySource::Url("https://h/a".into()));
    op.sources.push(CopySource::Git("https://h/r.git".into()));
    let prepared = BTreeMap::from([
        (0, Prepared::File { name: b"a".to_vec(), node: file("url").mode(0o600).time(0) }),
        (2, Prepared::Tree(tree(&[("", dir(0o755).time(600)), ("sub/one", file("1"))]))),
    ]);
    let (hashes, archives) = (BTreeMap::new(), BTreeMap::new());
    let context = context();
    let sources = SourceTrees { tree: &context, hashes: &hashes, archives: &archives, prepared: &prepared };
    assert_eq!(
        lines(&plan_copy(&op, &base(), &sources, NOW).unwrap()),
        [
            "x 755 0:0 600 dir",
            "x/a 600 0:0 0 =url",
            "x/g 644 0:0 1000 =gg",
            "x/sub 755 0:0 0 dir",
            "x/sub/one 644 0:0 1000 =1",
        ]
    );
    assert!(plan(&op, &base(), &context).unwrap_err().to_string().contains("source 0 was not fetched"));
}

#[test]
fn workdir() {
    let made = |path: &str, user: &str| {
        plan_workdir(&WorkdirOp { path: path.into(), user: user.into() }, &base(), NOW).map(|changes| lines(&changes))
    };
    assert_eq!(made("/a/b", "").unwrap(), ["a 755 0:0 5000 dir", "a/b 755 0:0 5000 dir"]);
    assert_eq!(made("/a", "app").unwrap(), ["a 755 1000:1001 5000 dir"]);
    assert_eq!(made("/a", "5").unwrap(), ["a 755 5:5 5000 dir"]);
    assert_eq!(made("/opt/dir", "app").unwrap(), Vec::<String>::new());
    assert_eq!(made("/lib/sub", "").unwrap(), ["usr/lib/sub 755 0:0 5000 dir"]);
    assert!(made("/motd", "").is_err() && made("/motd/x", "").is_err() && made("/loop/x", "").is_err());
    let op = WorkdirOp { path: "/w".into(), user: "app".into() };
    assert!(plan_workdir(&op, &View::new(), NOW).is_err());
}

fn any_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "a*", "[", "..", ".", "\\"])
}

fn any_path() -> impl Strategy<Value = String> {
    let names = prop::collection::vec(any_name(), 0..4);
    (names, any::<bool>(), any::<bool>()).prop_map(|(names, absolute, slash)| {
        format!("{}{}{}", if absolute { "/" } else { "" }, names.join("/"), if slash { "/" } else { "" })
    })
}

fn any_node() -> impl Strategy<Value = Node> {
    prop_oneof![
        Just(dir(0o755)),
        Just(file("x")),
        Just(hard("x", 1)),
        any_path().prop_map(|target| link(&target)),
        Just(node(NodeKind::Socket, 0o600)),
    ]
}

fn any_tree() -> impl Strategy<Value = View> {
    prop::collection::vec((any_path(), any_node()), 0..12).prop_map(|entries| {
        let mut view = View::new();
        for (path, node) in entries {
            let path = clean(path.as_bytes());
            if !path.is_empty() {
                view.insert(&path, node);
            }
        }
        view
    })
}

fn any_op() -> impl Strategy<Value = CopyOp> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let excludes = prop::collection::vec(any_path(), 0..2);
    (prop::collection::vec(any_path(), 1..4), any_path(), flags, excludes).prop_map(
        |(sources, destination, (link, parents, is_add), excludes)| CopyOp {
            add: is_add.then(AddOptions::default),
            link,
            parents: parents && !is_add,
            excludes,
            ..copy(&sources.iter().map(String::as_str).collect::<Vec<_>>(), &destination)
        },
    )
}

fn any_archive() -> impl Strategy<Value = Archive> {
    let member = (any_path(), prop_oneof![any_node().prop_map(Ok), any_path().prop_map(Err)]);
    prop::collection::vec(member, 0..8).prop_map(|members| {
        let cleaned = members.into_iter().map(|(path, kind)| crate::context::ArchiveMember {
            path: clean(path.as_bytes()),
            kind: match kind {
                Ok(node) => crate::context::MemberKind::Node(node),
                Err(target) => crate::context::MemberKind::Hardlink(clean(target.as_bytes())),
            },
        });
        archive_of(cleaned.filter(|member| !member.path.is_empty()).collect())
    })
}

proptest! {
    /// Whatever the trees: no panic; every change lies where its directory is or is made; and the
    /// layer that results leads to a state in which the same instruction changes nothing.
    #[test]
    fn any_copy_is_settled_after_one_time(op in any_op(), destination in any_tree(), source in any_tree()) {
        let Ok(changes) = plan(&op, &destination, &source) else { return Ok(()) };
        let mut result = destination.clone();
        apply_changes(&mut result, &with_ancestors(&destination, changes.clone()));
        for change in &changes {
            prop_assert!(!change.path.is_empty());
            prop_assert!(result.get(&change.path).is_some(), "{:?}", change);
        }
        if !op.link {
            let again = plan(&op, &result, &source);
            prop_assert!(matches!(&again, Ok(changes) if changes.is_empty()), "{:?}", again);
        }
    }

    #[test]
    fn any_archive_stays_inside(members in any_archive(), destination in any_tree(), to in any_path()) {
        let tree = tree(&[("f", file("x"))]);
        let archives = BTreeMap::from([(b"f".to_vec(), members)]);
        let (hashes, prepared) = (BTreeMap::new(), BTreeMap::new());
        let sources = SourceTrees { tree: &tree, hashes: &hashes, archives: &archives, prepared: &prepared };
        let Ok(changes) = plan_copy(&add(&["f"], &to), &destination, &sources, NOW) else { return Ok(()) };
        let root = destination.resolve(&clean(to.as_bytes()), crate::view::LastLink::Follow).unwrap();
        for change in &changes {
            let inside = change.path.starts_with(&root) || root.starts_with(&change.path);
            prop_assert!(inside, "{:?} is not below {:?}", change, root);
        }
    }
}
