use super::*;

fn texts(body: &str) -> Vec<String> {
    instructions(body).into_iter().map(|instruction| instruction.text).collect()
}

fn shell(text: &str) -> RunCommand {
    RunCommand::Shell(text.to_owned())
}

fn run(body: &str) -> Run {
    match one(body) {
        Kind::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

fn copy(body: &str) -> Copy {
    match one(body) {
        Kind::Copy(copy) => copy,
        other => panic!("{other:?}"),
    }
}

fn directives(source: &str) -> Directives {
    parse(format!("{source}\nFROM a\n").as_bytes()).unwrap().directives
}

#[test]
fn continuations() {
    for (body, expected) in [
        ("RUN echo a \\\n\n  b", "RUN echo a   b"),
        ("RUN a && \\\n# c\n  # d\nb", "RUN a && b"),
        ("RUN a\\ \t\nb", "RUN ab"),
        ("RUN a \\", "RUN a"),
        ("RUN a \\\r\n  b\r\n", "RUN a   b"),
        ("\\\nRUN a", "RUN a"),
        ("  RUN a  ", "RUN a"),
        ("RUN a \\\\", "RUN a \\\\"),
        ("RUN a \\\\\\", "RUN a \\\\\\"),
    ] {
        assert_eq!(texts(body), [expected], "{body:?}");
    }
    assert_eq!(texts("# comment \\\nRUN b"), ["RUN b"]);
    assert_eq!(texts("RUN a # b\nRUN c"), ["RUN a # b", "RUN c"]);
}

#[test]
fn continued_words_join_without_a_space() {
    assert_eq!(one("ENV a=b\\\n  c=d"), Kind::Env(pairs(&[("a", Some("b")), ("c", Some("d"))])));
    assert_eq!(one("ENV a=b\\\nc=d"), Kind::Env(pairs(&[("a", Some("bc=d"))])));
}

#[test]
fn spans() {
    let file = parse(b"\n# c\nFROM a AS Name\n\nRUN b \\\n c\n\nCOPY <<E /f\nx\nE\n").unwrap();
    let stage = &file.stages[0];
    assert_eq!((stage.span.start, stage.span.end, stage.name.as_deref()), (3, 3, Some("name")));
    let lines: Vec<_> = stage.instructions.iter().map(|found| (found.span.start, found.span.end)).collect();
    assert_eq!(lines, [(5, 6), (8, 10)]);
}

#[test]
fn parser_directives() {
    let found = directives("# syntax=docker/dockerfile:1 x\n#ESCAPE = `\n#check=skip=all;error=true ");
    assert_eq!(found.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(found.escape, '`');
    assert_eq!(found.check.as_deref(), Some("skip=all;error=true"));
    for source in ["\n#escape=`", "# foo=bar\n# escape=`", "# x\n# escape=`", "#!x\n# escape=`", "FROM b\n# escape=`"] {
        assert_eq!(directives(source).escape, '\\', "{source:?}");
    }
    assert_eq!(directives("  # escape=`").escape, '`');
    assert_eq!(directives("\u{FEFF}# escape=`").escape, '`');
    assert_eq!(directives("#!x\n# syntax=b\n# escape=x\n# check=a").syntax.as_deref(), Some("b"));
    assert_eq!(directives("# syntax=\n# escape=`").syntax, None);
}

#[test]
fn from() {
    let source = b"ARG A=1\nARG B\nfrom --platform=$P img:$A aS B-2_x.y\nFrOm scratch\n";
    let file = parse(source).unwrap();
    assert_eq!(file.global_args[0].kind, Kind::Arg(pairs(&[("A", Some("1"))])));
    assert_eq!(file.global_args[1].kind, Kind::Arg(pairs(&[("B", None)])));
    let first = &file.stages[0];
    assert_eq!((first.base.as_str(), first.name.as_deref()), ("img:$A", Some("b-2_x.y")));
    assert_eq!(first.platform.as_deref(), Some("$P"));
    assert_eq!(file.stages[1].base, "scratch");
}

#[test]
fn names_and_values() {
    assert_eq!(one("ENV a b c"), Kind::Env(pairs(&[("a", Some("b c"))])));
    assert_eq!(one("ENV a  \"b  c\" 'd'"), Kind::Env(pairs(&[("a", Some("\"b  c\" 'd'"))])));
    assert_eq!(
        one("ENV a=\"x y\" b='$a' c=\\$a d=x\\ y e="),
        Kind::Env(pairs(&[
            ("a", Some("\"x y\"")),
            ("b", Some("'$a'")),
            ("c", Some("\\$a")),
            ("d", Some("x\\ y")),
            ("e", Some(""))
        ]))
    );
    assert_eq!(one("LABEL \"a b\"=c $X=\"d\""), Kind::Label(pairs(&[("\"a b\"", Some("c")), ("$X", Some("\"d\""))])));
    assert_eq!(one("LABEL k the rest"), Kind::Label(pairs(&[("k", Some("the rest"))])));
    assert_eq!(
        one("ARG a=1 b=$a c d="),
        Kind::Arg(pairs(&[("a", Some("1")), ("b", Some("$a")), ("c", None), ("d", Some(""))]))
    );
    assert_eq!(one("ENV a='b\\' c=d"), Kind::Env(pairs(&[("a", Some("'b\\'")), ("c", Some("d"))])));
    assert_eq!(one("ENV a=b=c"), Kind::Env(pairs(&[("a", Some("b=c"))])));
}

#[test]
fn rest_of_the_line() {
    assert_eq!(one("USER <<X"), Kind::User("<<X".to_owned()));
    assert_eq!(one("USER  a b "), Kind::User("a b".to_owned()));
    assert_eq!(one("WORKDIR /a \"b\""), Kind::Workdir("/a \"b\"".to_owned()));
    assert_eq!(one("MAINTAINER Some One <o@e>"), Kind::Maintainer("Some One <o@e>".to_owned()));
    assert_eq!(one("STOPSIGNAL --x=1 SIGTERM"), Kind::StopSignal("SIGTERM".to_owned()));
    assert_eq!(one("ARG --x A"), Kind::Arg(pairs(&[("A", None)])));
}

#[test]
fn lists() {
    assert_eq!(one("EXPOSE 80 443/UDP\t1000-1002"), Kind::Expose(strings(&["1000-1002", "443/UDP", "80"])));
    assert_eq!(one("VOLUME /a  /b"), Kind::Volume(strings(&["/a", "/b"])));
    assert_eq!(one("VOLUME [\"/a b\", \" /c \"]"), Kind::Volume(strings(&["/a b", "/c"])));
    assert_eq!(one("VOLUME [/a, /b]"), Kind::Volume(strings(&["[/a,", "/b]"])));
    assert_eq!(one("SHELL [\"/bin/bash\", \"-c\"]"), Kind::Shell(strings(&["/bin/bash", "-c"])));
}

#[test]
fn commands() {
    for (text, command) in [
        ("[\"a\", \"b c\", \"\\u00e9\\t\"]", Command::Exec(strings(&["a", "b c", "é\t"]))),
        ("[]", Command::Exec(vec![])),
        ("", Command::Shell(String::new())),
        ("[\"a\", 'b']", Command::Shell("[\"a\", 'b']".to_owned())),
        ("[\"a\"] && b", Command::Shell("[\"a\"] && b".to_owned())),
        ("[ \"a\", b ]", Command::Shell("[ \"a\", b ]".to_owned())),
        ("echo  two  $X", Command::Shell("echo  two  $X".to_owned())),
        ("-- --help", Command::Shell("--help".to_owned())),
    ] {
        assert_eq!(one(&format!("CMD {text}")), Kind::Cmd(command.clone()));
        assert_eq!(one(&format!("ENTRYPOINT {text}")), Kind::Entrypoint(command));
    }
}

#[test]
fn run_flags() {
    let found = run("RUN --mount=type=cache,target=/a --network=none --mount='type=tmpfs,target=/b c' \
                     --security=insecure --device=d echo --x");
    assert_eq!(found.command, shell("echo --x"));
    assert_eq!(found.mounts, ["type=cache,target=/a", "type=tmpfs,target=/b c"]);
    assert_eq!((found.network.as_deref(), found.security.as_deref()), (Some("none"), Some("insecure")));
    assert_eq!(found.devices, ["d"]);
    assert_eq!(run("RUN").command, shell(""));
    assert_eq!(run("RUN [\"a\", \"b\"]").command, RunCommand::Exec(strings(&["a", "b"])));
    assert_eq!(run("RUN [\"<<EOF\"]").command, RunCommand::Exec(strings(&["<<EOF"])));
}

#[test]
fn copy_flags() {
    let found = copy(
        "COPY --from=Stage --chown=\"a:b\" --chmod=6\\40 --link --parents=FALSE --exclude=*.md --exclude=ü a b c/",
    );
    assert_eq!(found.from.as_deref(), Some("Stage"));
    assert!(!found.parents && found.paths.link);
    assert_eq!((found.paths.chown.as_deref(), found.paths.chmod.as_deref()), (Some("a:b"), Some("640")));
    assert_eq!(found.paths.excludes, ["*.md", "Ã¼"]);
    assert_eq!((found.paths.sources, found.paths.destination), (strings(&["a", "b"]), "c/".to_owned()));
    let plain = copy("COPY --chown= -- --a b");
    assert_eq!((plain.paths.chown, plain.paths.sources), (None, strings(&["--a"])));
}

#[test]
fn copy_paths() {
    let json = copy("COPY [\"a b\", \"<<x\", \"/d ir/\"]").paths;
    assert_eq!((json.sources, json.destination.as_str()), (strings(&["a b"]), "/d ir/"));
    // A name without a body.
    assert_eq!((json.heredocs[0].name.as_str(), json.heredocs[0].body.as_str()), ("x", ""));
    let quoted = copy("COPY \"a b\" /x").paths;
    assert_eq!(quoted.sources, ["\"a", "b\""]);
}

#[test]
fn add_flags() {
    let Kind::Add(add) = one("ADD --checksum=sha256:0 --keep-git-dir --unpack=false http://h/f /d/") else { panic!() };
    assert_eq!(add.checksum.as_deref(), Some("sha256:0"));
    assert_eq!((add.keep_git_dir, add.unpack), (Some(true), Some(false)));
    let Kind::Add(add) = one("ADD a b") else { panic!() };
    assert_eq!((add.keep_git_dir, add.unpack, add.paths.link), (None, None, false));
}

#[test]
fn healthchecks() {
    assert_eq!(one("HEALTHCHECK --x NONE"), Kind::Healthcheck(HealthcheckSpec::None));
    let flags = "--interval=1m30s --timeout=2s --start-period=500ms --start-interval=0 --retries=5";
    assert_eq!(
        one(&format!("HEALTHCHECK {flags} cmd  curl -f \"x\" || exit 1")),
        Kind::Healthcheck(HealthcheckSpec::Check {
            command: Command::Shell("curl -f \"x\" || exit 1".to_owned()),
            interval: 90_000_000_000,
            timeout: 2_000_000_000,
            start_period: 500_000_000,
            start_interval: 0,
            retries: 5,
        })
    );
    let Kind::Healthcheck(HealthcheckSpec::Check { command, .. }) = one("HEALTHCHECK CMD [\"a\", \"b\"]") else {
        panic!()
    };
    assert_eq!(command, Command::Exec(strings(&["a", "b"])));
}

#[test]
fn durations() {
    for (text, expected) in [
        ("1h2m3.5s", Some(3_723_500_000_000)),
        ("0", Some(0)),
        ("-0s", Some(0)),
        (".5s", Some(500_000_000)),
        ("1.s", Some(1_000_000_000)),
        ("+5us1ns", Some(5_001)),
        ("1µs", Some(1_000)),
        ("1.0000000019s", Some(1_000_000_001)),
        ("2562047h47m16.854775807s", Some(i64::MAX)),
        ("2562047h47m16.854775808s", None),
        ("-2562047h47m16.854775808s", Some(i64::MIN)),
        ("99999999999999999999s", None),
        ("3", None),
        ("3x", None),
        (".s", None),
        ("", None),
        ("-", None),
        ("1 s", None),
        ("é", None),
    ] {
        assert_eq!(super::super::duration::parse(text).ok(), expected, "{text}");
    }
}
