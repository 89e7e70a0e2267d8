//! What is asked of a registry and a cache, with the data in a container of Azure's: the tests of
//! `objects`, with another service. Those under load are left out: Azurite takes seconds for a write then, more than servers wait.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]
// The files of tests below are programs of their own, too, each with this module.
#![allow(clippy::duplicate_mod)]

mod registry;

#[path = "cache_api.rs"]
mod cache_api;
#[path = "objects/clients.rs"]
mod clients;
#[path = "conformance.rs"]
mod conformance;
#[path = "eviction.rs"]
mod eviction;
#[path = "objects/identities.rs"]
mod identities;
#[path = "objects/journal.rs"]
mod journal;
#[path = "objects/replicas.rs"]
mod replicas;
#[path = "objects/startup.rs"]
mod startup;
#[path = "objects/throttled.rs"]
mod throttled;
