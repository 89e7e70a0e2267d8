//! What has happened so far, for Prometheus and for probes.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::round::Tally;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

type Fraction = Gauge<f64, AtomicU64>;

/// Counts rounds and what came of them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    rounds: Family<Outcome, Counter>,
    images: Family<Outcome, Counter>,
    fetched_bytes: Counter,
    removed_bytes: Counter,

    duration: Fraction,
    ended: Fraction,
    succeeded: Fraction,
    is_ready: AtomicBool,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("yadokari_warmer");
        let (rounds, images) = (Family::default(), Family::default());
        let (fetched_bytes, removed_bytes) = (Counter::default(), Counter::default());
        let (duration, ended, succeeded) = (Fraction::default(), Fraction::default(), Fraction::default());
        registry.register("rounds", "Rounds, by whether all images are there", rounds.clone());
        registry.register("images", "Images looked at, by what had to be done", images.clone());
        let bytes = || Unit::Bytes;
        registry.register_with_unit("fetched", "Fetched from registries", bytes(), fetched_bytes.clone());
        registry.register_with_unit("removed", "Removed for --max-bytes", bytes(), removed_bytes.clone());
        let seconds = || Unit::Seconds;
        registry.register_with_unit("round_duration", "What the last round took", seconds(), duration.clone());
        registry.register_with_unit("last_round_timestamp", "When the last round ended", seconds(), ended.clone());
        let help = "When all images were last found there";
        registry.register_with_unit("last_success_timestamp", help, seconds(), succeeded.clone());
        let is_ready = AtomicBool::new(false);
        Self { registry, rounds, images, fetched_bytes, removed_bytes, duration, ended, succeeded, is_ready }
    }

    /// A round ended; `None` when it could not even begin.
    pub(crate) fn round(&self, tally: Option<&Tally>, took: Duration) {
        let is_good = tally.is_some_and(|tally| tally.failed == 0);
        let outcome = |outcome| Outcome { outcome };
        self.rounds.get_or_create(&outcome(if is_good { "good" } else { "failed" })).inc();
        if let Some(tally) = tally {
            let counts = [("cached", tally.cached), ("renewed", tally.renewed), ("stored", tally.stored)];
            for (name, count) in counts.into_iter().chain([("failed", tally.failed)]) {
                self.images.get_or_create(&outcome(name)).inc_by(count as u64);
            }
            self.fetched_bytes.inc_by(tally.fetched_bytes);
            self.removed_bytes.inc_by(tally.removed_bytes);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.duration.set(took.as_secs_f64());
        self.ended.set(now);
        if is_good {
            self.succeeded.set(now);
        }
        self.is_ready.store(is_good, Ordering::Relaxed);
    }

    /// Whether the last round left all images in the directory.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// In the OpenMetrics text format.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
