//! Every fault that is found while planning points at the word to blame.

use super::*;
use crate::dockerfile::{Caret, Listing};

/// What stands at the caret, `^` before it, and the message. Everything comes after `FROM a AS build`.
const PLACES: &[(&str, &str, &str)] = &[
    // Stages.
    ("FROM ${X}", "^${X}", "base name (${X}) should not be blank"),
    ("FROM Bad:::", "^Bad:::", "failed to parse stage name \"Bad:::\""),
    ("FROM --platform=$X build", "^--platform=$X", "empty platform value from expression $X"),
    ("FROM --platform=linux/ build", "^--platform=linux/", "failed to parse platform linux/"),
    ("FROM build AS b\nFROM ${V:?none}", "^${V:?none}", "V: none"),
    // --from.
    ("COPY --link --from=7 f /", "^--from=7", "invalid stage index 7: the last stage of the file is 0"),
    ("COPY --from=Bad::: f /", "^--from=Bad:::", "failed to parse stage name"),
    ("COPY a a\nCOPY --from=build a /", "^--from=build", "circular dependency detected on stage: build"),
    ("RUN --mount=from=later,target=/x y\nFROM a AS later", "^from=later", "cannot mount from stage \"later\""),
    ("COPY --from=later f /\nFROM a AS later", "^--from=later", "cannot copy from stage \"later\""),
    // COPY and ADD.
    ("COPY --chmod=9 f9 /", "^--chmod=9", "invalid chmod parameter: '9'"),
    ("COPY --chmod=\"u+q\" f /", "^--chmod=\"u+q\"", "invalid chmod parameter: 'u+q'"),
    ("ARG M=9\nCOPY --chmod=$M f /", "^--chmod=$M", "invalid chmod parameter: '9'"),
    ("COPY --chown=${O:?owner} f /", "^${O:?owner}", "O: owner"),
    ("COPY f https://h/x /", "^https://h/x", "source can't be a URL for COPY (did you mean ADD?)"),
    ("COPY git@h:x /", "^git@h:x", "source can't be a git ref for COPY (did you mean ADD?)"),
    ("ADD --checksum=sha256:ab https://h/x /", "^--checksum=sha256:ab", "invalid checksum"),
    ("ADD --checksum=sha256:ab f /", "^--checksum=sha256:ab", "checksum requires HTTP(S) or Git sources"),
    ("COPY <<a/b /x\nq\na/b", "^<<a/b", "invalid heredoc name"),
    ("COPY <<E /x\nfine\n ${x:?must} y\nE", "^${x:?must} y", "x: must"),
    // Mounts.
    (
        "RUN --mount=type=tmpfs,target=/a \\\n  --mount=type=cahce,target=/b c",
        "^type=cahce,target=/b",
        "unsupported mount type \"cahce\" (did you mean cache?)",
    ),
    ("RUN --mount=type=cache,targt=/x y", "^targt=/x", "unexpected key 'targt' in 'targt=/x' (did you mean target?)"),
    (
        "RUN --mount=type=cache,sharing=lokced,target=/x y",
        "^sharing=lokced",
        "unsupported sharing value \"lokced\" (did you mean locked?)",
    ),
    ("RUN --mount=type=cache,mode=9,target=/x y", "^mode=9", "invalid value 9 for mode"),
    ("RUN --mount=type=tmpfs,target=/x,size=1x y", "^size=1x", "invalid value for size: 1x"),
    ("RUN --mount=type=tmpfs,target=/x,ro=maybe y", "^ro=maybe", "invalid value for ro: maybe"),
    ("RUN --mount=target=/x,uid=1 y", "^uid=1", "uid not allowed for \"bind\" type mounts"),
    ("RUN --mount=target=/ y", "^target=/ y", "invalid mount target \"/\""),
    ("RUN --mount=target=/x,nonsense y", "^nonsense", "invalid field 'nonsense' must be a key=value pair"),
    (
        "RUN --mount=required,type=secret,id=s y",
        "^required,",
        "unexpected key 'required' for mount type 'bind': type= must stand before it",
    ),
    ("RUN --mount=type=secret,id=s,from=a y", "^from=a", "secret mount should not have a from"),
    ("RUN --mount=type=secret,id=s,src=t y", "^src=t", "both source and id can't be set"),
    ("RUN --mount=type=ssh,source=x y", "^source=x", "ssh does not support source"),
    ("RUN --mount=from=$X,target=/x y", "^from=$X", "'from' doesn't support variable expansion"),
    ("RUN --mount='target=\"a' y", "^", "failed to parse csv mounts"),
    // The rest.
    ("ENV A=1 \\\n  B=${x:?must}", "^${x:?must}", "x: must"),
    ("LABEL a=${b", "^${b", "missing '}'"),
    ("EXPOSE 80 http", "^http", "invalid containerPort: http"),
    ("ARG P=http\nEXPOSE 80 $P/tcp", "^$P/tcp", "invalid containerPort: http"),
    ("STOPSIGNAL SIGNOPE", "^SIGNOPE", "invalid signal: SIGNOPE"),
    ("VOLUME /a $X", "^$X", "VOLUME specified can not be an empty string"),
    ("WORKDIR /a/${x?}", "^/a/${x?}", "x: is not allowed to be unset"),
    ("RUN --security=insecure y", "^--security=insecure", "security.insecure is not allowed"),
    ("RUN --network=none --device=x y", "^--device=x", "RUN --device is not supported"),
];

fn located(source: &str) -> PlanError {
    let file = dockerfile::parse(source.as_bytes()).expect(source);
    let options = PlanOptions { target: Some("build".to_owned()), ..options() };
    let images = |graph: &Graph<'_>| graph.images().iter().map(|image| (image.clone(), registry(image))).collect();
    let planned = Graph::new(&file, &options).and_then(|graph| graph.evaluate(&images(&graph), &mut Vec::new()));
    planned.expect_err(source).located(&Listing::new("Dockerfile", source))
}

#[test]
fn faults_point_at_words() {
    for (body, place, message) in PLACES {
        let source = format!("FROM a AS build\n{body}\n");
        let error = located(&source);
        assert!(error.to_string().contains(message), "{body:?}: {error}");
        let Some(Caret { line, column }) = error.span.and_then(|span| span.caret) else {
            assert_eq!(*place, "^", "{body:?} has no caret");
            continue;
        };
        let line = source.lines().nth(line - 1).unwrap_or_default();
        let expected = place.strip_prefix('^').expect("a caret");
        assert!(line[column..].starts_with(expected), "{body:?}: {:?}", &line[column..]);
    }
}

#[test]
fn images_are_mentioned_where_they_are_named() {
    let text = "FROM a AS build\nFROM biuld AS b\nCOPY --from=biuld2 f /\nRUN --mount=from=zz,target=/z y";
    let file = dockerfile::parse(text.as_bytes()).expect(text);
    let options = options();
    let graph = Graph::new(&file, &options).expect(text);
    let listing = Listing::new("Dockerfile", text);
    let mentions = graph.images().iter().map(|image| {
        let found = graph.mention(image).expect("named").located(&listing);
        let column = found.span.caret.map(|caret| (caret.line, caret.column));
        (found.name, found.stage, column)
    });
    let (build, none) = (Some("build".to_owned()), None);
    let expected = [
        ("biuld".to_owned(), build.clone(), Some((2, 5))),
        ("biuld2".to_owned(), none.clone(), Some((3, 5))),
        ("zz".to_owned(), none, Some((4, 12))),
    ];
    assert_eq!(mentions.collect::<Vec<_>>(), expected);
}
