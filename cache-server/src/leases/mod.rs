//! Who is making what just now: so that one runner builds a step and the others wait for it.
//!
//! A lease is advice. Leases live in memory and end by themselves; whoever does not get one, or
//! loses it, builds all the same. What is stored is right whoever stored it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::name::{RepositoryName, Tag};

/// Leases at the same time; beyond, everybody builds.
const MAX_LEASES: usize = 100_000;
/// From here on, those that have run out are looked for.
const TIDY_FROM: usize = 1024;

/// All leases.
#[derive(Debug)]
pub(crate) struct Leases(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: HashMap<Key, Held>,
    last_fence: u64,
    granted: u64,
}

type Key = (RepositoryName, Tag);

#[derive(Debug)]
struct Held {
    lease: Lease,
    since: Instant,
    expires: Instant,
    ended: Arc<Notify>,
}

/// The right to be the one who makes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Known to its holder only.
    pub(crate) id: Uuid,
    /// Greater than that of every lease before.
    pub(crate) fence: u64,
}

/// A lease that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) repository: RepositoryName,
    pub(crate) tag: Tag,
    pub(crate) age: Duration,
    /// Until it ends, unless it is renewed.
    pub(crate) left: Duration,
}

/// What a client that asked for a lease should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// Make it.
    Granted(Lease),
    /// Ask again, or make it all the same.
    Held,
}

impl Leases {
    /// Fencing tokens begin with the time in microseconds, so that none of an earlier run is greater.
    pub(crate) fn new() -> Self {
        let last_fence = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
        Self(Mutex::new(State { last_fence, ..State::default() }))
    }

    /// Asks for the lease of `key` for `time`, until `deadline`. Returns early, with
    /// [`Acquired::Held`], when a lease that it waited for has ended well.
    pub(crate) async fn acquire(&self, key: Key, time: Duration, deadline: Instant) -> Acquired {
        loop {
            let (ended, expires) = match self.try_acquire(&key, time) {
                Ok(lease) => return Acquired::Granted(lease),
                Err(waiting) => waiting,
            };
            let woken = timeout_at(deadline.min(expires), ended.notified()).await;
            if woken.is_ok() || Instant::now() >= deadline {
                return Acquired::Held;
            }
        }
    }

    /// The lease; or what to wait for, and for how long.
    fn try_acquire(&self, key: &Key, time: Duration) -> Result<Lease, (Arc<Notify>, Instant)> {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(held) = state.held.get(key).filter(|held| held.expires > now) {
            return Err((Arc::clone(&held.ended), held.expires));
        }
        state.tidy(now);
        state.last_fence += 1;
        state.granted += 1;
        let lease = Lease { id: Uuid::new_v4(), fence: state.last_fence };
        if state.held.len() < MAX_LEASES {
            let before =
                state.held.insert(key.clone(), Held { lease, since: now, expires: now + time, ended: Arc::default() });
            before.inspect(|held| held.ended.notify_waiters());
        }
        Ok(lease)
    }

    /// Lengthens a lease; false when it has ended.
    pub(crate) fn renew(&self, key: &Key, id: Uuid, time: Duration) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        let held = state.held.get_mut(key).filter(|held| held.lease.id == id && held.expires > now);
        held.map(|held| held.expires = now + time).is_some()
    }

    /// Gives a lease back; false when it has ended.
    pub(crate) fn release(&self, key: &Key, id: Uuid) -> bool {
        let mut state = self.lock();
        let is_held = state.held.get(key).is_some_and(|held| held.lease.id == id);
        is_held && state.held.remove(key).inspect(|held| held.ended.notify_waiters()).is_some()
    }

    /// Ends the leases of what is there now.
    pub(crate) fn fulfil(&self, repository: &RepositoryName, tags: &[Tag]) {
        let mut state = self.lock();
        if state.held.is_empty() {
            return;
        }
        for tag in tags {
            let held = state.held.remove(&(repository.clone(), tag.clone()));
            held.inspect(|held| held.ended.notify_waiters());
        }
    }

    /// Says whether somebody holds a later lease than the one with `fence`.
    pub(crate) fn is_overtaken(&self, repository: &RepositoryName, tag: &Tag, fence: u64) -> bool {
        let now = Instant::now();
        let state = self.lock();
        let held = state.held.get(&(repository.clone(), tag.clone()));
        held.is_some_and(|held| held.expires > now && held.lease.fence > fence)
    }

    /// Up to `limit` leases that are held now, the oldest first, and how many there are in all.
    pub(crate) fn running(&self, limit: usize) -> (Vec<Running>, usize) {
        let now = Instant::now();
        let state = self.lock();
        let held = state.held.iter().filter(|(_, held)| held.expires > now);
        let mut running: Vec<Running> = held
            .map(|((repository, tag), held)| Running {
                repository: repository.clone(),
                tag: tag.clone(),
                age: now.saturating_duration_since(held.since),
                left: held.expires.saturating_duration_since(now),
            })
            .collect();
        drop(state);
        let count = running.len();
        running.sort_by_key(|lease| std::cmp::Reverse(lease.age));
        running.truncate(limit);
        (running, count)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tidy(&mut self, now: Instant) {
        if self.held.len() >= TIDY_FROM && self.granted.is_multiple_of(TIDY_FROM as u64) {
            self.held.retain(|_, held| held.expires > now);
        }
    }
}

#[cfg(test)]
mod tests;
