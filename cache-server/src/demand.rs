//! What runners ask for, and how much: bounded, in memory, forgotten slowly.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::name::{Reference, RepositoryName};

/// Names whose requests are counted; beyond, the half that is wanted least is forgotten.
const MAX_NAMES: usize = 20_000;
/// After so many seconds a request counts half.
const HALF_LIFE: f64 = 24.0 * 3600.0;
/// Weights grow with time instead of shrinking all at once; they are made small again from here on.
const MAX_EXPONENT: f64 = 500.0;

/// Counts requests; shared by all connections.
#[derive(Debug, Default)]
pub(crate) struct Demand(Mutex<Counts>);

/// A manifest that runners ask for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) repository: RepositoryName,
    /// As they ask for it.
    pub(crate) reference: Reference,
    /// Requests, of which old ones count less.
    pub(crate) weight: f64,
}

#[derive(Debug, Default)]
struct Counts {
    weights: HashMap<RepositoryName, HashMap<Reference, f64>>,
    /// In all of them.
    names: usize,
    /// Seconds since 1970 at which a request weighs one.
    landmark: f64,
}

impl Demand {
    /// A request at `second`, since 1970.
    pub(crate) fn note(&self, repository: &RepositoryName, reference: &Reference, second: f64) {
        self.lock().note(repository, reference, second);
    }

    /// Those that `fits` takes, the most wanted first, up to `limit`, as of `second`.
    pub(crate) fn top(
        &self,
        limit: usize,
        second: f64,
        fits: impl Fn(&RepositoryName, &Reference) -> bool,
    ) -> Vec<Wanted> {
        let counts = self.lock();
        let scale = counts.scale(second);
        let all = counts
            .weights
            .iter()
            .flat_map(|(repository, all)| all.iter().map(move |(reference, weight)| (repository, reference, weight)));
        let mut wanted: Vec<Wanted> = all
            .filter(|(repository, reference, _)| fits(repository, reference))
            .map(|(repository, reference, weight)| Wanted {
                repository: repository.clone(),
                reference: reference.clone(),
                weight: weight / scale,
            })
            .collect();
        drop(counts);
        let name = |wanted: &Wanted| (wanted.repository.to_string(), wanted.reference.to_string());
        wanted.sort_by(|a, b| b.weight.total_cmp(&a.weight).then_with(|| name(a).cmp(&name(b))));
        wanted.truncate(limit);
        wanted
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn note(&mut self, repository: &RepositoryName, reference: &Reference, second: f64) {
        if self.weights.is_empty() || (second - self.landmark) / HALF_LIFE > MAX_EXPONENT {
            self.move_landmark(second);
        }
        let weight = self.scale(second);
        // Most names are known, and are not copied.
        if let Some(known) = self.weights.get_mut(repository).and_then(|all| all.get_mut(reference)) {
            *known += weight;
            return;
        }
        self.weights.entry(repository.clone()).or_default().insert(reference.clone(), weight);
        self.names += 1;
        if self.names > MAX_NAMES {
            self.forget_half();
        }
    }

    /// What a request at `second` weighs.
    fn scale(&self, second: f64) -> f64 {
        ((second - self.landmark) / HALF_LIFE).min(MAX_EXPONENT).exp2()
    }

    fn move_landmark(&mut self, second: f64) {
        let scale = self.scale(second);
        self.weights.values_mut().flat_map(HashMap::values_mut).for_each(|weight| *weight /= scale);
        self.landmark = second;
    }

    fn forget_half(&mut self) {
        let mut weights: Vec<f64> = self.weights.values().flat_map(HashMap::values).copied().collect();
        let middle = weights.len() / 2;
        let (_, median, _) = weights.select_nth_unstable_by(middle, f64::total_cmp);
        let median = *median;
        // Of those that weigh as much as the median only so many stay that half is left.
        let mut equals = middle.saturating_sub(weights.iter().filter(|weight| **weight > median).count());
        for all in self.weights.values_mut() {
            all.retain(|_, weight| {
                let is_equal = (*weight - median).abs() <= 0.0;
                let stays = *weight > median || (is_equal && equals > 0);
                equals -= usize::from(is_equal && stays);
                stays
            });
        }
        self.weights.retain(|_, all| !all.is_empty());
        self.names = self.weights.values().map(HashMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: f64 = HALF_LIFE;

    fn ask(demand: &Demand, tag: &str, second: f64) {
        demand.note(&"a".parse().expect("valid"), &tag.parse().expect("valid"), second);
    }

    fn top(demand: &Demand, second: f64) -> Vec<(String, f64)> {
        let top = demand.top(3, second, |_, _| true);
        top.into_iter().map(|wanted| (wanted.reference.to_string(), wanted.weight)).collect()
    }

    #[test]
    fn old_requests_count_less() {
        let demand = Demand::default();
        let start = 1.7e9;
        (0..3).for_each(|_| ask(&demand, "old", start));
        (0..2).for_each(|_| ask(&demand, "new", start + DAY));
        assert_eq!(top(&demand, start + DAY), [("new".into(), 2.0), ("old".into(), 1.5)]);
        // Also when nobody asked for years.
        ask(&demand, "new", start + 3000.0 * DAY);
        let later = top(&demand, start + 3000.0 * DAY);
        assert_eq!(later[0], ("new".into(), 1.0));
        assert!(later[1].1 < 1e-9);
    }

    #[test]
    fn what_is_wanted_least_is_forgotten() {
        let demand = Demand::default();
        (0..3).for_each(|_| ask(&demand, "wanted", 0.0));
        for number in 0..3 * MAX_NAMES {
            ask(&demand, &format!("t{number}"), 0.0);
            if number % 1000 == 0 {
                ask(&demand, "wanted", 0.0);
            }
        }
        assert!(demand.lock().names <= MAX_NAMES);
        assert_eq!(top(&demand, 0.0)[0].0, "wanted");
    }
}
