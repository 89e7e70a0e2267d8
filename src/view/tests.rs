use std::collections::BTreeMap;

use super::*;
use crate::digest::{ContentHash, DiffId, Digest};
use crate::layer::{Change, ChangeKind, Content, Entry, EntryKind, Toc};

fn layer() -> DiffId {
    DiffId(Digest::sha256(b"layer"))
}

fn entry(path: &str, kind: EntryKind) -> Entry {
    let path = path.as_bytes().to_vec();
    Entry { path, kind, mode: 0o700, uid: 1, gid: 2, mtime: 3, xattrs: BTreeMap::new() }
}

fn directory(path: &str) -> Entry {
    entry(path, EntryKind::Directory)
}

fn file(path: &str) -> Entry {
    let hash = ContentHash::of(path.as_bytes());
    entry(path, EntryKind::File { size: path.len() as u64, hash, offset: 512 })
}

fn symlink(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::Symlink { target: target.into() })
}

fn hardlink(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::Hardlink { target: target.into() })
}

fn whiteout(path: &str) -> Entry {
    entry(path, EntryKind::Whiteout)
}

fn opaque(path: &str) -> Entry {
    entry(path, EntryKind::OpaqueWhiteout)
}

fn applied(layers: &[&[Entry]]) -> View {
    let mut view = View::new();
    for entries in layers {
        view.apply(&layer(), &Toc { entries: entries.to_vec(), inline: BTreeMap::new() });
    }
    view
}

