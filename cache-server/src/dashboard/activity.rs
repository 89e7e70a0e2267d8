//! What happened lately: bounded, in memory, forgotten at a restart.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;

use crate::name::{RepositoryName, Tag};

/// Minutes that are remembered.
pub(super) const MINUTES: usize = 120;
/// Repositories, and manifests, whose use is counted; of more, only the total is.
const MAX_COUNTED: usize = 2000;
const MAX_MISSES: usize = 20;
/// Of one look-up: a build that begins anew misses everything.
const MISSES_OF_ONE: usize = 4;

/// Counts requests; shared by all connections.
#[derive(Debug, Default)]
pub(crate) struct Activity(Mutex<Recent>);

/// What was counted.
#[derive(Debug, Default, Clone)]
pub(super) struct Recent {
    /// Oldest first; minutes without requests are missing.
    pub(super) minutes: VecDeque<Minute>,
    pub(super) repositories: HashMap<RepositoryName, Traffic>,
    pub(super) manifests: HashMap<(RepositoryName, String), Traffic>,
    /// Newest first.
    pub(super) misses: VecDeque<Miss>,
}

/// One minute.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Minute {
    /// Minutes since 1970.
    pub(super) number: i64,
    pub(super) traffic: Traffic,
}

/// Sums over requests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) requests: u64,
    /// Manifests that were asked for and found.
    pub(super) hits: u64,
    /// Manifests that were asked for and not found.
    pub(super) misses: u64,
    /// Bytes of bodies.
    pub(super) received: u64,
    pub(super) sent: u64,
    /// Of records that were found: bytes of their layers, and milliseconds that their steps took.
    pub(super) saved_bytes: u64,
    pub(super) saved_millis: u64,
}

/// A manifest that was asked for and not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Miss {
    /// Seconds since 1970.
    pub(super) second: i64,
    pub(super) repository: RepositoryName,
    pub(super) reference: String,
    pub(super) identity: String,
}

/// What a request was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) repository: RepositoryName,
    /// When a manifest was looked up: its tag or digest.
    pub(crate) manifest: Option<String>,
}

/// What a look-up of many keys found.
#[derive(Debug)]
pub(crate) struct LookedUp<'a> {
    pub(crate) second: i64,
    pub(crate) repository: &'a RepositoryName,
    pub(crate) identity: &'a str,
    pub(crate) found: Saved,
    pub(crate) missed: &'a [&'a Tag],
}

/// What records spare whoever finds them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) records: u64,
    /// Bytes of their layers.
    pub(crate) bytes: u64,
    /// Milliseconds that their steps took.
    pub(crate) millis: u64,
}

