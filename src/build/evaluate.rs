//! Demand-driven evaluation: from the target back, a stage is looked at only when a miss needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use super::behind::{Behind, Finishing};
use super::error::BuildError;
use super::failure::Failure;
use super::flights::{Flight, Flights};
use super::inputs::mounted_source;
use super::jobs::Jobs;
use super::keys::{StageKeys, at_step};
use super::made::MadeSteps;
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
use crate::digest::ContentHash;
use crate::key::{CacheKey, stage_key};
use crate::plan::{Base, Op, Plan, Source, StageIndex, Step};
use crate::report::{CacheTier, StepNumber};

/// What the evaluators of all platforms share.
#[derive(Clone, Copy)]
pub(super) struct Workshop<'a> {
    pub(super) request: &'a BuildRequest,
    /// Part of every key.
    pub(super) salt: &'a str,
    pub(super) services: &'a Services<'a>,
    pub(super) images: &'a BaseImages,
    pub(super) materials: &'a Materials<'a>,
    pub(super) records: &'a Records<'a>,
    pub(super) progress: &'a Progress<'a>,
    pub(super) remotes: &'a Remotes,
    pub(super) rooms: &'a Rooms<'a>,
    pub(super) made: &'a MadeSteps,
    pub(super) jobs: &'a Jobs,
    pub(super) failure: &'a Failure<'a>,
}

