//! What is asked of a registry, with clients that are sent to the store for every blob.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]
// The files of tests below are programs of their own, too, each with this module.
#![allow(clippy::duplicate_mod)]

mod registry;

#[path = "clients.rs"]
mod clients;
#[path = "conformance.rs"]
mod conformance;
#[path = "mirror.rs"]
mod mirror;
