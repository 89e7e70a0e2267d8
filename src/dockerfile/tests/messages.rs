use super::*;

/// Instruction after `FROM a`, message, and what the caret points at.
const MESSAGES: &[(&str, &str, &str)] = &[
    ("FROM alpine # x", "FROM requires either one or three arguments", "alpine # x"),
    ("FROM", "FROM requires either one or three arguments", "FROM"),
    ("FROM a as", "FROM requires either one or three arguments", "a as"),
    (
        "FROM scratch AS 1X",
        "invalid name for build stage: \"1X\", name can't start with a number or contain symbols",
        "1X",
    ),
    ("FROM --x=1 a", "unknown flag: --x", "--x=1 a"),
    ("RUN [\"a\", 1]", "when using JSON array syntax, arrays must be comprised of strings only", "[\"a\", 1]"),
    ("COPY [\"a\", null]", "when using JSON array syntax, arrays must be comprised of strings only", "[\"a\", null]"),
    ("HEALTHCHECK CMD [[]]", "when using JSON array syntax, arrays must be comprised of strings only", "[[]]"),
    ("RUN []", "arguments are required", "[]"),
    ("RUN --network=nowhere x", "invalid network mode \"nowhere\"", "--network=nowhere x"),
    ("RUN --network=nome x", "invalid network mode \"nome\" (did you mean none?)", "--network=nome x"),
    ("RUN --security=x y", "security \"x\" is not valid", "--security=x y"),
    ("RUN --montu=type=cache x", "unknown flag: --montu (did you mean --mount?)", "--montu=type=cache x"),
    ("ENTRYPOINT --help", "unknown flag: --help", "--help"),
    ("ENV --a b=c", "unknown flag: --a", "--a b=c"),
    ("LABEL --a=1 b=c", "unknown flag: --a", "--a=1 b=c"),
    ("EXPOSE --a 80", "unknown flag: --a", "--a 80"),
    ("USER --a b", "unknown flag: --a", "--a b"),
    ("VOLUME --a b", "unknown flag: --a", "--a b"),
    ("WORKDIR --a b", "unknown flag: --a", "--a b"),
    ("SHELL --a [\"b\"]", "unknown flag: --a", "--a [\"b\"]"),
    ("MAINTAINER --boo joe", "unknown flag: --boo", "--boo joe"),
    ("ONBUILD --a RUN b", "unknown flag: --a", "--a RUN b"),
    ("COPY --link=yes a b", "expecting boolean value for flag --link, not: yes", "--link=yes a b"),
    ("COPY --link= a b", "missing a value on flag: --link", "--link= a b"),
    ("COPY --chown root a b", "missing a value on flag: --chown (write --chown=VALUE)", "--chown root a b"),
    ("COPY --from=a --from=b x y", "duplicate flag specified: --from", "--from=b x y"),
    ("COPY --CHOWN=1 a b", "unknown flag: --CHOWN (did you mean --chown?)", "--CHOWN=1 a b"),
    ("COPY --chwon=1 a b", "unknown flag: --chwon (did you mean --chown?)", "--chwon=1 a b"),
    (
        "COPY --from=$S . .",
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
        "$S . .",
    ),
    ("ADD --parents a b", "unknown flag: --parents", "--parents a b"),
    ("COPY a <<E", "unterminated heredoc", "<<E"),
    ("COPY a <<E\nE", "COPY cannot accept a heredoc as a destination", "<<E"),
    ("ADD a <<E\nE", "ADD cannot accept a heredoc as a destination", "<<E"),
    ("ENV a", "ENV must have two arguments", "a"),
    ("LABEL a", "LABEL must have two arguments", "a"),
    ("ENV", "ENV requires at least one argument", "ENV"),
    ("ENV a=1 b", "Syntax error - can't find = in \"b\". Must be of the form: name=value", "b"),
    ("ENV =1", "ENV names can not be blank", "=1"),
    ("ARG", "ARG requires at least one argument", "ARG"),
    ("ARG =1", "ARG names can not be blank", "=1"),
    ("EXPOSE", "EXPOSE requires at least one argument", "EXPOSE"),
    ("VOLUME []", "VOLUME requires at least one argument", "VOLUME []"),
    ("VOLUME [\" \"]", "VOLUME specified can not be an empty string", "VOLUME [\" \"]"),
    ("USER", "USER requires exactly one argument", "USER"),
    ("WORKDIR", "WORKDIR requires exactly one argument", "WORKDIR"),
    ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument", "STOPSIGNAL"),
    ("MAINTAINER", "MAINTAINER requires exactly one argument", "MAINTAINER"),
    ("SHELL /bin/bash -c", "SHELL requires the arguments to be in JSON form", "/bin/bash -c"),
    ("SHELL []", "SHELL requires at least one argument", "SHELL []"),
    ("SHELL", "SHELL requires at least one argument", "SHELL"),
    ("HEALTHCHECK", "HEALTHCHECK requires at least one argument", "HEALTHCHECK"),
    ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments", "x"),
    ("HEALTHCHECK CMD []", "Missing command after HEALTHCHECK CMD", "HEALTHCHECK CMD []"),
    ("HEALTHCHECK test x", "Unknown type \"TEST\" in HEALTHCHECK (try CMD)", "test x"),
    ("HEALTHCHECK --interval=1us CMD x", "Interval \"interval\" cannot be less than 1ms", "--interval=1us CMD x"),
    ("HEALTHCHECK --timeout=-1s CMD x", "Interval \"timeout\" cannot be less than 1ms", "--timeout=-1s CMD x"),
    ("HEALTHCHECK --timeout=3 CMD x", "time: missing unit in duration \"3\"", "--timeout=3 CMD x"),
    ("HEALTHCHECK --timeout=3y CMD x", "time: unknown unit \"y\" in duration \"3y\"", "--timeout=3y CMD x"),
    ("HEALTHCHECK --timeout=x CMD x", "time: invalid duration \"x\"", "--timeout=x CMD x"),
    ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)", "--retries=-1 CMD x"),
    ("HEALTHCHECK --retries=x CMD x", "strconv.ParseInt: parsing \"x\": invalid syntax", "--retries=x CMD x"),
    (
        "HEALTHCHECK --retries=2147483648 CMD x",
        "strconv.ParseInt: parsing \"2147483648\": value out of range",
        "--retries=2147483648 CMD x",
    ),
    ("HEALTHCHECK --interval=1s --interval=2s CMD x", "duplicate flag specified: --interval", "--interval=2s CMD x"),
    ("ONBUILD", "ONBUILD requires at least one argument", "ONBUILD"),
    ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger", "FROM x"),
    ("ONBUILD maintainer x", "MAINTAINER isn't allowed as an ONBUILD trigger", "maintainer x"),
    ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", "ONBUILD RUN x"),
    ("ONBUILD RUN [1]", "when using JSON array syntax, arrays must be comprised of strings only", "[1]"),
    ("ONBUILD HEALTHCHECK CMD [1]", "when using JSON array syntax, arrays must be comprised of strings only", "[1]"),
    ("ONBUILD ENV a", "ENV must have two arguments", "a"),
    ("ONBUILD LABEL a=b c", "Syntax error - can't find = in \"c\". Must be of the form: name=value", "c"),
    ("ONBUILD RUN <<E\nx", "unterminated heredoc", "<<E"),
    ("COPYY a b", "unknown instruction: COPYY (did you mean COPY?)", "COPYY a b"),
    ("rnu a", "unknown instruction: rnu (did you mean run?)", "rnu a"),
    ("NONSENSE", "unknown instruction: NONSENSE", "NONSENSE"),
    ("RUN <<E\n E\nE ", "unterminated heredoc", "<<E"),
];

