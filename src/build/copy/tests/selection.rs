//! Flags that change what is copied, and what is left out of a layer.

use super::*;

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
    check(&parents(&["."], "/o/"), &["o 755 0:0 900 dir"]);
    check(&parents(&["d/./"], "/o/"), &["o 755 0:0 800 dir"]);
    check(&parents(&["d*/./1.txt"], "/o/"), &["o 755 0:0 800 dir", "o/1.txt 644 0:0 1000 =1"]);
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