/// Brings the stages of one platform into being, side by side.
pub(super) struct Evaluator<'a> {
    pub(super) shop: Workshop<'a>,
    pub(super) variant: &'a Variant,
    /// Nothing for a stage that failed.
    finished: Mutex<BTreeMap<StageIndex, Option<Arc<StageState>>>>,
    stages: Flights<StageIndex>,
    /// What look-ups of other stages brought along, by the key of the stage.
    ahead: Mutex<BTreeMap<CacheKey, Option<Hit>>>,
    /// Sources of bind mounts that were copied out.
    pub(super) copied: CopiedSources,
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
    pub(super) fn new(shop: Workshop<'a>, variant: &'a Variant) -> Self {
        let copied = CopiedSources::default();
        let (finished, ahead) = Default::default();
        Self { shop, variant, finished, stages: Flights::default(), ahead, copied }
    }

    /// The finished stage. Whoever asks first makes it, the others wait.
    pub(super) fn stage(&self, index: StageIndex) -> Result<Arc<StageState>, BuildError> {
        let _flight = self.stages.enter(index);
        if let Some(done) = self.finished().get(&index) {
            return done.clone().ok_or(BuildError::Stopped);
        }
        let made = match self.whole_stage_hit(index) {
            Some(state) => Ok(state),
            None => self.step_by_step(index),
        };
        let state = made.map(Arc::new).map_err(|error| self.shop.failure.note(error));
        self.finished().insert(index, state.as_ref().ok().cloned());
        state
    }

    fn finished(&self) -> MutexGuard<'_, BTreeMap<StageIndex, Option<Arc<StageState>>>> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One look-up for everything: the stage record.
    fn whole_stage_hit(&self, index: StageIndex) -> Option<StageState> {
        let (chain, steps) = (self.plan().chain(index), self.steps_saved_whole(index)?);
        let hit = self.stage_record(stage_key(&self.keys(index).last()))?;
        if hit.record.layers.len() != steps {
            return None;
        }
        let mut state = self.image_state(*chain.last()?);
        hit.record.layers.iter().for_each(|layer| state.push(StateLayer::of_record(layer)));
        self.shop.records.note_uses(hit.tier, chain.iter().flat_map(|stage| &self.keys(*stage).steps));
        for stage in chain.iter().rev() {
            let numbers = self.numbers(*stage);
            numbers.into_iter().for_each(|number| self.shop.progress.cached(number, hit.tier));
        }
        Some(state)
    }

    /// The number of steps in the record of a stage with those below it; `None` where there is no such record.
    fn steps_saved_whole(&self, index: StageIndex) -> Option<usize> {
        let chain = self.plan().chain(index);
        let ops = chain.iter().flat_map(|stage| &self.plan().stages[stage.0].steps).map(|step| &step.op);
        let (steps, covered) = (ops.clone().count(), ops.clone().all(|op| self.shop.records.covers(op)));
        (steps > 0 && covered).then_some(steps)
    }

    fn stage_record(&self, key: CacheKey) -> Option<Hit> {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        ahead.unwrap_or_else(|| self.shop.records.look_up(&[key]).pop().flatten())
    }

    /// The records of a stage's steps. Those of the stages below and beside it are asked for along the way: where a step
    /// missed they are next, and would be one more wait.
    fn step_records(&self, index: StageIndex) -> Vec<Option<Hit>> {
        let stage = &self.plan().stages[index.0];
        let mut keys: Vec<CacheKey> = self.keys(index).steps.iter().map(|step| step.keyed.key).collect();
        let below = if let Base::Stage(below) = stage.base { Some(below) } else { None };
        let others: BTreeSet<StageIndex> =
            stage.steps.iter().flat_map(|step| stages_read(&step.op)).chain(below).collect();
        let is_wanted =
            |other: &StageIndex| !self.finished().contains_key(other) && self.steps_saved_whole(*other).is_some();
        let unknown = others.into_iter().filter(is_wanted);
        let others: Vec<CacheKey> = unknown.map(|other| stage_key(&self.keys(other).last())).collect();
        let steps = keys.len();
        keys.extend(&others);
        let mut hits = self.shop.records.look_up(&keys);
        let ahead = hits.split_off(steps.min(hits.len()));
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).extend(others.into_iter().zip(ahead));
        hits
    }

    fn plan(&self) -> &'a Plan {
        &self.variant.plan
    }

    fn keys(&self, index: StageIndex) -> &'a StageKeys {
        &self.variant.keys[index.0]
    }

    fn numbers(&self, index: StageIndex) -> Vec<StepNumber> {
        let name = &self.plan().stages[index.0].name;
        self.keys(index).steps.iter().map(|step| self.shop.progress.number(name, &step.keyed.key)).collect()
    }

    fn image_state(&self, index: StageIndex) -> StageState {
        match &self.plan().stages[index.0].base {
            Base::Image(image) => {
                StageState::of_image(self.shop.images.get(image).map(|base| base.layers.clone()).unwrap_or_default())
            }
            Base::Scratch | Base::Stage(_) => StageState::default(),
        }
    }

    fn base_state(&self, index: StageIndex) -> Result<StageState, BuildError> {
        match self.plan().stages[index.0].base {
            Base::Stage(below) => Ok(self.stage(below)?.as_ref().clone()),
            Base::Scratch | Base::Image(_) => Ok(self.image_state(index)),
        }
    }

    fn step_by_step(&self, index: StageIndex) -> Result<StageState, BuildError> {
        let hits = self.step_records(index);
        let needed = self.stages_needed(index, &hits);
        if !self.shop.rooms.side_by_side() {
            // One root for all: going back and forth between stages would fill it again and again.
            needed.into_iter().try_for_each(|stage| self.stage(stage).map(drop))?;
            return self.steps(index, hits);
        }
        thread::scope(|scope| {
            for stage in needed {
                // Its failure is noted; whoever needs the stage learns of it.
                scope.spawn(move || self.stage(stage).map(drop));
            }
            self.steps(index, hits)
        })
    }

    /// The stages that the steps without a hit take files from.
    fn stages_needed(&self, index: StageIndex, hits: &[Option<Hit>]) -> BTreeSet<StageIndex> {
        let steps = self.plan().stages[index.0].steps.iter().zip(hits);
        let missed = steps.filter(|(step, hit)| hit.is_none() || !self.shop.records.covers(&step.op));
        missed.flat_map(|(step, _)| stages_read(&step.op)).collect()
    }

    fn steps(&self, index: StageIndex, hits: Vec<Option<Hit>>) -> Result<StageState, BuildError> {
        let state = self.base_state(index)?;
        let (stage, keys) = (&self.plan().stages[index.0], self.keys(index));
        let state = thread::scope(|scope| self.each_step(index, state, hits, &mut Behind::new(scope)))?;
        self.shop.records.save_stage(stage_key(&keys.last()), &state, stage);
        Ok(state)
    }

    fn each_step<'scope>(
        &'scope self,
        index: StageIndex,
        mut state: StageState,
        hits: Vec<Option<Hit>>,
        behind: &mut Behind<'scope, '_>,
    ) -> Result<StageState, BuildError> {
        let (stage, keys) = (&self.plan().stages[index.0], self.keys(index));
        let numbers = self.numbers(index);
        for (((step, keys), number), hit) in stage.steps.iter().zip(&keys.steps).zip(numbers).zip(hits) {
            let flight = self.shop.made.enter(keys.keyed.key);
            if self.take_made(&mut state, &keys.keyed.key, number) {
                continue;
            }
            let place = StepPlace { step, keys, number, stage: index };
            match self.step(&mut state, place, hit, behind.scope()).map_err(|error| at_step(step, error))? {
                Some(finishing) => behind.start(&mut state, move || self.finish(finishing, flight))?,
                None => self.note_made(&keys.keyed.key, &state),
            }
        }
        behind.settle(&mut state)?;
        Ok(state)
    }

    fn note_made(&self, key: &CacheKey, state: &StageState) {
        if let Some(layer) = state.layers().last() {
            self.shop.made.note(*key, layer.clone(), state.diverged);
        }
    }

    /// What is left to do once the blob of a step's layer is written. Whoever needs the same step waits in
    /// its flight.
    fn finish(&self, finishing: Finishing<'_>, flight: Flight<'_, CacheKey>) -> Option<StateLayer> {
        let Finishing { place, content, lease, took, identity, writing } = finishing;
        let key = &place.keys.keyed.key;
        let written = writing.finish().map_err(|error| {
            self.shop.progress.failed(place.number);
            self.shop.records.end_turn(key);
            self.shop.failure.note(at_step(place.step, error))
        });
        let layer = written.ok()?;
        self.shop.materials.note_blob(&layer);
        self.shop.made.note(*key, layer.clone(), true);
        let outcome = Outcome::Made { layer: Box::new(layer.clone()), content, _lease: lease };
        self.conclude(place, &outcome, identity, took);
        drop(flight);
        Some(layer)
    }

    /// Takes the result of the same step for another platform or stage.
    fn take_made(&self, state: &mut StageState, key: &CacheKey, number: StepNumber) -> bool {
        let taken = self.shop.made.take(key, state);
        if taken {
            self.shop.progress.cached(number, CacheTier::Local);
        }
        taken
    }

    /// A hit counts while nothing in the stage has really run: later records may have been made on
    /// something else than what it left. From there on only content keys count.
    fn step<'scope>(
        &self,
        state: &mut StageState,
        place: StepPlace<'scope>,
        hit: Option<Hit>,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<Option<Finishing<'scope>>, BuildError> {
        let (records, key) = (self.shop.records, &place.keys.keyed.key);
        let covered = records.covers(&place.step.op);
        let hit = hit.filter(|_| !state.diverged && covered);
        if self.take_hit(state, place, hit.as_ref()) {
            return Ok(None);
        }
        let made = covered.then(|| records.made_by_another(key, state.diverged)).flatten();
        if self.take_hit(state, place, made.as_ref()) {
            return Ok(None);
        }
        let done = self.make(state, place, scope);
        if done.is_err() && covered {
            records.end_turn(key);
        }
        done
    }

    fn take_hit(&self, state: &mut StageState, place: StepPlace<'_>, hit: Option<&Hit>) -> bool {
        let hit = hit.filter(|hit| Records::fits(hit, &place.step.op, state));
        let Some((layer, tier)) = hit.and_then(Records::only_layer) else { return false };
        state.push(layer);
        self.shop.progress.cached(place.number, tier);
        true
    }

    /// What is returned is left to do once the blob of the step's layer is written.
    fn make<'scope>(
        &self,
        state: &mut StageState,
        place: StepPlace<'scope>,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<Option<Finishing<'scope>>, BuildError> {
        // Their time is their own, not this step's.
        for stage in stages_read(&place.step.op) {
            self.stage(stage)?;
        }
        let _permit = self.shop.jobs.permit();
        self.shop.failure.check()?;
        let started = Instant::now();
        let miss = self.shop.records.reason(place, state.diverged);
        let result = match &place.step.op {
            Op::Run(op) => self.run(state, op, (place, &miss), scope),
            Op::Copy(op) => self.copy(state, op, place, &miss).map(|outcome| (outcome, None)),
            Op::Workdir(op) => self.workdir(state, op, place, &miss).map(|outcome| (outcome, None)),
        };
        let (outcome, writing) = result.inspect_err(|_| self.shop.progress.failed(place.number))?;
        state.diverged |= matches!(outcome, Outcome::Made { .. });
        let (took, identity) = (started.elapsed(), state.identity());
        match (outcome, writing) {
            (Outcome::Made { content, _lease: lease, .. }, Some(writing)) => {
                Ok(Some(Finishing { place, content, lease, took, identity, writing }))
            }
            (outcome, _) => {
                self.conclude(place, &outcome, identity, took);
                Ok(None)
            }
        }
    }

    /// `identity` is that of the stage with the step's layer.
    fn conclude(&self, place: StepPlace<'_>, outcome: &Outcome, identity: Option<ContentHash>, took: Duration) {
        self.shop.records.save_step(place.keys, outcome, identity, took);
        match outcome {
            Outcome::Hit { tier, .. } => self.shop.progress.cached(place.number, *tier),
            Outcome::Made { layer, .. } => {
                self.shop.records.explanations.note_run(place.number, took);
                self.shop.progress.finished(place.number, took, layer.blob.size);
            }
        }
    }
}

/// The stages that an op takes files from.
pub(super) fn stages_read(op: &Op) -> Vec<StageIndex> {
    let sources: Vec<&Source> = match op {
        Op::Run(op) => op.mounts.iter().filter_map(mounted_source).map(|(from, _)| from).collect(),
        Op::Copy(op) => vec![&op.from],
        Op::Workdir(_) => Vec::new(),
    };
    let stage = |source: &Source| if let Source::Stage(index) = source { Some(*index) } else { None };
    sources.into_iter().filter_map(stage).collect()
}
