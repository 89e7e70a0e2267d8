//! Where things come from and go to.

use super::*;

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
