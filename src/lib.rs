//! Yadokari builds container images from Dockerfiles inside an ordinary container,
//! with no daemon and no privileges, and never does the same work twice.
//!
//! The folders are the architecture. Pure modules know no file system, environment,
//! network or clock; edge modules know the pure ones; only [`build`] knows them all.
//! `tests/architecture.rs` reads the `use` lines and keeps it so.

// Takes the place of the C library's functions in static binaries.
use yadokari_memory as _;

// Known to all.
pub mod causes;
pub mod parallel;

// Pure.
pub mod digest;
pub mod dockerfile;
pub mod image;
pub mod key;
pub mod otlp;
pub mod pattern;
pub mod plan;
pub mod signature;

// Layers: codecs over readers and writers; a view is pure over its tables of contents.
pub mod layer;
pub mod view;

// What is installed in a view.
pub mod sbom;

// Edges.
pub mod attest;
pub mod cache;
pub mod context;
pub mod extract;
pub mod registry;
pub mod report;
pub mod sandbox;
pub mod snapshot;
pub mod store;

// Where everything meets.
pub mod build;
