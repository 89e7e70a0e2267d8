//! Demand-driven evaluation: from the target back, a stage is looked at only when a miss needs it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::error::BuildError;
use super::inputs::mounted_source;
use super::keys::{StageKeys, at_step};
use super::materials::Materials;
use super::progress::Progress;
use super::records::{Outcome, Records};
use super::request::{BuildRequest, Services};
use super::resolve::BaseImages;
use super::run::{CopiedSources, Rooms};
use super::sources::Remotes;
use super::state::{StageState, StateLayer};
use super::variant::Variant;
use crate::cache::Hit;
use crate::key::{CacheKey, Keyed, stage_key};
use crate::plan::{Base, Op, Plan, Source, StageIndex, Step};
use crate::report::{CacheTier, StepNumber};

/// Brings stages into being, one platform after the other.
pub(super) struct Evaluator<'a> {
    pub(super) request: &'a BuildRequest,
    /// Part of every key.
    pub(super) salt: &'a str,
    pub(super) services: &'a Services<'a>,
    pub(super) variants: &'a [Variant],
    /// Which of them is being built.
    pub(super) current: usize,
    pub(super) images: &'a BaseImages,
    pub(super) materials: Materials<'a>,
    pub(super) records: Records<'a>,
    pub(super) progress: Progress<'a>,
    pub(super) remotes: &'a Remotes,
    pub(super) rooms: Rooms<'a>,
    /// Of this variant.
    pub(super) finished: BTreeMap<StageIndex, Arc<StageState>>,
    /// Of all variants so far: what does not depend on the platform is made once.
    pub(super) made: BTreeMap<CacheKey, Made>,
    /// Sources of bind mounts that were copied out, of this variant.
    pub(super) copied: CopiedSources,
    /// Number of files and directories made for mounts.
    pub(super) mounted_files: usize,
}

/// The result of a step of this build, by its definition key.
#[derive(Clone)]
pub(super) struct Made {
    layer: StateLayer,
    /// It, or a step before it in its stage, really ran.
    diverged: bool,
}

/// What a step needs to know about itself.
#[derive(Clone, Copy)]
pub(super) struct StepPlace<'a> {
    pub(super) step: &'a Step,
    pub(super) keys: &'a super::keys::StepKey,
    /// In the whole build.
    pub(super) number: usize,
    pub(super) stage: StageIndex,
}

impl<'a> Evaluator<'a> {
    /// Goes on with another platform; what was made so far is kept.
    pub(super) fn turn_to(&mut self, variant: usize) {
        self.current = variant;
        self.finished.clear();
        self.copied.clear();
    }

