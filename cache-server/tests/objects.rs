//! What is asked of a registry and a cache, with the data in a bucket: the same tests as for a
//! directory, and those that only replicas need.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]
// The files of tests below are programs of their own, too, each with this module.
#![allow(clippy::duplicate_mod)]

mod registry;

#[path = "builders.rs"]
mod builders;
#[path = "cache_api.rs"]
mod cache_api;
#[path = "objects/clients.rs"]
mod clients;
#[path = "conformance.rs"]
mod conformance;
#[path = "objects/copies.rs"]
mod copies;
#[path = "eviction.rs"]
mod eviction;
#[path = "objects/journal.rs"]
mod journal;
#[path = "objects/load.rs"]
mod load;
#[path = "objects/replicas.rs"]
mod replicas;
#[path = "objects/startup.rs"]
mod startup;
#[path = "objects/throttled.rs"]
mod throttled;
