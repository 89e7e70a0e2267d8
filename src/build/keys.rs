//! The definition keys of a whole plan, before anything runs.

use super::error::BuildError;
use super::inputs::Inputs;
use super::request::Services;
use super::resolve::BaseImages;
use super::sources::Remotes;
use crate::digest::{DiffId, chain_id};
use crate::key::{CacheKey, Keyed, SourceInput, copy_key, root_key, run_key, workdir_key};
use crate::plan::{Base, ImageRef, Op, Plan, Stage, Step};

/// The definition keys of one stage.
#[derive(Debug, Clone)]
pub(super) struct StageKeys {
    /// Of the stage's start.
    pub(super) root: CacheKey,
    /// One per step, in order.
    pub(super) steps: Vec<StepKey>,
}

/// The definition key of a step, with what its RUN mounts show.
#[derive(Debug, Clone)]
pub(super) struct StepKey {
    pub(super) keyed: Keyed,
    pub(super) mounted: Vec<SourceInput>,
    /// As the Dockerfile has it, one line.
    pub(super) instruction: String,
}

impl StageKeys {
    /// The key of the finished stage.
    pub(super) fn last(&self) -> CacheKey {
        self.steps.last().map_or(self.root, |step| step.keyed.key)
    }
}

/// The key of an image's file system.
pub(super) fn image_key(images: &BaseImages, image: &ImageRef) -> CacheKey {
    let diff_ids: Vec<DiffId> = images
        .get(image)
        .map(|base| base.layers.iter().map(|layer| layer.diff_id.clone()).collect())
        .unwrap_or_default();
    root_key(chain_id(&diff_ids).as_ref(), &image.platform)
}

/// Computes all definition keys, in plan order.
pub(super) fn definition_keys(
    plan: &Plan,
    images: &BaseImages,
    services: &Services<'_>,
    remotes: &Remotes,
    salt: &str,
) -> Result<Vec<StageKeys>, BuildError> {
    let mut inputs = Inputs { services, images, remotes, stages: Vec::new() };
    let mut all = Vec::with_capacity(plan.stages.len());
    for stage in &plan.stages {
        let keys = stage_keys(stage, &inputs, salt)?;
        inputs.stages.push(keys.last());
        all.push(keys);
    }
    Ok(all)
}

fn stage_keys(stage: &Stage, inputs: &Inputs<'_>, salt: &str) -> Result<StageKeys, BuildError> {
    let root = match &stage.base {
        Base::Scratch => root_key(None, &stage.platform),
        Base::Image(image) => image_key(inputs.images, image),
        Base::Stage(index) => inputs.stages[index.0],
    };
    let mut parent = root;
    let mut steps = Vec::with_capacity(stage.steps.len());
    for step in &stage.steps {
        let mut key = step_key(step, &parent, inputs, salt).map_err(|error| at_step(step, error))?;
        if let (Base::Image(image), true) = (&stage.base, steps.is_empty()) {
            // In the key by the parent; the name tells people more.
            let short: String = root.to_string().chars().take(12).collect();
            key.keyed.parts.insert("base".into(), format!("{} [{short}]", image.reference));
        }
        parent = key.keyed.key;
        steps.push(key);
    }
    Ok(StageKeys { root, steps })
}

fn step_key(step: &Step, parent: &CacheKey, inputs: &Inputs<'_>, salt: &str) -> Result<StepKey, BuildError> {
    let (keyed, mounted) = match &step.op {
        Op::Run(op) => {
            let mounted = inputs.of_run(op)?;
            (run_key(parent, salt, op, &mounted), mounted)
        }
        Op::Copy(op) => (copy_key(parent, salt, op, &inputs.of_copy(op)?), Vec::new()),
        Op::Workdir(op) => (workdir_key(parent, salt, op), Vec::new()),
    };
    Ok(StepKey { keyed, mounted, instruction: shorten(&step.title) })
}

/// It is kept in every record.
fn shorten(title: &str) -> String {
    const LIMIT: usize = 300;
    match title.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &title[..end]),
        None => title.to_owned(),
    }
}

/// Says which instruction an error belongs to.
pub(super) fn at_step(step: &Step, error: BuildError) -> BuildError {
    match error {
        already @ BuildError::Step { .. } => already,
        source => BuildError::Step { span: step.span, source: Box::new(source) },
    }
}
