use super::*;
use crate::dockerfile::lint::Warning;
use crate::pattern::Patterns;
use crate::plan::lint::{check_bases, check_ignored, check_pivots};

/// What the evaluation of the target warns of.
fn evaluated(text: &str, options: &PlanOptions) -> Vec<String> {
    let file = dockerfile::parse(text.as_bytes()).expect(text);
    let graph = Graph::new(&file, options).expect(text);
    let (mut images, mut warnings) = (BTreeMap::new(), Vec::new());
    let mut wanted = graph.images().clone();
    loop {
        images.extend(wanted.iter().map(|image| (image.clone(), registry(image))));
        match graph.evaluate(&images, &mut warnings).expect(text) {
            Evaluation::Ready(_) => return warnings.iter().map(Warning::to_string).collect(),
            Evaluation::NeedsImages(more) => wanted = more,
        }
    }
}

fn check_all(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(evaluated(text, &options()), *expected, "{text:?}");
    }
}

/// What the FROMs warn of.
fn bases(text: &str, options: &PlanOptions) -> Vec<String> {
    let file = dockerfile::parse(text.as_bytes()).expect(text);
    check_bases(&file, options).expect(text).iter().map(Warning::to_string).collect()
}

#[test]
fn shell_form_of_commands() {
    check_all(&[
        (
            "FROM base\nCMD a\nENTRYPOINT b\nHEALTHCHECK CMD c",
            &[
                "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 2)",
                "JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals (line 3)",
            ],
        ),
        ("FROM base\nCMD [\"a\"]\nENTRYPOINT [\"b\"]", &[]),
        ("FROM base\nSHELL [\"sh\", \"-c\"]\nCMD a", &[]),
        // This image has a SHELL.
        ("FROM rich\nCMD a", &[]),
    ]);
}

#[test]
fn relative_workdirs() {
    let message =
        "WorkdirRelativePath: Relative workdir \"app\" can have unexpected results if the base image changes (line 2)";
    check_all(&[
        ("FROM base\nWORKDIR app\nWORKDIR src", &[message]),
        ("FROM base\nENV D=app\nWORKDIR /$D\nWORKDIR src", &[]),
        ("FROM base AS a\nWORKDIR app\nFROM a\nWORKDIR src", &[message]),
        ("FROM base AS a\nWORKDIR /app\nFROM a\nWORKDIR src", &[]),
        ("FROM rich\nWORKDIR app", &[message]),
    ]);
}

#[test]
fn undefined_variables() {
    check_all(&[
        (
            "FROM base\nENV FOO=1\nCOPY $FO $FO /\nWORKDIR /$nothing",
            &[
                "UndefinedVar: Usage of undefined variable '$FO' (did you mean $FOO?) (line 3)",
                "UndefinedVar: Usage of undefined variable '$nothing' (line 4)",
            ],
        ),
        ("FROM base\nUSER ${u:-root}", &["UndefinedVar: Usage of undefined variable '$u' (line 2)"]),
        ("FROM base\nARG foo\nENV a=$foo b=$PATH", &[]),
        ("FROM base AS a\nARG foo\nFROM a\nENV a=$foo", &[]),
        ("FROM base\nARG a=1 b=$a", &[]),
        ("FROM base\nARG x=$x", &["UndefinedVar: Usage of undefined variable '$x' (line 2)"]),
        (
            "FROM base\nRUN --mount=target=/x$m echo $shell",
            &["UndefinedVar: Usage of undefined variable '$m' (line 2)"],
        ),
        ("FROM base\nLABEL a='$b' c=\\$d\nCMD [\"$e\"]\nEXPOSE 80$p", &[]),
        ("FROM base\nLABEL a=$TARGETARCH", &["UndefinedVar: Usage of undefined variable '$TARGETARCH' (line 2)"]),
        ("FROM base\nCOPY <<E /f\n$h\nE", &["UndefinedVar: Usage of undefined variable '$h' (line 2)"]),
        ("FROM base\nCOPY <<'E' /f\n$h\nE", &[]),
        // Only what is built counts.
        ("FROM base AS a\nLABEL a=$b\nFROM base", &[]),
    ]);
}

