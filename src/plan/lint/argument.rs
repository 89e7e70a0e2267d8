//! Build arguments that nothing asks for.

use crate::dockerfile::{Dockerfile, Kind, suggestion};
use crate::plan::error::did_you_mean;
use crate::plan::scope::{PROXIES, automatic};
use crate::plan::{Plan, PlanOptions};

/// What to say about build arguments that no ARG declares: most are typing mistakes. BuildKit takes
/// them without a word, so this is no rule of its lint.
pub fn check_arguments(dockerfile: &Dockerfile, options: &PlanOptions, plan: &Plan) -> Vec<String> {
    let mut declared = declared(dockerfile);
    declared.extend(plan.arguments.iter().map(String::as_str));
    let automatic = automatic(dockerfile, options);
    let is_known =
        |name: &String| declared.contains(&name.as_str()) || automatic.get(name).is_some() || is_for_the_builder(name);
    let unused = options.build_args.keys().filter(|name| !is_known(name));
    let warning = |name: &String| {
        let suggestion = suggestion::nearest(name, declared.iter().copied()).map(str::to_owned);
        format!("build argument {name} has no effect: no ARG declares it{}", did_you_mean(&suggestion))
    };
    unused.map(warning).collect()
}

/// The names of all ARGs of the file, also of stages that are not built.
fn declared(dockerfile: &Dockerfile) -> Vec<&str> {
    let instructions = dockerfile.stages.iter().flat_map(|stage| &stage.instructions).chain(&dockerfile.global_args);
    let pairs = instructions.filter_map(|instruction| match &instruction.kind {
        Kind::Arg(pairs) => Some(pairs),
        _ => None,
    });
    pairs.flatten().map(|pair| pair.name.as_str()).collect()
}

/// Has it a meaning without an ARG?
fn is_for_the_builder(name: &str) -> bool {
    let proxy = PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name));
    proxy || name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}
