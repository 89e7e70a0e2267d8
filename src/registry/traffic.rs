//! Counts requests, and how many of them had to wait for one another.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What was asked of servers so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests, those to token servers and object stores included.
    pub requests: usize,
    /// The longest chain of requests that each began after the one before was answered. What the
    /// network's latency costs is that many times the latency.
    pub round_trips: usize,
}

impl Traffic {
    /// What came after `earlier`, a value of the same client at a moment when nothing was under way.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            round_trips: self.round_trips.saturating_sub(earlier.round_trips),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counter {
    requests: AtomicUsize,
    deepest: AtomicUsize,
}

impl Counter {
    /// Calls `exchange`, which waits for the answer to one request.
    pub(super) fn count<T>(&self, exchange: impl FnOnce() -> T) -> T {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let depth = self.deepest.load(Ordering::Acquire) + 1;
        let answer = exchange();
        self.deepest.fetch_max(depth, Ordering::Release);
        answer
    }

    pub(super) fn traffic(&self) -> Traffic {
        let load = |counter: &AtomicUsize| counter.load(Ordering::Acquire);
        Traffic { requests: load(&self.requests), round_trips: load(&self.deepest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_side_by_side_is_one_round_trip() {
        let counter = Counter::default();
        counter.count(|| ());
        let before = counter.traffic();
        counter.count(|| counter.count(|| counter.count(|| ())));
        assert_eq!(counter.traffic().since(before), Traffic { requests: 3, round_trips: 1 });
        (0..4).for_each(|_| counter.count(|| ()));
        assert_eq!(counter.traffic().since(before), Traffic { requests: 7, round_trips: 5 });
    }
}
