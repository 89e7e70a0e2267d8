//! Owners and modes.

use super::*;

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
