//! Counts requests, and how many of them had to wait for one another.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A server whose answers all took at least this long is far away: most of it is the network's.
const FAR: Duration = Duration::from_millis(10);
/// So many times as many short requests are under way then.
const MORE: usize = 5;
/// No more requests are under way at any time, whoever makes them: registries count, and refuse.
const AT_ONCE: usize = 120;

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

#[derive(Debug)]
pub(super) struct Counter {
    requests: AtomicUsize,
    deepest: AtomicUsize,
    /// Nanoseconds of the fastest answer.
    fastest: AtomicU64,
    /// Somebody asked for fewer requests.
    throttled: AtomicBool,
    gate: Gate,
}

/// Lets [`AT_ONCE`] in.
#[derive(Debug, Default)]
struct Gate {
    inside: Mutex<usize>,
    left: Condvar,
}

/// Inside, until dropped.
struct Inside<'a>(&'a Gate);

impl Gate {
    fn enter(&self) -> Inside<'_> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |inside: &mut usize| *inside >= AT_ONCE;
        *self.left.wait_while(inside, is_full).unwrap_or_else(PoisonError::into_inner) += 1;
        Inside(self)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        *self.0.inside.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}

impl Default for Counter {
    fn default() -> Self {
        let (requests, deepest, throttled, gate) = Default::default();
        Self { requests, deepest, fastest: AtomicU64::new(u64::MAX), throttled, gate }
    }
}

impl Counter {
    /// Calls `exchange`, which waits for the answer to one request.
    pub(super) fn count<T>(&self, exchange: impl FnOnce() -> T) -> T {
        let _inside = self.gate.enter();
        self.requests.fetch_add(1, Ordering::Relaxed);
        let depth = self.deepest.load(Ordering::Acquire) + 1;
        let began = Instant::now();
        let answer = exchange();
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.fastest.fetch_min(took, Ordering::Relaxed);
        self.deepest.fetch_max(depth, Ordering::Release);
        answer
    }

    /// Takes note that a server wants fewer requests.
    pub(super) fn throttle(&self) {
        self.throttled.store(true, Ordering::Relaxed);
    }

    /// How many short requests to have under way where `usual` are enough for a server that is near.
    pub(super) fn in_flight(&self, usual: usize) -> usize {
        let fastest = self.fastest.load(Ordering::Relaxed);
        let is_far = fastest != u64::MAX && Duration::from_nanos(fastest) >= FAR;
        if is_far && !self.throttled.load(Ordering::Relaxed) { usual * MORE } else { usual }
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

    #[test]
    fn more_is_under_way_where_the_network_takes_the_time_and_nobody_complains() {
        let counter = Counter::default();
        assert_eq!(counter.in_flight(24), 24);
        counter.count(|| std::thread::sleep(FAR));
        assert_eq!(counter.in_flight(24), 24 * MORE);
        counter.throttle();
        assert_eq!(counter.in_flight(24), 24);
        let near = Counter::default();
        near.fastest.store(1_000_000, Ordering::Relaxed);
        near.count(|| std::thread::sleep(FAR));
        assert_eq!(near.in_flight(24), 24);
    }

    #[test]
    fn a_crowd_is_let_in_by_the_hundred_and_twenty() {
        let (counter, running, most) = (Counter::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        // Nobody leaves before so many are inside.
        let all_in = std::sync::Barrier::new(AT_ONCE);
        let exchange = || {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            all_in.wait();
            running.fetch_sub(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            (0..3 * AT_ONCE).for_each(|_| drop(scope.spawn(|| counter.count(exchange))));
        });
        assert_eq!((most.into_inner(), counter.traffic().requests), (AT_ONCE, 3 * AT_ONCE));
    }
}
