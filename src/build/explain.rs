//! Why steps missed: the nearest record of each, and what differs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::evaluate::StepPlace;
use crate::cache::{LayerCache as _, Record, TieredCache};
use crate::key::{Difference, Keyed, nearest};
use crate::report::{Event, Observer, StepNumber};
use crate::store::Store;

/// Records beyond these are not compared with.
const ENOUGH: usize = 10_000;

/// Differences that are told of one step.
const TOLD: usize = 8;

/// The known records, read when the first miss asks for them, and the misses of this build.
pub(super) struct Explanations<'a> {
    cache: Option<&'a TieredCache>,
    store: &'a Store,
    observer: &'a dyn Observer,
    /// `--explain-cache`: remote records too, and everything is told.
    thorough: bool,
    known: OnceLock<Vec<Record>>,
    misses: Mutex<BTreeMap<StepNumber, Miss>>,
}

/// A step without a record under its definition key.
#[derive(Debug, Clone, Default)]
pub(super) struct Miss {
    /// To the nearest record, the most telling first.
    pub(super) differences: Vec<Difference>,
    /// How long it ran; `None` when its content key was found.
    pub(super) took: Option<Duration>,
}

impl<'a> Explanations<'a> {
    pub(super) fn new(
        cache: Option<&'a TieredCache>,
        store: &'a Store,
        observer: &'a dyn Observer,
        thorough: bool,
    ) -> Self {
        Self { cache, store, observer, thorough, known: OnceLock::new(), misses: Mutex::default() }
    }

    /// The most telling difference of a step to the record that comes nearest.
    pub(super) fn of_miss(&self, place: StepPlace<'_>) -> Option<Difference> {
        let (record, differences) = self.nearest(&place.keys.keyed).unzip();
        let differences = differences.unwrap_or_default();
        if self.thorough {
            self.tell(place.number, record, &differences);
        }
        let first = differences.first().cloned();
        self.misses().insert(place.number, Miss { differences, took: None });
        first
    }

    /// Takes note that a step had to run.
    pub(super) fn note_run(&self, number: StepNumber, took: Duration) {
        self.misses().entry(number).or_default().took = Some(took);
    }

    /// What advice is made of; `None` unless it was asked for.
    pub(super) fn misses_for_advice(&self) -> Option<BTreeMap<StepNumber, Miss>> {
        self.thorough.then(|| self.misses().clone())
    }

    fn misses(&self) -> MutexGuard<'_, BTreeMap<StepNumber, Miss>> {
        self.misses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nearest(&self, keyed: &Keyed) -> Option<(&Record, Vec<Difference>)> {
        let known = self.known.get_or_init(|| self.read_known());
        let (parts, differences) = nearest(known.iter().map(|record| &record.parts), &keyed.parts)?;
        let record = known.iter().find(|record| std::ptr::eq(&raw const record.parts, parts))?;
        Some((record, differences))
    }

    /// A fault here only costs an explanation.
    fn read_known(&self) -> Vec<Record> {
        let mut all = Vec::new();
        let _ = self.store.for_each_record(&mut |record| {
            if all.len() < ENOUGH && !record.parts.is_empty() {
                all.push(record);
            }
        });
        if let (true, Some(cache)) = (self.thorough, self.cache) {
            all.extend(cache.all_records(ENOUGH).into_iter().filter(|record| !record.parts.is_empty()));
        }
        all
    }

    fn tell(&self, step: StepNumber, record: Option<&Record>, differences: &[Difference]) {
        let nearest = record.map(|record| record.key.to_string());
        let mut texts: Vec<String> = differences.iter().take(TOLD).map(Difference::with_values).collect();
        // The instruction itself: of the record, since the step's is shown anyway.
        if let Some(record) = record.filter(|_| differences.iter().any(|difference| difference.part == "command")) {
            texts.insert(0, format!("the instruction was {:?}", record.instruction));
        }
        if differences.len() > TOLD {
            texts.push(format!("and {} more", differences.len() - TOLD));
        }
        self.observer.event(Event::Explained { step, nearest, differences: texts });
    }
}
