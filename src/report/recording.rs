//! Keeps what a build said, with when it said it: for the page and the trace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::{CacheTier, Direction, Event, Observer, StepInfo, StepNumber, Summary};

/// Warnings and advice that are kept.
const MAX_NOTES: usize = 500;

/// Hands every event on and takes notes of it.
pub struct Recorder {
    next: Arc<dyn Observer>,
    since: Instant,
    recording: Mutex<Recording>,
}

/// What a build did, and when: times are from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// When it began.
    pub began: SystemTime,
    /// How long it has been going on.
    pub took: Duration,
    /// In plan order.
    pub steps: Vec<StepRecording>,
    /// Phases of the whole build, in order, with when they ended.
    pub phases: Vec<(&'static str, Duration, Duration)>,
    /// Bytes pulled, and pushed.
    pub moved: (u64, u64),
    /// What the user should know.
    pub warnings: Vec<String>,
    /// What would make it faster.
    pub advice: Vec<String>,
    /// Of a build that worked.
    pub summary: Option<Summary>,
    /// By what moved: bytes so far.
    transfers: BTreeMap<(bool, String), u64>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRecording {
    /// Which.
    pub info: StepInfo,
    /// What became of it.
    pub outcome: StepOutcome,
    /// When it began: a cached one in no time.
    pub from: Duration,
    /// When it ended.
    pub to: Duration,
    /// Why it ran.
    pub miss: Option<String>,
    /// What differs from the nearest record.
    pub differences: Vec<String>,
    /// Of its layer.
    pub layer_bytes: Option<u64>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// Nothing: the target did not need it, or the build ended before.
    Untouched,
    /// Somebody had it.
    Cached(CacheTier),
    /// It began, and did not end.
    Started,
    /// It ran.
    Ran,
    /// It failed.
    Failed,
}

impl Recorder {
    /// In front of `next`.
    pub fn new(next: Arc<dyn Observer>) -> Self {
        let recording = Recording {
            began: SystemTime::now(),
            took: Duration::ZERO,
            steps: Vec::new(),
            phases: Vec::new(),
            moved: (0, 0),
            warnings: Vec::new(),
            advice: Vec::new(),
            summary: None,
            transfers: BTreeMap::new(),
        };
        Self { next, since: Instant::now(), recording: Mutex::new(recording) }
    }

    /// What was noted so far.
    pub fn recording(&self) -> Recording {
        let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner).clone();
        recording.took = self.since.elapsed();
        let sum = |pushed: bool| {
            recording.transfers.iter().filter(|((push, _), _)| *push == pushed).map(|(_, done)| done).sum()
        };
        recording.moved = (sum(false), sum(true));
        recording
    }
}

impl Observer for Recorder {
    fn event(&self, event: Event) {
        let at = self.since.elapsed();
        self.recording.lock().unwrap_or_else(PoisonError::into_inner).note(&event, at);
        self.next.event(event);
    }
}

impl Recording {
    fn note(&mut self, event: &Event, at: Duration) {
        match event {
            Event::Planned { steps } => self.steps = steps.iter().map(planned).collect(),
            Event::StepCached { step, by } => self.settle(*step, StepOutcome::Cached(*by), at, true),
            Event::StepStarted { step, miss } => {
                self.settle(*step, StepOutcome::Started, at, true);
                if let Some(step) = self.steps.get_mut(*step) {
                    step.miss = Some(miss.clone());
                }
            }
            Event::StepFinished { step, layer_bytes, .. } => {
                self.settle(*step, StepOutcome::Ran, at, false);
                if let Some(step) = self.steps.get_mut(*step) {
                    step.layer_bytes = *layer_bytes;
                }
            }
            Event::StepFailed { step } => self.settle(*step, StepOutcome::Failed, at, false),
            Event::Explained { step, differences, .. } => {
                if let Some(step) = self.steps.get_mut(*step) {
                    step.differences.clone_from(differences);
                }
            }
            Event::Phase { name, took } => self.phases.push((name, *took, at)),
            Event::Transfer(transfer) => {
                let name = (transfer.direction == Direction::Push, transfer.digest.to_string());
                self.transfers.insert(name, transfer.done);
            }
            Event::Warning(text) if self.warnings.len() < MAX_NOTES => self.warnings.push(text.clone()),
            Event::Advice(text) if self.advice.len() < MAX_NOTES => self.advice.push(text.clone()),
            Event::Finished(summary) => self.summary = Some(summary.clone()),
            _ => {}
        }
    }

    fn settle(&mut self, step: StepNumber, outcome: StepOutcome, at: Duration, begins: bool) {
        let Some(step) = self.steps.get_mut(step) else { return };
        step.outcome = outcome;
        step.to = at;
        if begins || step.from > at {
            step.from = at;
        }
    }
}

fn planned(info: &StepInfo) -> StepRecording {
    StepRecording {
        info: info.clone(),
        outcome: StepOutcome::Untouched,
        from: Duration::ZERO,
        to: Duration::ZERO,
        miss: None,
        differences: Vec::new(),
        layer_bytes: None,
    }
}