    pub(super) fn variant(&self) -> &'a Variant {
        &self.variants[self.current]
    }

    /// The finished stage.
    pub(super) fn stage(&mut self, index: StageIndex) -> Result<Arc<StageState>, BuildError> {
        if let Some(done) = self.finished.get(&index) {
            return Ok(Arc::clone(done));
        }
        let state = match self.whole_stage_hit(index) {
            Some(state) => state,
            None => self.step_by_step(index)?,
        };
        let state = Arc::new(state);
        self.finished.insert(index, Arc::clone(&state));
        Ok(state)
    }

    /// One look-up for everything: the stage record.
    fn whole_stage_hit(&self, index: StageIndex) -> Option<StageState> {
        let chain = self.chain(index);
        let steps: usize = chain.iter().map(|stage| self.plan().stages[stage.0].steps.len()).sum();
        if steps == 0 {
            return None;
        }
        let hit = self.records.look_up(&[stage_key(&self.keys(index).last())]).pop().flatten()?;
        if hit.record.layers.len() != steps {
            return None;
        }
        let mut state = self.image_state(*chain.last()?);
        hit.record.layers.iter().for_each(|layer| state.push(StateLayer::of_record(layer)));
        for stage in chain.iter().rev() {
            let numbers = self.numbers(*stage);
            numbers.into_iter().for_each(|number| self.progress.cached(number, hit.tier));
        }
        Some(state)
    }

    fn plan(&self) -> &'a Plan {
        &self.variant().plan
    }

    fn keys(&self, index: StageIndex) -> &'a StageKeys {
        &self.variant().keys[index.0]
    }

    fn numbers(&self, index: StageIndex) -> Vec<StepNumber> {
        let name = &self.plan().stages[index.0].name;
        self.keys(index).steps.iter().map(|step| self.progress.number(name, &step.keyed.key)).collect()
    }

    /// `index` and the stages that it is built FROM, down to the one that starts at an image.
    fn chain(&self, index: StageIndex) -> Vec<StageIndex> {
        let mut chain = vec![index];
        let mut at = index;
        while let Base::Stage(below) = self.plan().stages[at.0].base {
            chain.push(below);
            at = below;
        }
        chain
    }

    fn image_state(&self, index: StageIndex) -> StageState {
        match &self.plan().stages[index.0].base {
            Base::Image(image) => {
                StageState::of_image(self.images.get(image).map(|base| base.layers.clone()).unwrap_or_default())
            }
            Base::Scratch | Base::Stage(_) => StageState::default(),
        }
    }

    fn base_state(&mut self, index: StageIndex) -> Result<StageState, BuildError> {
        match self.plan().stages[index.0].base {
            Base::Stage(below) => Ok(self.stage(below)?.as_ref().clone()),
            Base::Scratch | Base::Image(_) => Ok(self.image_state(index)),
        }
    }

    fn step_by_step(&mut self, index: StageIndex) -> Result<StageState, BuildError> {
        let mut state = self.base_state(index)?;
        let (stage, keys) = (&self.plan().stages[index.0], self.keys(index));
        let definition_keys: Vec<CacheKey> = keys.steps.iter().map(|step| step.keyed.key).collect();
        let mut hits = self.records.look_up(&definition_keys);
        // Once a step has run, what later records were made on may be something else: from there
        // on only content keys count.
        let mut diverged = false;
        for ((step, keys), number) in stage.steps.iter().zip(&keys.steps).zip(self.numbers(index)) {
            let hit = hits.remove(0).filter(|_| !diverged && self.records.covers(&step.op));
            diverged |= match self.take_made(&mut state, &keys.keyed.key, number) {
                Some(ran) => ran,
                None => {
                    let place = StepPlace { step, keys, number, stage: index };
                    self.step(&mut state, place, hit, diverged).map_err(|error| at_step(step, error))?
                }
            };
            self.note_made(keys.keyed.key, &state, diverged);
        }
        self.records.save_stage(stage_key(&keys.last()), &state, stage);
        Ok(state)
    }

    /// Takes the result of the same step for another platform or stage; tells whether its stage had
    /// really run something by then.
    fn take_made(&self, state: &mut StageState, key: &CacheKey, number: StepNumber) -> Option<bool> {
        let made = self.made.get(key)?;
        state.push(made.layer.clone());
        self.progress.cached(number, CacheTier::Local);
        Some(made.diverged)
    }

    fn note_made(&mut self, key: CacheKey, state: &StageState, diverged: bool) {
        if let Some(layer) = state.layers().last() {
            self.made.insert(key, Made { layer: layer.clone(), diverged });
        }
    }

    /// Returns whether the step really ran.
    fn step(
        &mut self,
        state: &mut StageState,
        place: StepPlace<'_>,
        hit: Option<Hit>,
        diverged: bool,
    ) -> Result<bool, BuildError> {
        if let Some((layer, tier)) = hit.as_ref().and_then(Records::only_layer) {
            state.push(layer);
            self.progress.cached(place.number, tier);
            return Ok(false);
        }
        // Their time is their own, not this step's.
        for stage in stages_read(&place.step.op) {
            self.stage(stage)?;
        }
        let started = Instant::now();
        let miss = self.records.reason(&place.step.op, &place.keys.keyed, diverged);
        let result = match &place.step.op {
            Op::Run(op) => self.run(state, op, place, &miss),
            Op::Copy(op) => self.copy(state, op, place, &miss),
            Op::Workdir(op) => self.workdir(state, op, place, &miss),
        };
        let outcome = result.inspect_err(|_| self.progress.failed(place.number))?;
        Ok(self.conclude(place, outcome, started))
    }

    /// Takes the layer of a record under the content key, when there is one.
    pub(super) fn content_hit(
        &self,
        state: &mut StageState,
        content: Option<&Keyed>,
        place: StepPlace<'_>,
    ) -> Option<Outcome> {
        let hit = self.records.look_up(&[content?.key]).pop().flatten()?;
        let (layer, tier) = Records::only_layer(&hit)?;
        debug_assert!(self.records.covers(&place.step.op));
        state.push(layer);
        Some(Outcome::Hit { hit: Box::new(hit.record), tier })
    }

    fn conclude(&self, place: StepPlace<'_>, outcome: Outcome, started: Instant) -> bool {
        let took = started.elapsed();
        self.records.save_step(place.keys, &outcome, took);
        match &outcome {
            Outcome::Hit { tier, .. } => self.progress.cached(place.number, *tier),
            Outcome::Made { layer, .. } => self.progress.finished(place.number, took, layer.blob.size),
        }
        matches!(outcome, Outcome::Made { .. })
    }
}

/// The stages that an op takes files from.
fn stages_read(op: &Op) -> Vec<StageIndex> {
    let sources: Vec<&Source> = match op {
        Op::Run(op) => op.mounts.iter().filter_map(mounted_source).map(|(from, _)| from).collect(),
        Op::Copy(op) => vec![&op.from],
        Op::Workdir(_) => Vec::new(),
    };
    let stage = |source: &Source| if let Source::Stage(index) = source { Some(*index) } else { None };
    sources.into_iter().filter_map(stage).collect()
}
