//! Named contexts in the place of stages and images.

use super::*;

fn with(contexts: &[(&str, NamedContext)]) -> PlanOptions {
    let mut named = NamedContexts::default();
    contexts.iter().for_each(|(name, context)| named.insert(name, context.clone()));
    PlanOptions { contexts: named, ..options() }
}

fn image(text: &str) -> NamedContext {
    NamedContext::Image(text.parse().unwrap())
}

fn asked_for(text: &str, options: &PlanOptions) -> Vec<String> {
    try_plan_with(text, options).unwrap().1
}

#[test]
fn an_image_replaces_an_image_by_any_of_its_names() {
    for name in ["alpine", "alpine:latest", "docker.io/library/alpine", "index.docker.io/library/alpine:latest"] {
        let options = with(&[(name, image("other:1"))]);
        for from in ["alpine", "docker.io/library/alpine:latest"] {
            assert_eq!(
                asked_for(&format!("FROM {from}"), &options),
                ["docker.io/library/other:1 linux/amd64"],
                "{name}"
            );
        }
        assert_eq!(asked_for("FROM alpine:3", &options), ["docker.io/library/alpine:3 linux/amd64"]);
    }
    let options = with(&[("a", image("x")), ("a::linux/aarch64", image("y")), ("b", NamedContext::Scratch)]);
    assert_eq!(asked_for("FROM --platform=linux/arm64 a", &options), ["docker.io/library/y:latest linux/arm64"]);
    let text = "FROM scratch\nCOPY --from=a / /\nRUN --mount=from=a,target=/m x\nCOPY --from=b / /";
    assert_eq!(asked_for(text, &options), ["docker.io/library/x:latest linux/amd64"]);
}

#[test]
fn a_stage_is_replaced_with_all_that_it_does() {
    let text = "FROM none AS s\nARG A=1\nENV B=2\nONBUILD RUN trigger\nRUN fails\nFROM s\nCOPY --from=0 / /\nRUN x";
    let (plan, images) = try_plan_with(text, &with(&[("s", image("rich"))])).unwrap();
    assert_eq!(images, ["docker.io/library/rich:latest linux/amd64"]);
    assert!(plan.stages[0].steps.is_empty());
    assert_eq!((runs(&plan).len(), target(&plan).config.config.env.clone()), (1, vec!["PATH=/bin".to_owned()]));
    assert!(matches!(copies(&plan)[0].from, Source::Image(_)));
    let replaced = PlanOptions { target: Some("s".into()), ..with(&[("s", NamedContext::Scratch)]) };
    let (plan, images) = try_plan_with(text, &replaced).unwrap();
    assert_eq!((images.len(), &target(&plan).base, target(&plan).steps.len()), (0, &Base::Scratch, 0));
}

#[test]
fn files_are_a_first_layer_or_a_source() {
    let options = with(&[("f", NamedContext::Files), ("s", NamedContext::Files)]);
    let key = NamedContexts::key("f");
    let text = "FROM f AS s\nRUN no\nFROM f\nCOPY --from=f a /\nCOPY --from=s b /\nRUN --mount=from=f,target=/m x";
    let (plan, images) = try_plan_with(text, &options).unwrap();
    assert!(images.is_empty());
    let stage = target(&plan);
    assert_eq!((plan.stages.len(), &stage.base, stage.steps.len()), (1, &Base::Scratch, 4));
    let from: Vec<_> = copies(&plan).iter().map(|op| op.from.clone()).collect();
    assert_eq!(from[..2], [Source::Named(key.clone()), Source::Named(key)]);
    assert_eq!(from[2], Source::Named(NamedContexts::key("s")));
}

#[test]
fn a_stage_stands_in_for_a_stage_or_an_image() {
    let stage = |name: &str| NamedContext::Stage(name.to_owned());
    let text = "FROM scratch AS base\nENV A=1\nCOPY x /\nFROM none AS s\nRUN no\nFROM alpine\nCOPY --from=s a /\nRUN --mount=from=debian:12,target=/m x";
    let options = with(&[("s", stage("base")), ("alpine", stage("BASE")), ("debian:12", stage("s"))]);
    let (plan, images) = try_plan_with(text, &options).unwrap();
    assert!(images.is_empty());
    assert_eq!((plan.stages.len(), &target(&plan).base), (2, &Base::Stage(StageIndex(0))));
    assert_eq!(copies(&plan)[0].from, Source::Stage(StageIndex(0)));
    assert!(target(&plan).config.config.env.contains(&"A=1".to_owned()));
    // The target itself.
    let replaced = PlanOptions { target: Some("s".into()), ..options };
    assert_eq!(target(&try_plan_with(text, &replaced).unwrap().0).steps.len(), 0);
    for (name, wanted, message) in [
        (
            "alpine",
            "bose",
            "failed to replace \"alpine\": there is no stage \"bose\" before this one (did you mean base?)",
        ),
        ("base", "s", "failed to replace \"base\": there is no stage \"s\" before this one"),
        ("base", "base", "failed to replace \"base\": there is no stage \"base\" before this one"),
    ] {
        let error = try_plan_with(text, &with(&[(name, stage(wanted))])).unwrap_err();
        assert_eq!(error.fault.to_string(), message);
    }
    // COPY learns that its stage is later as it does without a context.
    let late = PlanOptions { target: Some("u".into()), ..with(&[("x", stage("l"))]) };
    let error = try_plan_with("FROM scratch AS u\nCOPY --from=x a /\nFROM scratch AS l", &late).unwrap_err();
    assert!(error.fault.to_string().contains("it needs to be defined before"), "{}", error.fault);
}

#[test]
fn scratch_and_context_stay_what_they_are() {
    let options = with(&[("scratch", image("x")), ("context", image("y"))]);
    assert!(asked_for("FROM scratch\nCOPY --from=scratch / /", &options).is_empty());
    assert_eq!(asked_for("FROM context", &options), ["docker.io/library/context:latest linux/amd64"]);
}
