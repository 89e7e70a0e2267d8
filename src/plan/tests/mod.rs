//! Whole Dockerfiles to plans, with the real parser.

mod arguments;
mod configuration;
mod copying;
mod lint;
mod named;
mod places;
mod properties;
mod running;
mod stages;
mod triggers;

use std::collections::BTreeMap;

use super::*;
use crate::dockerfile;
use crate::image::{ContainerConfig, ImageConfig, Platform};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn options() -> PlanOptions {
    PlanOptions::new(platform("linux/amd64"))
}

fn platform(text: &str) -> Platform {
    text.parse().expect(text)
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The configuration that the registry of these tests has for an image.
fn registry(image: &ImageRef) -> ImageConfig {
    let mut config = ContainerConfig { env: vec!["PATH=/bin".into()], ..ContainerConfig::default() };
    match image.reference.repository() {
        "library/no-path" => config.env = vec!["LANG=C".into()],
        "library/rich" => {
            config.entrypoint = Some(words("/entry"));
            config.cmd = Some(words("one two"));
            config.shell = Some(words("/bin/ash -ec"));
            config.user = "app".into();
            config.working_dir = "home/app".into();
        }
        "library/parent" => {
            config.on_build =
                ["ARG P=def", "ENV Q=$P", "COPY --from=tools /t /t", "RUN --mount=from=extra,target=/x make"]
                    .map(str::to_owned)
                    .into();
        }
        "library/broken-parent" => config.on_build = vec!["FETCH x".into()],
        _ => {}
    }
    let Platform { architecture, os, os_version, variant } = image.platform.clone();
    ImageConfig { architecture, os, os_version, variant, config, ..ImageConfig::default() }
}

/// Evaluates until all images are there; also the images that were asked for.
fn try_plan_with(text: &str, options: &PlanOptions) -> Result<(Plan, Vec<String>), PlanError> {
    let file = dockerfile::parse(text.as_bytes()).expect(text);
    let graph = Graph::new(&file, options)?;
    let mut images: BTreeMap<_, _> = graph.images().iter().map(|image| (image.clone(), registry(image))).collect();
    loop {
        match graph.evaluate(&images, &mut Vec::new())? {
            Evaluation::Ready(plan) => {
                let shown = |image: &ImageRef| format!("{} {}", image.reference, image.platform);
                return Ok((plan, images.keys().map(shown).collect()));
            }
            Evaluation::NeedsImages(more) => {
                assert!(more.iter().all(|image| !images.contains_key(image)), "asked twice");
                images.extend(more.into_iter().map(|image| (image.clone(), registry(&image))));
            }
        }
    }
}

fn plan_with(text: &str, options: &PlanOptions) -> Plan {
    try_plan_with(text, options).expect(text).0
}

fn plan(text: &str) -> Plan {
    plan_with(text, &options())
}

fn images(text: &str) -> Vec<String> {
    try_plan_with(text, &options()).expect(text).1
}

/// The message with its line in front, `0` for none.
fn error(text: &str) -> String {
    error_with(text, &options())
}

fn error_with(text: &str, options: &PlanOptions) -> String {
    let error = try_plan_with(text, options).expect_err(text);
    format!("{}: {error}", error.span.map_or(0, |span| span.start))
}

/// The target of a plan.
fn target(plan: &Plan) -> &Stage {
    &plan.stages[plan.target.0]
}

/// The finished configuration of a Dockerfile whose base is `base`.
fn config(instructions: &str) -> ContainerConfig {
    target(&plan(&format!("FROM base\n{instructions}"))).config.config.clone()
}

fn history(plan: &Plan) -> Vec<&str> {
    target(plan).history.iter().map(|entry| entry.created_by.as_str()).collect()
}

fn ops(stage: &Stage) -> Vec<&Op> {
    stage.steps.iter().map(|step| &step.op).collect()
}

/// The RUNs of the target.
fn runs(plan: &Plan) -> Vec<&RunOp> {
    ops(target(plan)).into_iter().filter_map(|op| if let Op::Run(run) = op { Some(run) } else { None }).collect()
}

/// The COPYs and ADDs of the target.
fn copies(plan: &Plan) -> Vec<&CopyOp> {
    ops(target(plan)).into_iter().filter_map(|op| if let Op::Copy(copy) = op { Some(copy) } else { None }).collect()
}

/// A variable of a RUN.
fn variable<'a>(run: &'a RunOp, name: &str) -> Option<&'a str> {
    run.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}
