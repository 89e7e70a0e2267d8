//! What the OCI distribution specification asks of a registry, over real HTTP.
//!
//! The cases follow the specification's own conformance suite.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::expect_used)]

mod registry;

#[path = "conformance/blobs.rs"]
mod blobs;
#[path = "conformance/collections.rs"]
mod collections;
#[path = "conformance/forms.rs"]
mod forms;
#[path = "conformance/lists.rs"]
mod lists;
#[path = "conformance/manifests.rs"]
mod manifests;
#[path = "conformance/security.rs"]
mod security;
#[path = "conformance/uploads.rs"]
mod uploads;
