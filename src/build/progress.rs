//! Numbers the steps of a plan and tells the observer about them.

use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

use crate::plan::{Plan, StageIndex};
use crate::report::{CacheTier, Event, Observer, StepInfo, StepNumber};

/// The steps of a build, as the observer knows them.
pub(super) struct Progress<'a> {
    observer: &'a dyn Observer,
    /// Number of each stage's first step, and of one stage more.
    first: Vec<StepNumber>,
    cached: Cell<usize>,
    run: Cell<usize>,
}

impl<'a> Progress<'a> {
    /// Announces the plan.
    pub(super) fn new(plan: &Plan, observer: &'a dyn Observer) -> Self {
        let mut first = vec![0];
        let mut steps = Vec::new();
        for stage in &plan.stages {
            steps.extend(stage.steps.iter().map(|step| StepInfo {
                stage: stage.name.clone(),
                title: step.title.clone(),
                line: step.span.start,
            }));
            first.push(steps.len());
        }
        observer.event(Event::Planned { steps });
        Self { observer, first, cached: Cell::new(0), run: Cell::new(0) }
    }

    /// The numbers of a stage's steps.
    pub(super) fn numbers(&self, stage: StageIndex) -> Range<StepNumber> {
        self.first[stage.0]..self.first[stage.0 + 1]
    }

    pub(super) fn cached(&self, step: StepNumber, by: CacheTier) {
        self.cached.set(self.cached.get() + 1);
        self.observer.event(Event::StepCached { step, by });
    }

    pub(super) fn started(&self, step: StepNumber, miss: &str) {
        self.observer.event(Event::StepStarted { step, miss: miss.to_owned() });
    }

    pub(super) fn output(&self, step: StepNumber, stderr: bool, bytes: &[u8]) {
        self.observer.event(Event::StepOutput { step, stderr, bytes: bytes.to_vec() });
    }

    pub(super) fn finished(&self, step: StepNumber, took: Duration, layer_bytes: u64) {
        self.run.set(self.run.get() + 1);
        self.observer.event(Event::StepFinished { step, took, layer_bytes: Some(layer_bytes) });
    }

    pub(super) fn failed(&self, step: StepNumber) {
        self.observer.event(Event::StepFailed { step });
    }

    /// Steps cached and steps run so far.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.cached.get(), self.run.get())
    }
}
