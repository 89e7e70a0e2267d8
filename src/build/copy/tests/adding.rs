//! What only ADD does.

use super::*;

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
            ("s/2", Is(file("2").mode(0o711).owner(9, 9))),
            ("s/.wh.x", Is(file(""))),
            ("1", Is(file("1"))),
            ("h", Same("s/2", 0o4755)),
            ("deep/l", Is(link("/1"))),
        ])
    };
    let expected = [
        "a 755 0:0 5000 dir",
        "a/1 644 0:0 1000 =1",
        "a/deep 755 0:0 5000 dir",
        "a/deep/l 777 0:0 1000 -> /1",
        "a/h 4755 0:0 1000 =2",
        "a/s 700 7:8 77 dir",
        "a/s/.wh.x 644 0:0 1000 =",
        "a/s/2 4755 0:0 1000 == a/h",
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
    assert!(unpack(&add(&["f"], "/"), &base(), archive(&[("h", Same("no", 0o644))])).is_err());
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