#[test]
fn instructions_say_what_is_wrong() {
    for (body, expected, place) in MESSAGES {
        assert_eq!(message(body), *expected, "{body:?}");
        let source = format!("FROM a\n{body}");
        let span = parse(source.as_bytes()).unwrap_err().span;
        assert_eq!(span.start, 2, "{body:?}");
        let Caret { line, column } = span.caret.unwrap_or_else(|| panic!("{body:?} has no caret"));
        assert_eq!(&source.lines().nth(line - 1).unwrap()[column..], *place, "{body:?}");
    }
}

#[test]
fn files_say_what_is_wrong() {
    for (source, expected) in [
        ("", "the Dockerfile cannot be empty"),
        ("\u{FEFF}", "file with no instructions"),
        ("\n# c\n", "file with no instructions"),
        ("ARG a\n", "dockerfile contains no stages to build"),
        ("RUN a\nFROM b", "no build stage in current context"),
        (
            "# syntax=a\n# syntax=b\nFROM a",
            "dockerfile parse error on line 2: only one syntax parser directive can be used",
        ),
        ("# escape=x\nFROM a", "dockerfile parse error on line 1: invalid escape token 'x' does not match ` or \\"),
        ("FROM a\n\n\\\n", "dockerfile parse error on line 3: unknown instruction: "),
    ] {
        assert_eq!(parse(source.as_bytes()).unwrap_err().to_string(), expected, "{source:?}");
    }
}

#[test]
fn lines_have_a_limit() {
    let source = |length: usize| format!("FROM a\nRUN {}", "x".repeat(length - 4));
    assert!(parse(source(65_535).as_bytes()).is_ok());
    let error = parse(format!("{}\n", source(65_536)).as_bytes()).unwrap_err();
    assert_eq!(
        error.message,
        "dockerfile parse error on line 2: dockerfile line greater than max allowed size of 65535"
    );
    let joined = format!("FROM a\nRUN {}", format!("{} \\\n", "x".repeat(60_000)).repeat(3));
    assert!(parse(joined.as_bytes()).is_ok());
}

#[test]
fn rendered_with_a_caret() {
    let source = "FROM a\n\tCOPY --chown=1 --chown=2 f /a\nRUN b\nRUN c\n";
    let error = parse(source.as_bytes()).unwrap_err();
    assert_eq!(error.span, Span { caret: Some(Caret { line: 2, column: 16 }), ..Span::lines(2, 2) });
    let expected = "\
dockerfile parse error on line 2: duplicate flag specified: --chown
 --> dir/Dockerfile:2:17
1 | FROM a
2 |     COPY --chown=1 --chown=2 f /a
  |                    ^
3 | RUN b
";
    assert_eq!(render(&error.message, error.span, "dir/Dockerfile", source), expected);
}

#[test]
fn rendered_without_a_column() {
    let source =
        format!("FROM a\n{}RUN <<E\n{}E\nRUN \u{1B}[31m{}\n", "\n".repeat(7), "x\n".repeat(9), "y".repeat(200));
    let long = render("m", Span::lines(9, 19), "D", &source);
    assert_eq!(long, "m\n  --> D:9\n 8 |\n 9 > RUN <<E\n10 > x\n11 > x\n12 > x\n13 > x\n   | ...\n");
    let cut = render("m", Span { caret: Some(Caret { line: 20, column: 190 }), ..Span::lines(20, 20) }, "D", &source);
    assert_eq!(cut, format!("m\n  --> D:20:191\n19 | E\n20 | RUN \u{FFFD}[31m{}...\n", "y".repeat(151)));
    assert_eq!(render("m", Span::default(), "D", &source), "m\n");
    assert_eq!(render("m", Span::lines(99, 99), "D", &source), "m\n");
}