#[test]
fn triggers_are_checked_where_they_run() {
    let text = "FROM base AS a\nONBUILD ENV a $b\nFROM a";
    assert_eq!(
        evaluated(text, &options()),
        [
            "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 3)",
            "UndefinedVar: Usage of undefined variable '$b' (line 3)",
        ]
    );
}

#[test]
fn exposed_ports() {
    check_all(&[
        (
            "FROM base\nEXPOSE 80/TCP 90/udp",
            &["ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 2)"],
        ),
        (
            "FROM base\nENV P=1:2\nEXPOSE $P 127.0.0.1:80:80 100-110",
            &[
                "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '1:2' (line 3)",
                "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80' (line 3)",
            ],
        ),
    ]);
}

#[test]
fn undeclared_arguments_in_from() {
    for (text, expected) in [
        (
            "FROM --platform=$BULIDPLATFORM scratch",
            vec![
                "UndefinedArgInFrom: FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?) (line 1)",
            ],
        ),
        (
            "ARG TAG=1\nFROM a:${TAGS:-1}",
            vec!["UndefinedArgInFrom: FROM argument 'TAGS' is not declared (did you mean TAG?) (line 2)"],
        ),
        ("FROM --platform=$BUILDPLATFORM a", vec![]),
        ("ARG TAG\nFROM a:${TAG:-1}", vec![]),
    ] {
        assert_eq!(bases(text, &options()), expected, "{text:?}");
    }
}

#[test]
fn defaults_must_name_an_image() {
    let message = |base: &str, line: usize| {
        format!(
            "InvalidDefaultArgInFrom: Default value for ARG {base} results in empty or invalid base image name (line {line})"
        )
    };
    let given = PlanOptions { build_args: BTreeMap::from([("V".to_owned(), "1".to_owned())]), ..options() };
    for (text, expected) in [
        ("ARG V\nFROM a:$V", vec![message("a:$V", 2)]),
        ("ARG V\nFROM $V", vec![message("$V", 2)]),
        ("ARG V=1\nFROM a:$V", vec![]),
        ("ARG V\nFROM a${V:+:$V}", vec![]),
        ("ARG V=base\nFROM a AS base\nFROM $V", vec![]),
        ("FROM scratch", vec![]),
    ] {
        assert_eq!(bases(text, &given), expected, "{text:?}");
    }
}

#[test]
fn platforms_of_from() {
    let constant = |text: &str| {
        format!(
            "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"{text}\" (line 1)"
        )
    };
    let redundant = |text: &str| {
        format!(
            "RedundantTargetPlatform: Setting platform to predefined {text} in FROM is redundant as this is the default \
             behavior (line 1)"
        )
    };
    for (text, expected) in [
        ("FROM --platform=linux/amd64 a", vec![constant("linux/amd64")]),
        ("FROM --platform=linux/amd64 a AS base", vec![constant("linux/amd64")]),
        ("FROM --platform=linux/amd64 a AS base-amd64", vec![]),
        ("FROM --platform=linux/amd64 a AS linux", vec![]),
        ("FROM --platform=$TARGETPLATFORM a", vec![redundant("$TARGETPLATFORM")]),
        ("FROM --platform=${TARGETPLATFORM} a", vec![redundant("${TARGETPLATFORM}")]),
        ("FROM --platform=$BUILDPLATFORM a", vec![]),
        ("FROM --platform=$TARGETOS/$TARGETARCH a", vec![]),
        ("FROM a", vec![]),
    ] {
        assert_eq!(bases(text, &options()), expected, "{text:?}");
    }
}

