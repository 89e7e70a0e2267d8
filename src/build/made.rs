//! What the steps of this build made.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::flights::{Flight, Flights};
use super::state::{StageState, StateLayer};
use crate::key::CacheKey;

/// The results of steps so far, of all stages and platforms, by definition key: what two stages
/// have in common, or does not depend on the platform, is made once.
#[derive(Default)]
pub(super) struct MadeSteps {
    known: Mutex<BTreeMap<CacheKey, Made>>,
    flights: Flights<CacheKey>,
}

/// The result of a step.
#[derive(Clone)]
struct Made {
    layer: StateLayer,
    /// It, or a step before it in its stage, really ran.
    diverged: bool,
}

impl MadeSteps {
    /// Waits until no other thread is at the step.
    pub(super) fn enter(&self, key: CacheKey) -> Flight<'_, CacheKey> {
        self.flights.enter(key)
    }

    /// Puts the result of the step onto `state`; false when nobody made it yet.
    pub(super) fn take(&self, key: &CacheKey, state: &mut StageState) -> bool {
        let Some(made) = self.known().get(key).cloned() else { return false };
        state.push(made.layer);
        state.diverged |= made.diverged;
        true
    }

    /// Takes note of the step's layer; `diverged` says that it, or a step before it in its stage, really ran.
    pub(super) fn note(&self, key: CacheKey, layer: StateLayer, diverged: bool) {
        self.known().insert(key, Made { layer, diverged });
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<CacheKey, Made>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
