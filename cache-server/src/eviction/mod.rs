//! What may stay, and for how long. Pure; `storage/evict.rs` carries it out.

mod values;

use std::time::Duration;

pub(crate) use values::{Quota, Size, Time, TimeToLive, from_text};

/// Blobs that no manifest names stay for so long after their upload.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(3600);

/// What is kept, and how much of it.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Bytes of the disk that may be used.
    pub(crate) max_bytes: Option<u64>,
    /// The first one that fits a repository counts.
    pub(crate) quotas: Vec<Quota>,
    /// The first one that fits a repository counts.
    pub(crate) times_to_live: Vec<TimeToLive>,
    /// For blobs that no manifest names.
    pub(crate) grace: Duration,
}

impl Policy {
    /// Bytes that `repository` may hold.
    pub(crate) fn quota(&self, repository: &str) -> Option<u64> {
        self.quotas.iter().find(|quota| quota.of.covers(repository)).map(|quota| quota.bytes)
    }

    /// How long things of `repository` stay without being used.
    pub(crate) fn time_to_live(&self, repository: &str) -> Option<Duration> {
        let fitting = self.times_to_live.iter().find(|ttl| ttl.of.covers(repository));
        fitting.map(|ttl| ttl.time)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self { max_bytes: None, quotas: Vec::new(), times_to_live: Vec::new(), grace: DEFAULT_GRACE }
    }
}
