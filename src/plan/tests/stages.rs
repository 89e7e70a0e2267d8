use super::*;

#[test]
fn faults_of_from() {
    for (text, message) in [
        ("FROM $X", "1: base name ($X) should not be blank"),
        (
            "ARG V\nFROM img:$V",
            "2: failed to parse stage name \"img:\": invalid reference format: \"img:\": malformed tag",
        ),
        ("FROM a AS B\nFROM B", "2: failed to parse stage name \"B\": invalid reference format"),
        ("FROM Bad::: AS unused\nFROM a", "1: failed to parse stage name \"Bad:::\""),
        ("FROM --platform=$X a", "1: empty platform value from expression $X"),
        ("FROM --platform=a/b/c/d a", "1: failed to parse platform a/b/c/d: invalid platform"),
        ("FROM --platform=nonsense scratch", "1: failed to parse platform nonsense"),
        ("FROM ${X:?give}", "1: failed to process \"${X:?give}\": X: give"),
        ("ARG A=${X?no}\nFROM a", "1: failed to process"),
        ("FROM SCRATCH", "1: failed to parse stage name \"SCRATCH\""),
    ] {
        let got = error(text);
        assert!(got.starts_with(message), "{text}: {got}");
    }
}

#[test]
fn bases_are_found_by_name() {
    let base = |text: &str| target(&plan(text)).base.clone();
    assert_eq!(base("from scratch"), Base::Scratch);
    assert_eq!(base("FrOm scratch"), Base::Scratch);
    assert_eq!(base("FROM a AS scratch\nFROM scratch"), Base::Stage(StageIndex(0)));
    assert_eq!(base("FROM a AS img\nRUN x\nFROM img"), Base::Stage(StageIndex(0)));
    let two = plan("FROM a AS x\nENV V=1\nFROM x\nCOPY --from=x / /\nFROM b AS x\nFROM x");
    assert_eq!(two.stages.len(), 2, "the second x hides the first");
    let first = plan_with(
        "FROM a AS x\nFROM x AS mid\nFROM b AS x\nFROM mid",
        &PlanOptions { target: Some("mid".into()), ..options() },
    );
    assert_eq!(first.stages.iter().map(|stage| &*stage.name).collect::<Vec<_>>(), ["x", "mid"]);
}

#[test]
fn the_image_name_may_come_from_arguments() {
    let text = "ARG REG=r.io TAG=1\nARG IMG=$REG/img:${TAG}\nFROM $IMG";
    assert_eq!(images(text), ["r.io/img:1 linux/amd64"]);
    let given = PlanOptions { build_args: BTreeMap::from([("TAG".into(), "$2".into())]), ..options() };
    assert!(error_with(text, &given).contains("r.io/img:$2"), "build arguments are never expanded");
}

#[test]
fn platforms() {
    let shown = |text: &str, options: &PlanOptions| {
        let (plan, images) = try_plan_with(text, options).expect(text);
        let config = &target(&plan).config;
        (target(&plan).platform.to_string(), config.platform().to_string(), images)
    };
    let arm = PlanOptions { platform: Some(platform("linux/arm64")), ..options() };
    let one = |p: &str, c: &str, images: &[&str]| {
        (p.to_owned(), c.to_owned(), images.iter().map(|i| (*i).to_owned()).collect::<Vec<_>>())
    };
    let (amd, arm64) = ("docker.io/library/a:latest linux/amd64", "docker.io/library/a:latest linux/arm64");
    assert_eq!(shown("FROM a", &options()), one("linux/amd64", "linux/amd64", &[amd]));
    assert_eq!(shown("FROM a", &arm), one("linux/arm64", "linux/arm64", &[arm64]));
    assert_eq!(shown("FROM --platform=linux/arm64 a", &options()), one("linux/arm64", "linux/arm64", &[arm64]));
    // The wanted platform is forced upon the image, whatever its base.
    assert_eq!(shown("FROM --platform=$BUILDPLATFORM a", &arm), one("linux/amd64", "linux/arm64", &[amd]));
    assert_eq!(shown("FROM --platform=linux/arm64 scratch", &options()), one("linux/amd64", "linux/amd64", &[]));
    assert_eq!(
        shown("FROM --platform=linux/arm64 a AS s\nFROM --platform=linux/s390x s", &options()),
        one("linux/arm64", "linux/arm64", &[arm64])
    );
    // Files are taken from the image for the target platform.
    let text = "FROM --platform=linux/amd64 scratch\nCOPY --from=a /x /x";
    assert_eq!(shown(text, &arm).2, [arm64]);
}

