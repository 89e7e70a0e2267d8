use super::*;

fn with(pairs: &[(&str, &str)]) -> PlanOptions {
    let build_args = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    PlanOptions { build_args, ..options() }
}

/// The value of X in the only RUN, which follows `instructions`.
fn x(instructions: &str, options: &PlanOptions) -> Option<String> {
    let plan = plan_with(&format!("{instructions}\nRUN true"), options);
    variable(runs(&plan)[0], "X").map(str::to_owned)
}

#[test]
fn scope_of_a_variable() {
    let given = with(&[("X", "given")]);
    for (instructions, default, overridden) in [
        ("FROM a", None, None),
        ("ARG X=global\nFROM a", None, None),
        ("ARG X=global\nFROM a\nARG X", Some("global"), Some("given")),
        ("ARG X=global\nFROM a\nARG X=own", Some("own"), Some("given")),
        ("FROM a\nARG X", None, Some("given")),
        ("FROM a\nARG X=", Some(""), Some("given")),
        ("FROM a\nENV X=1\nARG X", Some("1"), Some("given")),
        ("FROM a\nENV X=1\nARG X=2", Some("2"), Some("given")),
        ("FROM a\nARG X=2\nENV X=1", Some("1"), Some("1")),
        ("FROM a\nARG Y=1 X=$Y", Some("1"), Some("given")),
        ("FROM a\nENV Y=1\nENV Y=2 X=$Y", Some("1"), Some("1")),
        ("FROM a AS b\nARG X=1\nFROM b", Some("1"), Some("given")),
        ("FROM a AS b\nARG X=1\nFROM a", None, None),
        ("ARG Y=$TARGETARCH\nFROM a\nARG Y\nARG X=$Y", Some("amd64"), Some("given")),
        ("FROM a\nENV X=$TARGETARCH", Some(""), Some("")),
        ("FROM a\nARG TARGETARCH\nENV X=$TARGETARCH", Some("amd64"), Some("amd64")),
        ("FROM a\nARG TARGETARCH=foo\nENV X=$TARGETARCH", Some("foo"), Some("foo")),
        ("FROM a\nARG TARGETVARIANT\nENV X=${TARGETVARIANT-unset}", Some(""), Some("")),
        ("FROM a\nARG TARGETSTAGE\nENV X=$TARGETSTAGE", Some("default"), Some("default")),
        ("FROM a AS Last\nARG TARGETSTAGE\nENV X=$TARGETSTAGE", Some("last"), Some("last")),
        ("ARG X=${X}1\nARG X=${X}2\nFROM a\nARG X", Some("12"), Some("given")),
        ("FROM a\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nENV X=$BUILDKIT_SBOM_SCAN_STAGE", Some(""), Some("")),
    ] {
        assert_eq!(x(instructions, &options()).as_deref(), default, "{instructions}");
        assert_eq!(x(instructions, &given).as_deref(), overridden, "{instructions} with X given");
    }
}

#[test]
fn the_image_keeps_the_value_of_env() {
    let plan = plan_with("FROM a\nENV X=1\nARG X\nRUN true", &with(&[("X", "2")]));
    assert_eq!(variable(runs(&plan)[0], "X"), Some("2"));
    assert_eq!(target(&plan).config.config.env, ["PATH=/bin", "X=1"]);
}

#[test]
fn build_arguments_are_not_expanded_and_silence_the_default() {
    let plan = plan_with("FROM a\nARG X=${Y?unset}\nLABEL l=$X", &with(&[("X", "$Y 'q'")]));
    assert_eq!(target(&plan).config.config.labels["l"], "$Y 'q'");
    assert_eq!(history(&plan)[0], "ARG X=$Y 'q'");
    assert!(error("FROM a\nARG X=${Y?unset}").starts_with("2: failed to process"));
}

#[test]
fn automatic_variables_can_be_overridden() {
    let text =
        "FROM a\nARG TARGETPLATFORM BUILDPLATFORM TARGETARCH\nLABEL l=$TARGETPLATFORM,$BUILDPLATFORM,$TARGETARCH";
    let label = |options: &PlanOptions| target(&plan_with(text, options)).config.config.labels["l"].clone();
    let arm = PlanOptions { platform: Some(platform("linux/arm/v6")), ..with(&[("TARGETARCH", "mine")]) };
    assert_eq!(label(&options()), "linux/amd64,linux/amd64,amd64");
    assert_eq!(label(&arm), "linux/arm/v6,linux/amd64,mine");
    let mut windows = PlanOptions { platform: Some(platform("windows/amd64")), ..options() };
    windows.platform.as_mut().expect("set").os_version = Some("10.0".into());
    assert_eq!(label(&windows), "windows(10.0)/amd64,linux/amd64,amd64");
}

#[test]
fn target_stage_is_named_as_typed() {
    let options = PlanOptions { target: Some("ONE".into()), ..options() };
    let plan = plan_with("FROM a AS one\nARG TARGETSTAGE\nLABEL l=$TARGETSTAGE\nFROM b AS two", &options);
    assert_eq!(target(&plan).config.config.labels["l"], "ONE");
}

#[test]
fn history_of_arguments_and_of_runs_after_them() {
    let text = "FROM a AS base\nARG a=1\nRUN one\nFROM base\nENV n=5\nARG a=1 b n\nRUN [\"x\", \"y z\"]";
    let plan = plan(text);
    assert_eq!(history(&plan), ["ENV n=5", "ARG a=1 b n", "RUN |3 a=1 b= n=5 x y z # buildkit"]);
    assert_eq!(plan.stages[0].history[1].created_by, "RUN |1 a=1 /bin/sh -c one # buildkit");
}

#[test]
fn proxies_reach_processes_only() {
    let options = with(&[("http_proxy", "http://p"), ("NO_PROXY", "up"), ("no_proxy", "low"), ("FTP_PROXY", "")]);
    let plan = plan_with("FROM a\nRUN echo $http_proxy\nARG NO_PROXY\nRUN true", &options);
    let expected = [("HTTP_PROXY", "http://p"), ("http_proxy", "http://p"), ("NO_PROXY", "low"), ("no_proxy", "low")];
    let run = runs(&plan)[0];
    assert_eq!(run.proxy_env, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(variable(run, "http_proxy"), None);
    assert_eq!(
        history(&plan),
        [
            "RUN /bin/sh -c echo $http_proxy # buildkit",
            "ARG NO_PROXY=up",
            "RUN |1 NO_PROXY=up /bin/sh -c true # buildkit"
        ]
    );
}

#[test]
fn values_do_not_grow_without_end() {
    let doubling = "ENV A=$A$A$A$A\n".repeat(16);
    let got = error(&format!("FROM a\nENV A=xxxx\n{doubling}"));
    assert!(got.contains("the values are longer than"), "{got}");
}

#[test]
fn the_escape_directive_counts_in_words() {
    let plan = plan("# escape=`\nFROM a\nENV A=1\nENV P=c:\\x`$A$A");
    assert_eq!(target(&plan).config.config.env[2], "P=c:\\x$A1");
}