/// A request that is over.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    pub(crate) second: i64,
    pub(crate) subject: Option<&'a Subject>,
    pub(crate) identity: &'a str,
    pub(crate) status: StatusCode,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Activity {
    pub(crate) fn record(&self, event: &Event<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).record(event);
    }

    pub(crate) fn looked_up(&self, look_up: &LookedUp<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).looked_up(look_up);
    }

    pub(super) fn recent(&self) -> Recent {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Recent {
    fn record(&mut self, event: &Event<'_>) {
        let traffic = Traffic::of(event);
        self.minute(event.second.div_euclid(60)).add(traffic);
        let Some(subject) = event.subject else { return };
        // What does not exist must not crowd out what does.
        if event.status.is_success() {
            count(&mut self.repositories, &subject.repository, traffic);
            if let Some(reference) = &subject.manifest {
                count(&mut self.manifests, &(subject.repository.clone(), reference.clone()), traffic);
            }
        }
        if traffic.misses > 0 {
            self.miss(event, subject);
        }
    }

    /// Its request is counted by itself; here are the keys.
    fn looked_up(&mut self, look_up: &LookedUp<'_>) {
        let traffic = Traffic {
            hits: look_up.found.records,
            misses: look_up.missed.len() as u64,
            saved_bytes: look_up.found.bytes,
            saved_millis: look_up.found.millis,
            ..Traffic::default()
        };
        self.minute(look_up.second.div_euclid(60)).add(traffic);
        count(&mut self.repositories, look_up.repository, traffic);
        for tag in look_up.missed.iter().take(MISSES_OF_ONE) {
            self.note_miss(look_up.second, look_up.repository, tag.as_str(), look_up.identity);
        }
    }

    fn minute(&mut self, number: i64) -> &mut Traffic {
        // A clock that was set back: the time of what came before is as good.
        if self.minutes.back().is_none_or(|last| last.number < number) {
            self.minutes.push_back(Minute { number, traffic: Traffic::default() });
        }
        if self.minutes.len() > MINUTES {
            self.minutes.pop_front();
        }
        let last = self.minutes.len() - 1;
        &mut self.minutes[last].traffic
    }

    fn miss(&mut self, event: &Event<'_>, subject: &Subject) {
        let reference = subject.manifest.as_deref().unwrap_or_default();
        self.note_miss(event.second, &subject.repository, reference, event.identity);
    }

    fn note_miss(&mut self, second: i64, repository: &RepositoryName, reference: &str, identity: &str) {
        let (reference, identity) = (reference.to_owned(), identity.to_owned());
        self.misses.push_front(Miss { second, repository: repository.clone(), reference, identity });
        self.misses.truncate(MAX_MISSES);
    }
}

impl Traffic {
    fn of(event: &Event<'_>) -> Self {
        let looked_up = event.subject.is_some_and(|subject| subject.manifest.is_some());
        let hit = event.status.is_success() || event.status == StatusCode::NOT_MODIFIED;
        Self {
            requests: 1,
            hits: u64::from(looked_up && hit),
            misses: u64::from(looked_up && event.status == StatusCode::NOT_FOUND),
            received: event.received,
            sent: event.sent,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.hits += other.hits;
        self.misses += other.misses;
        self.received += other.received;
        self.sent += other.sent;
        self.saved_bytes += other.saved_bytes;
        self.saved_millis += other.saved_millis;
    }

    /// Share of look-ups that found something, if there were any.
    pub(super) fn hit_rate(&self) -> Option<f64> {
        let all = self.hits + self.misses;
        (all > 0).then(|| self.hits as f64 / all as f64)
    }
}

fn count<K: Clone + Eq + std::hash::Hash>(counts: &mut HashMap<K, Traffic>, key: &K, traffic: Traffic) {
    if let Some(known) = counts.get_mut(key) {
        known.add(traffic);
    } else if counts.len() < MAX_COUNTED {
        counts.insert(key.clone(), traffic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(second: i64, reference: &str, status: StatusCode) -> Recent {
        let mut recent = Recent::default();
        record(&mut recent, second, reference, status);
        recent
    }

    fn record(recent: &mut Recent, second: i64, reference: &str, status: StatusCode) {
        let subject = Subject { repository: "a".parse().expect("valid"), manifest: Some(reference.into()) };
        let event = Event { second, subject: Some(&subject), identity: "anonymous", status, received: 1, sent: 2 };
        recent.record(&event);
    }

    #[test]
    fn hits_and_misses_are_counted_by_minute() {
        let mut recent = lookup(0, "v1", StatusCode::OK);
        record(&mut recent, 59, "v2", StatusCode::NOT_FOUND);
        record(&mut recent, 60, "v1", StatusCode::NOT_MODIFIED);
        record(&mut recent, 61, "v1", StatusCode::FORBIDDEN);
        let rates: Vec<_> = recent.minutes.iter().map(|minute| (minute.number, minute.traffic.hit_rate())).collect();
        assert_eq!(rates, [(0, Some(0.5)), (1, Some(1.0))]);
        assert_eq!(recent.misses.len(), 1);
        assert_eq!(recent.manifests.len(), 1);
    }

    #[test]
    fn memory_is_bounded_whatever_clients_ask_for() {
        let mut recent = Recent::default();
        for number in 0..5000 {
            record(&mut recent, number * 60, &format!("v{number}"), StatusCode::OK);
            record(&mut recent, number * 60, &format!("x{number}"), StatusCode::NOT_FOUND);
        }
        assert_eq!(
            (recent.minutes.len(), recent.manifests.len(), recent.misses.len()),
            (MINUTES, MAX_COUNTED, MAX_MISSES)
        );
    }
}
