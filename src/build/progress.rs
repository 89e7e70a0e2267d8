//! Numbers the steps of a build and tells the observer about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::error::describe;
use super::variant::Variant;
use crate::image::Platform;
use crate::key::CacheKey;
use crate::plan::Stage;
use crate::report::{CacheTier, Event, Observer, StepInfo, StepNumber};
use crate::sandbox::Exit;

/// The steps of a build, as the observer knows them.
pub(super) struct Progress<'a> {
    observer: &'a dyn Observer,
    /// By stage and definition key: what several platforms share is one step.
    numbers: BTreeMap<(String, CacheKey), StepNumber>,
    /// Steps that the observer knows the end of.
    settled: Mutex<BTreeSet<StepNumber>>,
    cached: AtomicUsize,
    run: AtomicUsize,
}

impl<'a> Progress<'a> {
    /// Announces the plan.
    pub(super) fn new(variants: &[Variant], observer: &'a dyn Observer) -> Self {
        let mut numbers = BTreeMap::new();
        let mut steps = Vec::new();
        for variant in variants {
            for (stage, keys) in variant.plan.stages.iter().zip(&variant.keys) {
                for (step, key) in stage.steps.iter().zip(&keys.steps) {
                    let key = key.keyed.key;
                    numbers.entry((stage.name.clone(), key)).or_insert_with(|| {
                        let stage = label(stage, &key, variant, variants);
                        steps.push(StepInfo { stage, title: step.title.clone(), line: step.span.start });
                        steps.len() - 1
                    });
                }
            }
        }
        observer.event(Event::Planned { steps });
        Self { observer, numbers, settled: Mutex::default(), cached: AtomicUsize::new(0), run: AtomicUsize::new(0) }
    }

    /// The number of the step of `stage` that has this definition key.
    pub(super) fn number(&self, stage: &str, key: &CacheKey) -> StepNumber {
        self.numbers.get(&(stage.to_owned(), *key)).copied().unwrap_or_default()
    }

    /// Says nothing when the step was settled for another platform.
    pub(super) fn cached(&self, step: StepNumber, by: CacheTier) {
        if self.settle(step) {
            self.cached.fetch_add(1, Ordering::Relaxed);
            self.observer.event(Event::StepCached { step, by });
        }
    }

    pub(super) fn started(&self, step: StepNumber, miss: &str) {
        self.observer.event(Event::StepStarted { step, miss: miss.to_owned() });
    }

    pub(super) fn output(&self, step: StepNumber, stderr: bool, bytes: &[u8]) {
        self.observer.event(Event::StepOutput { step, stderr, bytes: bytes.to_vec() });
    }

    pub(super) fn finished(&self, step: StepNumber, took: Duration, layer_bytes: u64) {
        self.settle(step);
        self.run.fetch_add(1, Ordering::Relaxed);
        self.observer.event(Event::StepFinished { step, took, layer_bytes: Some(layer_bytes) });
    }

    /// A step failed, and a shell opens where it did.
    pub(super) fn shell(&self, step: StepNumber, exit: Exit) {
        let how = describe(&exit);
        self.observer
            .event(Event::Info(format!("step {}: {how}; a shell in its place: the build ends with it", step + 1)));
    }

    pub(super) fn failed(&self, step: StepNumber) {
        self.observer.event(Event::StepFailed { step });
    }

    /// Steps cached and steps run so far.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.cached.load(Ordering::Relaxed), self.run.load(Ordering::Relaxed))
    }

    /// Whether it was not settled before.
    fn settle(&self, step: StepNumber) -> bool {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).insert(step)
    }
}

/// The stage's name; of several platforms with its own in front, and the image's behind that where
/// a step on one platform works for another.
///
/// # Source
/// BuildKit: `[linux/amd64->arm64 build 1/2]`.
fn label(stage: &Stage, key: &CacheKey, variant: &Variant, variants: &[Variant]) -> String {
    if variants.len() < 2 {
        return stage.name.clone();
    }
    let has = |other: &&Variant| other.keys.iter().any(|keys| keys.steps.iter().any(|step| step.keyed.key == *key));
    let crosses = stage.platform != variant.platform && variants.iter().filter(has).count() == 1;
    let target = if crosses { arrow(&stage.platform, &variant.platform) } else { String::new() };
    format!("{}{target} {}", stage.platform, stage.name)
}

fn arrow(own: &Platform, target: &Platform) -> String {
    let whole = target.to_string();
    let short = whole.strip_prefix(&format!("{}/", own.os)).unwrap_or(&whole);
    format!("->{short}")
}
