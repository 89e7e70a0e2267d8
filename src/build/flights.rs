//! Work that several threads may ask for and one does.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Lets one thread at a time work on a key; the others wait, and find the result where the first
/// put it.
pub(super) struct Flights<K> {
    busy: Mutex<BTreeSet<K>>,
    landed: Condvar,
}

/// The right to work on a key, until it is dropped.
pub(super) struct Flight<'a, K: Ord + Clone> {
    flights: &'a Flights<K>,
    key: K,
}

impl<K> Default for Flights<K> {
    fn default() -> Self {
        Self { busy: Mutex::default(), landed: Condvar::new() }
    }
}

impl<K: Ord + Clone> Flights<K> {
    /// Waits until nobody works on `key`. Whoever asked for the same work may have done it by then.
    pub(super) fn enter(&self, key: K) -> Flight<'_, K> {
        let busy = self.landed.wait_while(self.busy(), |busy| busy.contains(&key));
        busy.unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        Flight { flights: self, key }
    }

    fn busy(&self) -> MutexGuard<'_, BTreeSet<K>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord + Clone> Drop for Flight<'_, K> {
    fn drop(&mut self) {
        self.flights.busy().remove(&self.key);
        self.flights.landed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn one_works_and_the_others_find_the_result() {
        let (flights, made, done) = (Flights::default(), AtomicUsize::new(0), Mutex::new(None));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _flight = flights.enter("key");
                    let known = *done.lock().expect("lock");
                    if known.is_none() {
                        thread::yield_now();
                        *done.lock().expect("lock") = Some(made.fetch_add(1, Ordering::SeqCst));
                    }
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn keys_do_not_wait_for_each_other() {
        let flights = Flights::default();
        let _first = flights.enter(1);
        drop(flights.enter(2));
    }
}