#[test]
fn base_images_of_another_platform() {
    let file = dockerfile::parse(b"ARG I=img\nFROM $I").expect("Dockerfile");
    let options = PlanOptions { platform: Some(platform("linux/arm64")), ..options() };
    let graph = Graph::new(&file, &options).expect("graph");
    let with = |architecture: &str, os: &str| -> Vec<String> {
        let config = ImageConfig { architecture: architecture.into(), os: os.into(), ..ImageConfig::default() };
        let images = graph.images().iter().map(|image| (image.clone(), config.clone())).collect();
        let mut warnings = Vec::new();
        graph.evaluate(&images, &mut warnings).expect("evaluation");
        warnings.iter().map(Warning::to_string).collect()
    };
    assert_eq!(
        with("amd64", "linux"),
        [
            "InvalidBaseImagePlatform: Base image img was pulled with platform \"linux/amd64\", expected \"linux/arm64\" for current build (line 2)"
        ]
    );
    assert!(with("arm64", "linux").is_empty());
    assert!(with("", "").is_empty(), "nothing is known of it");
}

#[test]
fn copies_of_what_is_ignored() {
    let message = |word: &str, file: &str| {
        vec![format!(
            "CopyIgnoredFile: Attempting to {word} file \"{file}\" that is excluded by .dockerignore (line 2)"
        )]
    };
    for (instruction, ignore, expected) in [
        ("COPY foo /", "foo", message("Copy", "foo")),
        ("ADD ./foo/ /", "foo", message("Add", "foo")),
        ("COPY /foo/bar /", "foo", message("Copy", "/foo/bar")),
        ("COPY a.md b /", "*.md", message("Copy", "a.md")),
        ("COPY . /", "*", message("Copy", ".")),
        ("COPY / /", "**/*", message("Copy", "/")),
        ("COPY . /", "foo", vec![]),
        ("COPY sub/foo /", "foo", vec![]),
        ("COPY foo /", "foo\n!foo/bar", vec![]),
        ("COPY foo /", "", vec![]),
        ("COPY --from=other foo /", "foo", vec![]),
        ("COPY <<foo /\nx\nfoo", "foo", vec![]),
        ("ADD http://h/foo /", "**/foo", vec![]),
    ] {
        let ignore = Patterns::parse_file(ignore.as_bytes()).expect(ignore);
        let found = check_ignored(&plan(&format!("FROM base\n{instruction}")), &ignore);
        assert_eq!(found.iter().map(Warning::to_string).collect::<Vec<_>>(), expected, "{instruction}");
    }
}

#[test]
fn every_stage_can_be_evaluated() {
    let file = dockerfile::parse(b"FROM one AS a\nLABEL a=$b\nFROM two").expect("Dockerfile");
    let options = options();
    let graph = Graph::new(&file, &options).and_then(Graph::with_every_stage).expect("graph");
    let images = graph.images().iter().map(|image| (image.clone(), registry(image))).collect::<BTreeMap<_, _>>();
    assert_eq!(images.len(), 2);
    let mut warnings = Vec::new();
    let Ok(Evaluation::Ready(plan)) = graph.evaluate(&images, &mut warnings) else { panic!("not ready") };
    assert_eq!((plan.stages.len(), plan.target, warnings.len()), (2, StageIndex(1), 1));
}

#[test]
fn defaults_that_the_build_does_not_need_may_be_broken() {
    let mut options = options();
    options.build_args.insert("A".into(), "1".into());
    assert_eq!(bases("ARG A=${NOPE:?no}\nFROM base", &options), [""; 0]);
}

#[test]
fn parents_of_nothing() {
    let warned = |instruction: &str| check_pivots(&plan(&format!("FROM base\n{instruction}")));
    let instead = |source: &str, instead: &str| {
        vec![format!("COPY --parents {source} copies nothing, as with BuildKit; write COPY --parents {instead}")]
    };
    assert_eq!(warned("COPY --parents . /x/"), instead(".", "*"));
    assert_eq!(warned("COPY --parents a d/./ /x/"), instead("d/./", "d/./*"));
    assert_eq!(warned("COPY --parents ./d/. a/./b * /x/"), Vec::<String>::new());
    assert_eq!(warned("COPY . /x/"), Vec::<String>::new());
}
