//! Lint: before every build, and alone.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use super::BuildError;
use crate::dockerfile::lint::{CheckOptions, Warning, check_file};
use crate::dockerfile::{Dockerfile, parse};
use crate::image::ImageConfig;
use crate::pattern::Patterns;
use crate::plan::lint::{check_arguments, check_bases, check_ignored, check_pivots};
use crate::plan::{Evaluation, Graph, ImageRef, Plan, PlanOptions};
use crate::report::{Event, Observer};

/// Build argument that takes the place of the `check` directive.
const CHECK_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// A Dockerfile to check.
#[derive(Debug, Clone, Copy)]
pub struct CheckRequest<'a> {
    /// Raw.
    pub dockerfile: &'a [u8],
    /// As for a build; without a target all stages are evaluated.
    pub options: &'a PlanOptions,
    /// What the context leaves out.
    pub ignore: &'a Patterns,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// By line.
    pub warnings: Vec<Warning>,
    /// Why the Dockerfile cannot be built; the warnings are those up to there.
    pub error: Option<BuildError>,
}

/// Checks a Dockerfile without building it. `configuration` gives that of a base image, an empty
/// one if need be; it is called from several threads.
pub fn check(request: CheckRequest<'_>, configuration: &(dyn Fn(&ImageRef) -> ImageConfig + Sync)) -> CheckReport {
    let parsed = parse(request.dockerfile).map_err(BuildError::from);
    let selected = parsed.and_then(|dockerfile| Ok((check_options(&dockerfile, request.options)?, dockerfile)));
    let (checks, dockerfile) = match selected {
        Ok(selected) => selected,
        Err(error) => return CheckReport { error: Some(error), ..CheckReport::default() },
    };
    let mut found = check_file(&dockerfile);
    let error = evaluate(&dockerfile, request, configuration, &mut found).err();
    let error = error.map(|error| error.located(request.dockerfile));
    CheckReport { warnings: checks.select(found, &dockerfile), error }
}

/// Everything that needs more than the file; `found` also gets what was found before an error.
fn evaluate(
    dockerfile: &Dockerfile,
    request: CheckRequest<'_>,
    configuration: &(dyn Fn(&ImageRef) -> ImageConfig + Sync),
    found: &mut Vec<Warning>,
) -> Result<(), BuildError> {
    found.extend(check_bases(dockerfile, request.options)?);
    let mut graph = Graph::new(dockerfile, request.options)?;
    if request.options.target.as_deref().is_none_or(str::is_empty) {
        graph = graph.with_every_stage()?;
    }
    let mut images = configurations(graph.images(), configuration);
    loop {
        match graph.evaluate(&images, found)? {
            Evaluation::Ready(plan) => {
                found.extend(check_ignored(&plan, request.ignore));
                return Ok(());
            }
            Evaluation::NeedsImages(more) => images.extend(configurations(&more, configuration)),
        }
    }
}

/// Asks for all configurations side by side.
fn configurations(
    wanted: &BTreeSet<ImageRef>,
    configuration: &(dyn Fn(&ImageRef) -> ImageConfig + Sync),
) -> BTreeMap<ImageRef, ImageConfig> {
    thread::scope(|scope| {
        let running: Vec<_> = wanted.iter().map(|image| (image, scope.spawn(|| configuration(image)))).collect();
        let joined = running.into_iter().map(|(image, thread)| {
            (image.clone(), thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        joined.collect()
    })
}

/// Those of the build argument, else those of the directive.
fn check_options(dockerfile: &Dockerfile, options: &PlanOptions) -> Result<CheckOptions, BuildError> {
    let text = options.build_args.get(CHECK_ARGUMENT).or(dockerfile.directives.check.as_ref());
    Ok(text.map_or_else(|| Ok(CheckOptions::default()), |text| CheckOptions::parse(text))?)
}

/// What a build is warned of; `found` comes from its evaluation.
pub(super) struct Planned<'a> {
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) options: &'a PlanOptions,
    /// `None` when planning failed.
    pub(super) plan: Option<&'a Plan>,
    pub(super) ignore: &'a Patterns,
    pub(super) found: Vec<Warning>,
}

/// Tells the observer of all warnings, then fails if the Dockerfile wants that.
pub(super) fn warn(planned: Planned<'_>, observer: &dyn Observer) -> Result<(), BuildError> {
    let Planned { dockerfile, options, plan, ignore, mut found } = planned;
    let checks = check_options(dockerfile, options)?;
    found.extend(check_file(dockerfile));
    // What is wrong there is what planning failed with.
    found.extend(check_bases(dockerfile, options).unwrap_or_default());
    found.extend(plan.map(|plan| check_ignored(plan, ignore)).unwrap_or_default());
    let warnings = checks.select(found, dockerfile);
    for warning in &warnings {
        observer.event(Event::Warning(warning.to_string()));
    }
    if let Some(plan) = plan {
        for text in check_arguments(dockerfile, options, plan).into_iter().chain(check_pivots(plan)) {
            observer.event(Event::Warning(text));
        }
    }
    if !checks.error || warnings.is_empty() {
        return Ok(());
    }
    let rules: BTreeSet<&str> = warnings.iter().map(|warning| warning.rule.name).collect();
    Err(BuildError::Lint { rules: rules.into_iter().collect::<Vec<_>>().join(", ") })
}
