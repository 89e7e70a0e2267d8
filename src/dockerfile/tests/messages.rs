use super::*;

/// Instruction after `FROM a`, message.
const MESSAGES: &[(&str, &str)] = &[
    ("FROM alpine # x", "FROM requires either one or three arguments"),
    ("FROM", "FROM requires either one or three arguments"),
    ("FROM a as", "FROM requires either one or three arguments"),
    ("FROM scratch AS 1X", "invalid name for build stage: \"1X\", name can't start with a number or contain symbols"),
    ("FROM --x=1 a", "unknown flag: --x"),
    ("RUN [\"a\", 1]", "when using JSON array syntax, arrays must be comprised of strings only"),
    ("COPY [\"a\", null]", "when using JSON array syntax, arrays must be comprised of strings only"),
    ("HEALTHCHECK CMD [[]]", "when using JSON array syntax, arrays must be comprised of strings only"),
    ("RUN []", "arguments are required"),
    ("RUN --network=nowhere x", "invalid network mode \"nowhere\""),
    ("RUN --security=x y", "security \"x\" is not valid"),
    ("RUN --montu=type=cache x", "unknown flag: --montu (did you mean mount?)"),
    ("ENTRYPOINT --help", "unknown flag: --help"),
    ("ENV --a b=c", "unknown flag: --a"),
    ("LABEL --a=1 b=c", "unknown flag: --a"),
    ("EXPOSE --a 80", "unknown flag: --a"),
    ("USER --a b", "unknown flag: --a"),
    ("VOLUME --a b", "unknown flag: --a"),
    ("WORKDIR --a b", "unknown flag: --a"),
    ("SHELL --a [\"b\"]", "unknown flag: --a"),
    ("MAINTAINER --boo joe", "unknown flag: --boo"),
    ("ONBUILD --a RUN b", "unknown flag: --a"),
    ("COPY --link=yes a b", "expecting boolean value for flag --link, not: yes"),
    ("COPY --link= a b", "missing a value on flag: --link"),
    ("COPY --chown root a b", "missing a value on flag: --chown"),
    ("COPY --from=a --from=b x y", "duplicate flag specified: --from"),
    ("COPY --CHOWN=1 a b", "unknown flag: --CHOWN"),
    ("COPY --chwon=1 a b", "unknown flag: --chwon (did you mean chown?)"),
    (
        "COPY --from=$S . .",
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as \
         a workaround",
    ),
    ("ADD --parents a b", "unknown flag: --parents"),
    ("COPY a <<E", "unterminated heredoc"),
    ("COPY a <<E\nE", "COPY cannot accept a heredoc as a destination"),
    ("ADD a <<E\nE", "ADD cannot accept a heredoc as a destination"),
    ("ENV a", "ENV must have two arguments"),
    ("LABEL a", "LABEL must have two arguments"),
    ("ENV", "ENV requires at least one argument"),
    ("ENV a=1 b", "Syntax error - can't find = in \"b\". Must be of the form: name=value"),
    ("ENV =1", "ENV names can not be blank"),
    ("ARG", "ARG requires at least one argument"),
    ("ARG =1", "ARG names can not be blank"),
    ("EXPOSE", "EXPOSE requires at least one argument"),
    ("VOLUME []", "VOLUME requires at least one argument"),
    ("VOLUME [\" \"]", "VOLUME specified can not be an empty string"),
    ("USER", "USER requires exactly one argument"),
    ("WORKDIR", "WORKDIR requires exactly one argument"),
    ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
    ("MAINTAINER", "MAINTAINER requires exactly one argument"),
    ("SHELL /bin/bash -c", "SHELL requires the arguments to be in JSON form"),
    ("SHELL []", "SHELL requires at least one argument"),
    ("SHELL", "SHELL requires at least one argument"),
    ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
    ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
    ("HEALTHCHECK CMD []", "Missing command after HEALTHCHECK CMD"),
    ("HEALTHCHECK test x", "Unknown type \"TEST\" in HEALTHCHECK (try CMD)"),
    ("HEALTHCHECK --interval=1us CMD x", "Interval \"interval\" cannot be less than 1ms"),
    ("HEALTHCHECK --timeout=-1s CMD x", "Interval \"timeout\" cannot be less than 1ms"),
    ("HEALTHCHECK --timeout=3 CMD x", "time: missing unit in duration \"3\""),
    ("HEALTHCHECK --timeout=3y CMD x", "time: unknown unit \"y\" in duration \"3y\""),
    ("HEALTHCHECK --timeout=x CMD x", "time: invalid duration \"x\""),
    ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
    ("HEALTHCHECK --retries=x CMD x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
    ("HEALTHCHECK --retries=2147483648 CMD x", "strconv.ParseInt: parsing \"2147483648\": value out of range"),
    ("HEALTHCHECK --interval=1s --interval=2s CMD x", "duplicate flag specified: --interval"),
    ("ONBUILD", "ONBUILD requires at least one argument"),
    ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
    ("ONBUILD maintainer x", "MAINTAINER isn't allowed as an ONBUILD trigger"),
    ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
    (
        "ONBUILD COPY x",
        "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
    ),
    ("ONBUILD RUN <<E\nx", "unterminated heredoc"),
    ("COPYY a b", "unknown instruction: COPYY (did you mean COPY?)"),
    ("rnu a", "unknown instruction: rnu (did you mean run?)"),
    ("NONSENSE", "unknown instruction: NONSENSE"),
    ("RUN <<E\n E\nE ", "unterminated heredoc"),
];

#[test]
fn instructions_say_what_is_wrong() {
    for (body, expected) in MESSAGES {
        assert_eq!(message(body), *expected, "{body:?}");
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
    assert_eq!(error.span, Span { start: 2, end: 2, column: Some(16) });
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
    let long = render("m", Span { start: 9, end: 19, column: None }, "D", &source);
    assert_eq!(long, "m\n  --> D:9\n 8 |\n 9 > RUN <<E\n10 > x\n11 > x\n12 > x\n13 > x\n   | ...\n");
    let cut = render("m", Span { start: 20, end: 20, column: Some(190) }, "D", &source);
    assert_eq!(cut, format!("m\n  --> D:20:191\n19 | E\n20 | RUN \u{FFFD}[31m{}...\n", "y".repeat(151)));
    assert_eq!(render("m", Span::default(), "D", &source), "m\n");
    assert_eq!(render("m", Span { start: 99, end: 99, column: None }, "D", &source), "m\n");
}
