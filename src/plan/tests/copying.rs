use super::*;

/// The only COPY or ADD after `FROM base`, `WORKDIR /w`.
fn copied(instruction: &str) -> CopyOp {
    let plan = plan(&format!("FROM base\nENV V=val O=1:2 M=u+x\nWORKDIR /w\n{instruction}"));
    copies(&plan)[0].clone()
}

fn paths(words: &str) -> Vec<CopySource> {
    words.split(' ').map(|word| CopySource::Path(word.to_owned())).collect()
}

#[test]
fn destinations() {
    for (given, destination) in [
        ("/x", "/x"),
        ("/x/", "/x/"),
        ("/x/.", "/x/"),
        ("x", "/w/x"),
        ("x/../$V/", "/w/val/"),
        (".", "/w/"),
        ("./", "/w/"),
        ("..", "/"),
        ("/", "/"),
        ("$NOPE", "/w/"),
    ] {
        assert_eq!(copied(&format!("COPY f {given}")).destination, destination, "{given}");
    }
    assert_eq!(copied("COPY [\"f\", \"\"]").destination, "/w/");
}

#[test]
fn sources_stay_as_written() {
    assert_eq!(copied("COPY ../a ./b c/. $V*/ /x/").sources, paths("../a ./b c/. val*/"));
    assert_eq!(copied("COPY [\"a b\", \"/x\"]").sources, [CopySource::Path("a b".into())]);
    assert!(error("FROM base\nCOPY \"a b\" /x").starts_with("2: failed to process \"\\\"a\""));
}

#[test]
fn heredocs() {
    let inline = |name: &str, content: &str| CopySource::Inline { name: name.into(), content: content.into() };
    let op = copied("COPY <<a f <<'b' <<-c /d/\n$V \\$V \"q\"\na\n$V\nb\n\tx\n\tc");
    assert_eq!(
        op.sources,
        [CopySource::Path("f".into()), inline("a", "val $V \"q\"\n"), inline("b", "$V\n"), inline("c", "x\n")]
    );
    assert_eq!(copied("COPY <<../x /d/\n../x").sources, [inline("x", "")]);
    assert_eq!(copied("COPY <</x /d/\n/x").sources, [inline("x", "")]);
    for bad in ["a/x", "..", "/"] {
        assert_eq!(
            error(&format!("FROM base\nCOPY <<{bad} /d/\n{bad}")),
            format!("2: invalid heredoc name {bad:?}: it must name a file, not one in a directory")
        );
    }
}

#[test]
fn flags() {
    let op = copied("COPY --chown=$O --chmod=0750 --link --parents --exclude=$V --exclude=!b a /x");
    assert_eq!((op.chown.as_deref(), op.chmod.clone(), op.link), (Some("1:2"), Some(Chmod::Octal(0o750)), false));
    assert_eq!((op.parents, op.excludes), (true, words("$V !b")));
    let plain = copied("COPY --link --chown=$NOPE --chmod=$NOPE a /x");
    assert_eq!((plain.chown, plain.chmod, plain.link, plain.add), (None, None, true, None));
    assert_eq!(plain.from, Source::Context);
}

#[test]
fn modes() {
    let chmod = |mode: &str| copied(&format!("COPY --chmod={mode} a /x")).chmod;
    assert_eq!(chmod("7777"), Some(Chmod::Octal(0o7777)));
    assert_eq!(chmod("0"), Some(Chmod::Octal(0)));
    for good in ["$M", "+x", "a=rX,g-w,o=", "u=g", "ug+s+t", "=rw,+X"] {
        let expected = if good == "$M" { "u+x" } else { good };
        assert_eq!(chmod(good), Some(Chmod::Symbolic(expected.into())), "{good}");
    }
    for bad in ["8", "10000", "0999", "7x", "99999999999"] {
        let message = format!("2: invalid chmod parameter: '{bad}'. it should be octal string and between 0 and 07777");
        assert_eq!(error(&format!("FROM base\nCOPY --chmod={bad} a /x")), message);
    }
    for bad in ["xyz", "u", "a+x,", ",", "u+x,g", "-", "u+1"] {
        let got = try_plan_with(&format!("FROM base\nCOPY --chmod={bad} a /x"), &options());
        // A lone operator changes nothing, and is allowed.
        assert_eq!(got.is_err(), bad != "-", "{bad}");
    }
}

#[test]
fn history_has_the_expanded_words() {
    for (instruction, created_by) in [
        ("COPY $V  b /x", "COPY val b /x # buildkit"),
        ("COPY --link --exclude=q --chmod=$M --chown=$O a .", "COPY --chown=1:2 --chmod=u+x a . # buildkit"),
        ("COPY --parents a/./b /x", "COPY --parents a/./b /x # buildkit"),
        ("COPY <<a f /d/\n\na", "COPY f <<a /d/ # buildkit"),
        (
            "ADD --checksum=sha256:68d7752ccfed935d3ce0dcd6344d705404f94f936b69cf7c1112654178e3f154 http://h/f /x",
            "ADD http://h/f /x # buildkit",
        ),
        ("ADD --keep-git-dir=true git://h/r#t $V", "ADD git://h/r#t val # buildkit"),
    ] {
        let plan = plan(&format!("FROM base\nENV V=val O=1:2 M=u+x\n{instruction}"));
        assert_eq!(history(&plan)[1], created_by);
    }
}

#[test]
fn add_knows_remote_sources() {
    let op = copied("ADD --unpack=false --keep-git-dir a https://h/$V https://h/r.git#t:sub github.com/a/b /d");
    assert_eq!(
        op.sources,
        [
            CopySource::Path("a".into()),
            CopySource::Url("https://h/val".into()),
            CopySource::Git("https://h/r.git#t:sub".into()),
            CopySource::Path("github.com/a/b".into()),
        ]
    );
    assert_eq!(op.add, Some(AddOptions { checksum: None, keep_git_dir: true, unpack: Some(false) }));
    assert_eq!(copied("ADD a /d").add, Some(AddOptions::default()));
    assert_eq!(error("FROM base\nCOPY http://h/f /d"), "2: source can't be a URL for COPY (did you mean ADD?)");
    assert_eq!(error("FROM base\nCOPY git@h:r /d"), "2: source can't be a git ref for COPY (did you mean ADD?)");
}

#[test]
fn checksums() {
    let digest = "sha256:68d7752ccfed935d3ce0dcd6344d705404f94f936b69cf7c1112654178e3f154";
    let checksum = |op: CopyOp| op.add.and_then(|options| options.checksum);
    assert_eq!(checksum(copied(&format!("ADD --checksum={digest} http://h/f /d"))).as_deref(), Some(digest));
    assert_eq!(checksum(copied("ADD --checksum=abc123 git://h/r /d")).as_deref(), Some("abc123"));
    assert_eq!(checksum(copied("ADD --checksum=$NOPE a b /d/")), None);
    for (arguments, message) in [
        ("a b /d/", "checksum can't be specified for multiple sources"),
        ("http://h/a http://h/b /d/", "checksum can't be specified for multiple sources"),
        ("<<x /d\nx", "checksum can't be specified for multiple sources"),
        ("a /d", "checksum requires HTTP(S) or Git sources"),
    ] {
        assert_eq!(error(&format!("FROM base\nADD --checksum={digest} {arguments}")), format!("2: {message}"));
    }
    assert!(error("FROM base\nADD --checksum=md5:abc http://h/f /d").contains("checksum"));
}