/// All paths in walk order; directories that are only implied in brackets.
fn listing(view: &View) -> String {
    let show = |(path, node): (Vec<u8>, &Node)| {
        let path = String::from_utf8(path).unwrap();
        if node.mode == 0o755 { format!("({path})") } else { path }
    };
    view.walk(b"").map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn walk_is_in_tar_order() {
    let view = applied(&[&[file("a.b"), file("a/x"), directory("a"), file("B"), file("a/c/d")]]);
    assert_eq!(listing(&view), "B a (a/c) a/c/d a/x a.b");
    let below: Vec<_> = view.walk(b"a").map(|(path, _)| path).collect();
    assert_eq!(below, [b"a/c".to_vec(), b"a/c/d".to_vec(), b"a/x".to_vec()]);
    let names: Vec<_> = view.children(b"a").map(|(name, _)| name).collect();
    assert_eq!(names, [b"c", b"x"]);
    assert_eq!(view.children(b"a.b").count() + view.children(b"none").count(), 0);
}

#[test]
fn replacing_keeps_children_only_between_directories() {
    let base: &[Entry] = &[directory("d"), file("d/x"), file("f")];
    assert_eq!(listing(&applied(&[base, &[directory("d")]])), "d d/x f");
    assert_eq!(listing(&applied(&[base, &[file("d")]])), "d f");
    assert_eq!(listing(&applied(&[base, &[file("d"), directory("d")]])), "d f");
    assert_eq!(listing(&applied(&[base, &[file("f/y")]])), "d d/x (f) f/y");
}

#[test]
fn whiteouts_hide_only_what_is_underneath() {
    let base: &[Entry] = &[directory("d"), file("d/x"), file("d/y"), directory("d/e"), file("d/e/z")];
    let cases: &[(&[Entry], &str)] = &[
        (&[whiteout("d")], ""),
        (&[whiteout("d/e")], "d d/x d/y"),
        (&[whiteout("none/at/all")], "d d/e d/e/z d/x d/y"),
        (&[opaque("d")], "d"),
        (&[opaque("none")], "d d/e d/e/z d/x d/y"),
        (&[file("d/e/n"), opaque("d")], "d (d/e) d/e/n"),
        (&[opaque("d"), file("d/e/n")], "d (d/e) d/e/n"),
        (&[directory("d"), file("d/x"), whiteout("d")], "d d/x"),
        (&[whiteout("d"), directory("d"), file("d/x")], "d d/x"),
        (&[file("d/x"), whiteout("d/x")], "d d/e d/e/z d/x d/y"),
        (&[opaque("")], ""),
    ];
    for (upper, expected) in cases {
        assert_eq!(listing(&applied(&[base, upper])), *expected, "{upper:?}");
    }
}

#[test]
fn members_land_where_links_in_their_parents_lead() {
    let base: &[Entry] = &[directory("usr"), directory("usr/lib"), file("usr/lib/a"), symlink("lib", "usr/lib")];
    let cases: &[(&[Entry], &str)] = &[
        (&[file("lib/x")], "lib usr usr/lib usr/lib/a usr/lib/x"),
        (&[whiteout("lib/a")], "lib usr usr/lib"),
        (&[opaque("lib")], "lib usr usr/lib"),
        (&[directory("lib"), file("lib/x")], "lib lib/x usr usr/lib usr/lib/a"),
        (&[directory("lib"), whiteout("lib/a")], "lib usr usr/lib usr/lib/a"),
        (&[hardlink("b", "lib/a")], "b lib usr usr/lib usr/lib/a"),
        (&[symlink("up", "../../usr/./lib/.."), file("up/x")], "lib up usr usr/lib usr/lib/a usr/x"),
        (&[symlink("abs", "/new/place"), file("abs/x")], "abs lib (new) (new/place) new/place/x usr usr/lib usr/lib/a"),
        (&[symlink("loop", "loop"), file("loop/x")], "lib loop usr usr/lib usr/lib/a"),
        (&[symlink("odd", "lib/a/b"), file("odd/x")], "lib odd usr usr/lib (usr/lib/a) (usr/lib/a/b) usr/lib/a/b/x"),
    ];
    for (upper, expected) in cases {
        assert_eq!(listing(&applied(&[base, upper])), *expected, "{upper:?}");
    }
}

#[test]
fn hard_links_share_an_inode_number() {
    let view = applied(&[&[file("a"), hardlink("b", "a"), hardlink("c", "b"), file("d"), hardlink("e", "none")]]);
    let inode = |path: &[u8]| match &view.get(path)?.kind {
        NodeKind::File(file) => file.inode,
        _ => None,
    };
    assert_eq!(listing(&view), "a b c d");
    assert!(inode(b"a").is_some() && inode(b"a") == inode(b"b") && inode(b"a") == inode(b"c"));
    assert_eq!(inode(b"d"), None);
    assert_eq!(view.get(b"c").map(|node| &node.kind), view.get(b"a").map(|node| &node.kind));
}

#[test]
fn resolving_stays_inside() {
    let view = applied(&[&[
        file("usr/lib/f"),
        symlink("lib", "usr/lib"),
        symlink("abs", "/lib/f"),
        symlink("out", "../../../etc/../lib"),
        symlink("loop", "loop2"),
        symlink("loop2", "loop"),
        symlink("dangling", "nowhere/at"),
    ]]);
    let follow = |path: &str| {
        let path = view.resolve(path.as_bytes(), LastLink::Follow);
        path.map(|path| String::from_utf8(path).unwrap())
    };
    let cases = [
        ("", ""),
        ("/", ""),
        ("..", ""),
        ("/lib/f", "usr/lib/f"),
        ("lib/", "usr/lib"),
        ("lib/..", "usr"),
        ("abs", "usr/lib/f"),
        ("out/./f", "usr/lib/f"),
        ("out/new/er", "usr/lib/new/er"),
        ("dangling/x", "nowhere/at/x"),
        ("no/../lib", "usr/lib"),
        ("abs/.", "usr/lib/f"),
    ];
    for (path, expected) in cases {
        assert_eq!(follow(path).as_deref(), Ok(expected), "{path}");
    }
    assert!(matches!(follow("loop/x"), Err(ResolveError::TooManyLinks { .. })));
    assert_eq!(follow("abs/x/y"), Err(ResolveError::NotADirectory { path: b"usr/lib/f".to_vec() }));
    assert_eq!(view.resolve(b"lib", LastLink::Keep), Ok(b"lib".to_vec()));
    assert_eq!(view.resolve(b"out/f", LastLink::Keep), Ok(b"usr/lib/f".to_vec()));
    assert!(view.resolve(b"loop", LastLink::Keep).is_ok());
}

#[test]
fn clones_do_not_see_each_others_changes() {
    let base = applied(&[&[file("d/x"), file("e")]]);
    let mut changed = base.clone();
    changed.remove(b"d");
    changed.insert(b"e/y", base.get(b"e").unwrap().clone());
    assert_eq!(listing(&base), "(d) d/x e");
    assert_eq!(listing(&changed), "(e) e/y");
    changed.remove(b"");
    changed.remove(b"gone");
    assert_eq!(listing(&changed), "");
}

#[test]
fn inline_contents_follow_their_file() {
    let toc = |text: &str| Toc {
        entries: vec![directory("etc"), file("etc/passwd")],
        inline: BTreeMap::from([(b"etc/passwd".to_vec(), text.into())]),
    };
    let mut view = View::new();
    view.apply(&layer(), &toc("one"));
    view.apply(&layer(), &toc("two"));
    assert_eq!(view.inline(b"etc/passwd"), Some(&b"two"[..]));
    assert_eq!(view.inline(b"etc/group"), None);
    view.apply(&layer(), &Toc { entries: vec![whiteout("etc/passwd")], inline: BTreeMap::new() });
    assert_eq!(view.inline(b"etc/passwd"), None);
    view.apply(&layer(), &toc("three"));
    view.apply(&layer(), &Toc { entries: vec![file("etc/passwd")], inline: BTreeMap::new() });
    assert_eq!(view.inline(b"etc/passwd"), None);
}

#[test]
fn deep_trees_do_not_overflow_the_stack() {
    let mut view = View::new();
    let deep = vec!["d"; 20_000].join("/");
    view.insert(deep.as_bytes(), tree::implied_directory());
    assert_eq!(view.walk(b"").count(), 20_000);
    drop(view);
}

fn change(path: &str, kind: ChangeKind) -> Change {
    let path = path.as_bytes().to_vec();
    Change { path, kind, mode: 0o640, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() }
}

fn new_file(path: &str) -> Change {
    change(path, ChangeKind::File { size: 1, content: Content::Bytes((*b"x").into()) })
}

fn new_link(path: &str, target: &str) -> Change {
    change(path, ChangeKind::Hardlink { target: target.into() })
}

#[test]
fn ancestors_come_first_and_once() {
    let view = applied(&[&[directory("a"), directory("a/b"), symlink("l", "a")]]);
    let changes = vec![
        new_file("a/b/2"),
        change("a/b/1", ChangeKind::Whiteout),
        new_file("z/new"),
        new_file("a.c"),
        change("z", ChangeKind::Directory),
        new_file("n/o/p"),
        new_file("a/b/2"),
    ];
    let listed = with_ancestors(&view, changes);
    let show = |change: &Change| format!("{} {:o}", String::from_utf8_lossy(&change.path), change.mode);
    let shown: Vec<_> = listed.iter().map(show).collect();
    let expected = "a 700,a/b 700,a/b/1 640,a/b/2 640,a.c 640,n 755,n/o 755,n/o/p 640,z 640,z/new 640";
    assert_eq!(shown.join(","), expected);
    assert_eq!(with_ancestors(&view, listed.clone()), listed);
}

#[test]
fn of_several_changes_of_a_path_the_last_counts() {
    let listed = with_ancestors(&View::new(), vec![new_file("a"), change("a", ChangeKind::Fifo)]);
    assert_eq!(listed, [change("a", ChangeKind::Fifo)]);
}

#[test]
fn the_first_name_of_a_file_is_the_file() {
    let changes = vec![new_file("m"), new_link("z", "m"), new_link("b", "z"), new_link("c", "m"), new_file("a")];
    let listed = with_ancestors(&View::new(), changes);
    let mut first = new_file("m");
    first.path = b"b".to_vec();
    assert_eq!(listed, [new_file("a"), first, new_link("c", "b"), new_link("m", "b"), new_link("z", "b")]);
}

#[test]
fn changes_apply_as_their_layer_would() {
    let mut view = applied(&[&[directory("etc"), file("etc/group"), symlink("lib", "usr/lib")]]);
    let passwd = |path: &str| change(path, ChangeKind::File { size: 4, content: Content::Bytes((*b"root").into()) });
    let changes = [passwd("etc/passwd"), change("etc/group", ChangeKind::Whiteout), new_link("lib/p", "etc/passwd")];
    apply_changes(&mut view, &changes);
    let paths: Vec<_> = view.walk(b"").map(|(path, _)| String::from_utf8(path).unwrap()).collect();
    assert_eq!(paths, ["etc", "etc/passwd", "lib", "usr", "usr/lib", "usr/lib/p"]);
    assert_eq!(view.inline(b"etc/passwd"), Some(&b"root"[..]));
    let NodeKind::File(file) = &view.get(b"usr/lib/p").unwrap().kind else { panic!("no file") };
    assert_eq!((file.hash, file.size), (Some(ContentHash::of(b"root")), 4));
}
