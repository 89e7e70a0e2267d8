//! The layer cache as a build uses it: what is looked up, what is saved, and why a step missed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::evaluate::StepPlace;
use super::explain::Explanations;
use super::keys::StepKey;
use super::request::{Caching, Services};
use super::state::{StageState, StateLayer};
use crate::cache::{Hit, LayerCache as _, Record, TieredCache};
use crate::digest::ContentHash;
use crate::key::{CacheKey, Keyed};
use crate::plan::{Op, Stage};
use crate::report::{CacheTier, Event, Observer};
use crate::store::Lease;

/// A build waits so long for another one that makes the same; then it makes it as well.
const TURN_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What became of a step that had no record under its definition key.
pub(super) enum Outcome {
    /// Its content key had one.
    Hit {
        /// The record found.
        hit: Box<Record>,
        /// Who had it.
        tier: CacheTier,
    },
    /// It ran.
    Made {
        /// Its layer.
        layer: Box<StateLayer>,
        /// Its content key, when one was made.
        content: Option<Keyed>,
        /// Keeps other builds waiting until the result is saved.
        _lease: Option<Box<Lease>>,
    },
}

/// The layer cache, or its absence.
pub(super) struct Records<'a> {
    pub(super) cache: Option<&'a TieredCache>,
    pub(super) explanations: Explanations<'a>,
    pub(super) settings: &'a Caching,
    pub(super) observer: &'a dyn Observer,
}

impl<'a> Records<'a> {
    pub(super) fn new(services: &Services<'a>, settings: &'a Caching) -> Self {
        let Services { cache, store, observer, .. } = services;
        let explanations = Explanations::new(*cache, store, *observer, settings.explain);
        Self { cache: *cache, explanations, settings, observer: *observer }
    }

    /// One hit or nothing for each key.
    pub(super) fn look_up(&self, keys: &[CacheKey]) -> Vec<Option<Hit>> {
        match self.cache {
            Some(cache) if !keys.is_empty() => cache.look_up(keys),
            _ => keys.iter().map(|_| None).collect(),
        }
    }

    /// The result of a step that another build made while this one waited for it. Without one,
    /// others wait for this build, until the step is saved or [`Records::end_turn`] is called.
    ///
    /// Where the stage has diverged, what others make is of no use: they are told, not waited for.
    pub(super) fn made_by_another(&self, key: &CacheKey, diverged: bool) -> Option<Hit> {
        let patience = if diverged { Duration::ZERO } else { TURN_PATIENCE };
        let made = self.cache?.await_turn(key, patience);
        (made && !diverged).then(|| self.look_up(&[*key]).pop().flatten()).flatten()
    }

    /// This build makes no record of the step.
    pub(super) fn end_turn(&self, key: &CacheKey) {
        if let Some(cache) = self.cache {
            cache.end_turn(key);
        }
    }

    /// As [`Records::look_up`], where it costs nothing.
    pub(super) fn look_up_local(&self, key: &CacheKey) -> Option<Hit> {
        self.cache?.look_up_local(&[*key]).pop().flatten()
    }