#[test]
fn forced_variant() {
    let options = PlanOptions { platform: Some(platform("linux/arm")), ..options() };
    let config = target(&plan_with("FROM --platform=linux/arm64 a", &options)).config.clone();
    assert_eq!((config.architecture.as_str(), config.variant.as_deref()), ("arm", Some("v7")));
}

#[test]
fn scratch_has_a_path_and_a_directory() {
    let plan = plan("FROM scratch");
    let stage = target(&plan);
    assert_eq!((stage.config.config.env.as_slice(), &*stage.config.config.working_dir), (&[PATH.to_owned()][..], "/"));
    assert!(stage.steps.is_empty() && stage.history.is_empty());
    assert_eq!(config("").env, ["PATH=/bin"]);
    let no_path = super::plan("FROM no-path");
    assert_eq!(target(&no_path).config.config.env, ["LANG=C", PATH]);
}

#[test]
fn targets() {
    let text = "FROM a AS one\nFROM b AS Two\nFROM c";
    let named = |name: &str| PlanOptions { target: Some(name.into()), ..options() };
    for (name, stage) in [("one", "one"), ("TWO", "two"), ("", "stage-2")] {
        assert_eq!(target(&plan_with(text, &named(name))).name, stage, "{name}");
    }
    assert_eq!(error_with(text, &named("1")), "0: target stage \"1\" could not be found");
    assert_eq!(error_with(text, &named("onr")), "0: target stage \"onr\" could not be found (did you mean one?)");
    assert_eq!(error_with(text, &named("stage-2")), "0: target stage \"stage-2\" could not be found");
}

#[test]
fn only_what_the_target_needs_is_planned() {
    let text = "FROM a AS base\nFROM unused\nRUN nothing\nFROM base AS left\nRUN l\nFROM tool AS mounted\n\
                FROM base\nCOPY --from=LEFT /l /l\nRUN --mount=from=mounted,target=/m true\nCOPY --from=img /i /i\n\
                COPY --from=2 /l /k";
    let (plan, images) = try_plan_with(text, &options()).expect(text);
    assert_eq!(
        plan.stages.iter().map(|stage| &*stage.name).collect::<Vec<_>>(),
        ["base", "left", "mounted", "stage-4"]
    );
    assert_eq!(images.len(), 3, "{images:?}");
    assert!(images.iter().all(|image| !image.contains("unused")));
    assert_eq!(target(&plan).base, Base::Stage(StageIndex(0)));
    let from: Vec<_> = copies(&plan).iter().map(|copy| copy.from.clone()).collect();
    assert_eq!((&from[0], &from[2]), (&Source::Stage(StageIndex(1)), &Source::Stage(StageIndex(1))));
    assert!(matches!(&from[1], Source::Image(image) if image.reference.repository() == "library/img"));
    assert!(matches!(runs(&plan)[0].mounts[0], Mount::Bind { from: Source::Stage(StageIndex(2)), .. }));
}

