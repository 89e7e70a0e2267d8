use std::sync::Arc;
use std::time::Duration;

use super::Trust;
use crate::image::Reference;
use crate::report::CacheTier;

/// How a [`super::RegistryCache`] behaves.
#[derive(Debug, Clone)]
pub struct RegistryCacheOptions {
    /// Older records are misses.
    pub ttl: Option<Duration>,
    /// Look-ups at the same time, of a registry that is near.
    pub threads: usize,
    /// What a hit is reported as.
    pub tier: CacheTier,
    /// Other repositories that may have a blob which the local store lacks; those of the same
    /// registry are mounted from.
    pub neighbours: Vec<Reference>,
    /// Records and tables of contents that it does not take are misses.
    pub trust: Arc<Trust>,
}

impl Default for RegistryCacheOptions {
    fn default() -> Self {
        Self { ttl: None, threads: 24, tier: CacheTier::Registry, neighbours: Vec::new(), trust: Arc::default() }
    }
}