    /// Notes that the steps of a stage that was found whole are of use, so that they do not age away.
    pub(super) fn note_uses<'k>(&self, tier: CacheTier, keys: impl Iterator<Item = &'k StepKey>) {
        if let (Some(cache), CacheTier::Local) = (self.cache, tier) {
            cache.note_uses(&keys.map(|step| step.keyed.key).collect::<Vec<_>>());
        }
    }

    /// Whether results of this kind of op are cached at all.
    pub(super) fn covers(&self, op: &Op) -> bool {
        let wanted = match op {
            Op::Run(_) | Op::Workdir(_) => self.settings.run_layers,
            Op::Copy(_) => self.settings.copy_layers,
        };
        wanted && self.cache.is_some()
    }

    /// The layer of a step's record.
    pub(super) fn only_layer(hit: &Hit) -> Option<(StateLayer, CacheTier)> {
        match hit.record.layers.as_slice() {
            [layer] => Some((StateLayer::of_record(layer), hit.tier)),
            _ => None,
        }
    }

    /// Why a step is about to run.
    pub(super) fn reason(&self, place: StepPlace<'_>, diverged: bool) -> String {
        if self.cache.is_none() {
            return "caching is off".into();
        }
        if !self.covers(&place.step.op) {
            return "layers of this kind are not cached".into();
        }
        match self.explanations.of_miss(place) {
            Some(difference) => format!("missed: {difference}"),
            None if diverged => "missed: an earlier step of the stage ran, and no record fits what it left".into(),
            None => "missed: no record of this step".into(),
        }
    }

    /// Whether the result of a RUN was made on the very layers that `state` has. Where two builds made
    /// different results of the same step, one after it may be of the other build: its layer does not
    /// fit. What COPY and WORKDIR write depends on nothing like that. Older records do not say.
    pub(super) fn fits(hit: &Hit, op: &Op, state: &StageState) -> bool {
        match (op, hit.record.state, hit.record.layers.as_slice()) {
            (Op::Run(_), Some(made), [layer]) => made == state.identity_with(&layer.diff_id),
            _ => true,
        }
    }

    /// Saves a step's result under its definition key, and under its content key. `identity` is that of
    /// the stage with it.
    pub(super) fn save_step(&self, keys: &StepKey, outcome: &Outcome, identity: Option<ContentHash>, took: Duration) {
        let record = match outcome {
            Outcome::Hit { hit, .. } => Record {
                key: keys.keyed.key,
                content_key: None,
                parts: keys.keyed.parts.clone(),
                instruction: keys.instruction.clone(),
                state: identity,
                ..hit.as_ref().clone()
            },
            Outcome::Made { layer, content, .. } => {
                let (Some(content), Some(made)) = (content, layer.record()) else {
                    return self.end_turn(&keys.keyed.key);
                };
                Record {
                    content_key: Some(content.key),
                    instruction: keys.instruction.clone(),
                    state: identity,
                    duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                    ..new_record(keys.keyed.key, keys.keyed.parts.clone(), vec![made.clone()])
                }
            }
        };
        self.save(&record);
    }

    /// Saves all layers of a finished stage under one key, when each of its steps is cached.
    pub(super) fn save_stage(&self, key: CacheKey, state: &StageState, stage: &Stage) {
        let layers: Option<Vec<_>> = state.step_layers().iter().map(|layer| layer.record().cloned()).collect();
        let covered = stage.steps.iter().all(|step| self.covers(&step.op));
        if let (Some(layers), true) = (layers.filter(|layers| !layers.is_empty()), covered) {
            self.save(&new_record(key, BTreeMap::new(), layers));
        }
    }

    /// Saves a layer that was made of finished ones.
    pub(super) fn save_derived(&self, key: CacheKey, layer: &StateLayer) {
        if let Some(made) = layer.record() {
            self.save(&new_record(key, BTreeMap::new(), vec![made.clone()]));
        }
    }

    /// A cache fault is an event and a slower next build, never a failed one.
    fn save(&self, record: &Record) {
        let Some(cache) = self.cache else { return };
        if let Err(error) = cache.save(record) {
            let text = format!("failed to save the record of a step in the local cache: {error}");
            self.observer.event(Event::Warning(text));
        }
    }
}

fn new_record(key: CacheKey, parts: BTreeMap<String, String>, layers: Vec<crate::cache::RecordLayer>) -> Record {
    // As old as what it is made of: a stage must not outlive its steps.
    let created = layers.iter().map(|layer| layer.created).min().unwrap_or_else(now);
    Record {
        version: Record::VERSION,
        key,
        content_key: None,
        parts,
        instruction: String::new(),
        layers,
        state: None,
        created,
        duration_ms: 0,
        executor: concat!("yadokari ", env!("CARGO_PKG_VERSION")).into(),
        signature: None,
    }
}

/// Seconds since the epoch.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
