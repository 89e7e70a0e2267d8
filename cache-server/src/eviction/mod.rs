//! What may stay, and for how long. Pure; `storage/evict.rs` carries it out.

mod values;

use clap::Args;
use std::time::Duration;

pub(crate) use values::{Quota, TimeToLive};
use values::{bytes, duration};

/// What is kept, and how much of it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Policy {
    /// Use no more than this much of the disk: 500MB, 20GiB, or bytes
    ///
    /// Room is set aside before an upload is accepted. To make room, manifests are removed as a
    /// whole, those first that were not used for long and were cheap to build for their size.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) max_bytes: Option<u64>,

    /// Let a repository hold no more than this: REPOSITORY=SIZE, a trailing /* stands for all below
    ///
    /// May be given several times; the first one that fits a repository counts.
    #[arg(long = "quota", value_name = "REPOSITORY=SIZE")]
    pub(crate) quotas: Vec<Quota>,

    /// Remove what was not used for so long: 30d, or REPOSITORY=30d; units s, m, h, d
    ///
    /// May be given several times; the first one that fits a repository counts.
    #[arg(long = "ttl", value_name = "[REPOSITORY=]TIME")]
    pub(crate) times_to_live: Vec<TimeToLive>,

    /// Keep blobs that no manifest names for so long after their upload
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1h")]
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
        let grace = Duration::from_secs(3600);
        Self { max_bytes: None, quotas: Vec::new(), times_to_live: Vec::new(), grace }
    }
}
