use super::*;

fn run(body: &str) -> RunCommand {
    match one(body) {
        Kind::Run(run) => run.command,
        other => panic!("{other:?}"),
    }
}

fn transfer(body: &str) -> Transfer {
    match one(body) {
        Kind::Copy(copy) => copy.paths,
        Kind::Add(add) => add.paths,
        other => panic!("{other:?}"),
    }
}

fn heredoc(name: &str, body: &str, expand: bool, chomp: bool) -> Heredoc {
    Heredoc { name: name.to_owned(), body: body.to_owned(), expand, chomp }
}

#[test]
fn one_heredoc_alone_is_a_script() {
    for (body, expected) in [
        ("RUN <<EOF\necho\nEOF", heredoc("EOF", "echo\n", true, false)),
        ("RUN <<EOF\nEOF", heredoc("EOF", "", true, false)),
        ("RUN 3<<EOF\nEOF", heredoc("EOF", "", true, false)),
        ("RUN <<'EOF'\n$x\n# c\n\\\nEOF", heredoc("EOF", "$x\n# c\n\\\n", false, false)),
        ("RUN <<EO\"F\"\nEOF", heredoc("EOF", "", false, false)),
        ("RUN <<eo\\'f\nx\neo'f", heredoc("eo'f", "x\n", true, false)),
        ("RUN <<'one two'\nx\none two", heredoc("one two", "x\n", false, false)),
        ("RUN <<$EOF\n$EOF", heredoc("$EOF", "", true, false)),
        ("RUN <<  EOF\nEOF", heredoc("EOF", "", true, false)),
        ("RUN <<- EOF\n\tx\n\t\t y\n z\n\tEOF", heredoc("EOF", "x\n y\n z\n", true, true)),
        ("RUN << -EOF\n-EOF", heredoc("-EOF", "", true, false)),
        ("RUN --mount=type=cache,target=/x <<EOF\ny\nEOF", heredoc("EOF", "y\n", true, false)),
        ("RUN <<EOF\na\r\nEOF \n EOF\nEOF\r\n", heredoc("EOF", "a\r\nEOF \n EOF\n", true, false)),
    ] {
        assert_eq!(run(body), RunCommand::Script(expected), "{body:?}");
    }
}

#[test]
fn other_heredocs_go_to_the_shell() {
    for (body, expected) in [
        ("RUN cat <<EOF > /f\n\tx\nEOF", "cat <<EOF > /f\n\tx\nEOF"),
        ("RUN <<EOF sh\nx\nEOF\n", "<<EOF sh\nx\nEOF"),
        ("RUN <<  EOF > f\nEOF", "<<  EOF > f\nEOF"),
        ("RUN cat <<A && cat <<-'B'\na\nA\n\tb\n\tB", "cat <<A && cat <<-'B'\na\nA\n\tb\nB"),
        ("RUN <<A <<B\nB\nA\nA\nB", "<<A <<B\nB\nA\nA\nB"),
    ] {
        assert_eq!(run(body), RunCommand::Shell(expected.to_owned()), "{body:?}");
    }
}

#[test]
fn what_is_no_heredoc() {
    for text in [
        "echo <<<x",
        "echo '<<x'",
        "echo \"<<x\"",
        "cat<<x",
        "echo it's <<x",
        "echo <<",
        "echo ${#a} <<x",
        "echo <<\"x",
    ] {
        assert_eq!(run(&format!("RUN {text}")), RunCommand::Shell(text.to_owned()));
    }
    assert_eq!(instructions("ENV a <<b\nRUN c").len(), 2);
}

#[test]
fn files() {
    let found = transfer("COPY f <<a <<-\"b\" /d/\n$x\n\ty\na\n\t\tq\n\tb");
    assert_eq!(found.sources, ["f"]);
    assert_eq!(found.heredocs, [heredoc("a", "$x\n\ty\n", true, false), heredoc("b", "q\n", false, true)]);
    assert_eq!(found.destination, "/d/");
    let twice = transfer("ADD <<A <<A /d/\n1\nA\n2\nA");
    assert_eq!(twice.heredocs, [heredoc("A", "2\n", true, false), heredoc("A", "2\n", true, false)]);
}

#[test]
fn triggers() {
    let on_build = |body: &str| match one(body) {
        Kind::OnBuild(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(on_build("onbuild  env  A=b   c=d"), "env  A=b   c=d");
    assert_eq!(on_build("ONBUILD RUN echo a \\\n  b"), "RUN echo a   b");
    assert_eq!(on_build("ONBUILD RUN <<EOF\nx\nEOF\n"), "RUN <<EOF\nx\nEOF");
    assert_eq!(on_build("ONBUILD COPY <<-E /f\n\tx\n\tE\n"), "COPY <<-E /f\n\tx\nE");
    assert_eq!(on_build("ONBUILD CMD [\"<<E\"]"), "CMD [\"<<E\"]");
    // What a trigger says is looked at when it is triggered.
    for unread in ["NOPE x", "COPY x", "RUN --nope x", "ENV", "COPY --from=$x a b", "HEALTHCHECK x", "SHELL x"] {
        assert_eq!(on_build(&format!("ONBUILD {unread}")), unread);
    }
}

#[test]
fn triggers_parse_again() {
    let found = parse_trigger("RUN <<-EOF\n\tx\nEOF", '\\').unwrap();
    assert_eq!((found.span.start, found.span.end, found.text.as_str()), (1, 3, "RUN <<-EOF"));
    let Kind::Run(run) = found.kind else { panic!() };
    assert_eq!(run.command, RunCommand::Script(heredoc("EOF", "x\n", true, true)));
    assert_eq!(
        parse_trigger("env a=b`\n c=d", '`').unwrap().kind,
        Kind::Env(pairs(&[("a", Some("b")), ("c", Some("d"))]))
    );
    for (text, expected) in [
        ("", "file with no instructions"),
        ("FROM a", "dockerfile parse error on line 1: FROM isn't allowed as an ONBUILD trigger"),
        ("FETCH a", "dockerfile parse error on line 1: unknown instruction: FETCH"),
        ("RUN a\nRUN b", "onbuild trigger should be a single expression"),
        (
            "COPY a",
            "dockerfile parse error on line 1: COPY requires at least two arguments, but only one was \
                    provided. Destination could not be determined",
        ),
    ] {
        assert_eq!(parse_trigger(text, '\\').unwrap_err().to_string(), expected);
    }
    // No ONBUILD takes these, but an image can have them.
    assert_eq!(parse_trigger("maintainer a", '\\').unwrap().kind, Kind::Maintainer("a".to_owned()));
    assert_eq!(parse_trigger("ONBUILD RUN a", '\\').unwrap().kind, Kind::OnBuild("RUN a".to_owned()));
}