#[test]
fn stages_in_the_wrong_order() {
    for (text, message) in [
        ("FROM a AS me\nCOPY --from=me x y", "2: circular dependency detected on stage: me"),
        ("FROM a\nCOPY --from=0 x y", "2: circular dependency detected on stage: stage-0"),
        (
            "FROM a AS x\nCOPY --from=y f f\nFROM b AS y\nRUN --mount=from=x,target=/x true\nFROM c",
            "4: circular dependency detected on stage: x",
        ),
        (
            "FROM a AS x\nCOPY --from=Y f f\nFROM b AS y\nFROM x",
            "2: cannot copy from stage \"Y\", it needs to be defined before current stage \"x\"",
        ),
        (
            "FROM a AS x\nRUN --mount=from=y,target=$HOME/t true\nFROM b AS y\nFROM x",
            "2: cannot mount from stage \"y\" to \"/t\", stage needs to be defined before current command",
        ),
        (
            "FROM a AS a\nFROM a\nCOPY --from=a x y\nFROM b AS a\nFROM a AS last\nCOPY --from=1 x y",
            "3: cannot copy from stage \"a\"",
        ),
        ("FROM a\nCOPY --from=2 x y\nFROM b", "2: invalid stage index 2: the last stage of the file is 1"),
        ("FROM a\nCOPY --from=-1 x y\nFROM b", "2: invalid stage index -1: the last stage of the file is 1"),
        ("FROM a\nCOPY --from=Bad::: x y\nFROM b", "2: failed to parse stage name \"Bad:::\""),
        ("FROM a\nRUN --mount=from=Bad:::,target=/x true\nFROM b", "2: failed to parse stage name \"Bad:::\""),
        ("FROM a\nRUN --mount=from=$X,target=/x true\nFROM b", "2: 'from' doesn't support variable expansion"),
    ] {
        let got = error(text);
        assert!(got.starts_with(message), "{text}: {got}");
    }
    // Nobody needs the stage with the mistake.
    assert_eq!(plan("FROM a\nCOPY --from=y f f\nFROM b AS y\nFROM c").stages.len(), 1);
}

#[test]
fn a_diamond_is_no_circle() {
    let text = "FROM a AS top\nFROM b AS l\nCOPY --from=top x x\nFROM c AS r\nCOPY --from=top x x\n\
                FROM d\nCOPY --from=l x x\nCOPY --from=r x x";
    assert_eq!(plan(text).stages.len(), 4);
}

#[test]
fn mounts_name_stages_by_name_only() {
    assert_eq!(images("FROM scratch\nRUN --mount=from=0,target=/m true"), ["docker.io/library/0:latest linux/amd64"]);
}

#[test]
fn files_from_scratch_come_from_an_empty_stage() {
    let plan = plan("FROM a\nRUN --mount=from=scratch,target=/m,rw true");
    assert_eq!((plan.stages.len(), &plan.stages[0].base, plan.target), (2, &Base::Scratch, StageIndex(1)));
    assert!(plan.stages[0].steps.is_empty());
    assert!(matches!(runs(&plan)[0].mounts[0], Mount::Bind { from: Source::Stage(StageIndex(0)), .. }));
}

#[test]
fn stages_inherit_configuration_but_not_history() {
    let plan = plan("FROM rich AS base\nENV A=1\nUSER u\nFROM base\nENV B=2");
    let stage = target(&plan);
    assert_eq!(stage.config.config.env, ["PATH=/bin", "A=1", "B=2"]);
    assert_eq!((&*stage.config.config.user, &*stage.config.config.working_dir), ("u", "/home/app"));
    assert_eq!(history(&plan), ["ENV B=2"]);
}

#[test]
fn labels_asked_for_win_in_the_image_only() {
    let labels = vec![("a".into(), "cmd".into()), ("b".into(), "1".into()), ("b".into(), "2".into())];
    let plan = plan_with("FROM a AS s\nLABEL a=file c=file\nFROM s", &PlanOptions { labels, ..options() });
    let shown = |stage: &Stage| stage.config.config.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
    assert_eq!(shown(target(&plan)), ["a=cmd", "b=2", "c=file"]);
    assert_eq!(shown(&plan.stages[0]), ["a=file", "c=file"]);
    assert_eq!(history(&plan).len(), 0);
}
