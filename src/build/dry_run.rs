//! `--dryrun`: what a build would do, as far as it can be known before anything runs.

use std::collections::BTreeSet;

use super::error::BuildError;
use super::evaluate::stages_read;
use super::export::Destinations;
use super::keys::StageKeys;
use super::records::Records;
use super::request::{BuildRequest, Services};
use super::salt;
use super::sources::Remotes;
use super::variant::{self, Variant};
use crate::image::Platform;
use crate::key::stage_key;
use crate::plan::{Base, StageIndex};
use crate::report::CacheTier;

/// A stage that would be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStage {
    /// What it is built for.
    pub platform: Platform,
    /// As the Dockerfile calls it; `stage-` and its number when it has no name.
    pub name: String,
    /// Image or stage that it starts from; `scratch`.
    pub base: String,
    /// In order.
    pub steps: Vec<PlannedStep>,
}

/// A step that makes a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// As the Dockerfile has it, on one line.
    pub instruction: String,
    /// Who has its result; `None`: it would run, unless another step's result turns out to be what it is.
    pub cached: Option<CacheTier>,
}

/// Plans the build and looks its steps up; nothing runs, nothing is written.
///
/// The stages come in the order of the Dockerfile, without those that a hit spares.
///
/// # Errors
/// As [`super::build`] before the first step: the destinations are asked, too.
pub fn dry_run(request: &BuildRequest, services: &Services<'_>) -> Result<Vec<PlannedStage>, BuildError> {
    plan(request, services).map_err(|error| error.located(&request.dockerfile.bytes))
}

fn plan(request: &BuildRequest, services: &Services<'_>) -> Result<Vec<PlannedStage>, BuildError> {
    let dockerfile = crate::dockerfile::parse(&request.dockerfile.bytes)?;
    // Uploads that it opened are cancelled at once.
    drop(Destinations::look(&request.outputs, services.registry)?);
    let (plans, images) = variant::plan(&dockerfile, request, services)?;
    let git_environment = services.git_environment.to_vec();
    let remotes = Remotes::new(services.http.clone(), git_environment, services.work, request.secrets.clone());
    let variants = variant::with_keys(plans, &images, services, &remotes, &salt(request))?;
    let records = Records::new(services, &request.caching);
    Ok(variants.iter().flat_map(|variant| stages(variant, &records)).collect())
}

fn stages(variant: &Variant, records: &Records<'_>) -> Vec<PlannedStage> {
    let (mut found, mut wanted) = (Vec::new(), BTreeSet::from([variant.plan.target]));
    // A stage needs only those before it.
    while let Some(index) = wanted.pop_last() {
        let (stage, below) = look_at(variant, index, records);
        found.push(stage);
        wanted.extend(below);
    }
    found.reverse();
    found
}

/// The stage, and those that it would need.
fn look_at(variant: &Variant, index: StageIndex, records: &Records<'_>) -> (PlannedStage, BTreeSet<StageIndex>) {
    let stage = &variant.plan.stages[index.0];
    let cached = tiers(&variant.keys[index.0], records);
    let missed = stage.steps.iter().zip(&cached).filter(|(_, tier)| tier.is_none());
    let mut needed: BTreeSet<StageIndex> = missed.flat_map(|(step, _)| stages_read(&step.op)).collect();
    let base = match &stage.base {
        Base::Scratch => "scratch".to_owned(),
        Base::Image(image) => image.reference.to_string(),
        Base::Stage(below) => {
            needed.insert(*below);
            variant.plan.stages[below.0].name.clone()
        }
    };
    let steps = variant.keys[index.0].steps.iter().zip(cached);
    let steps = steps.map(|(key, cached)| PlannedStep { instruction: key.instruction.clone(), cached }).collect();
    let (platform, name) = (variant.platform.clone(), stage.name.clone());
    (PlannedStage { platform, name, base, steps }, needed)
}

/// Who has the results of the steps: first asked for all at once, as a build does.
fn tiers(keys: &StageKeys, records: &Records<'_>) -> Vec<Option<CacheTier>> {
    let whole = (!keys.steps.is_empty()).then(|| records.look_up(&[stage_key(&keys.last())]).pop().flatten()).flatten();
    if let Some(hit) = whole {
        return keys.steps.iter().map(|_| Some(hit.tier)).collect();
    }
    let definition_keys: Vec<_> = keys.steps.iter().map(|step| step.keyed.key).collect();
    records.look_up(&definition_keys).into_iter().map(|hit| hit.map(|hit| hit.tier)).collect()
}
