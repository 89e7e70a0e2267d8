//! The layer cache: records and blobs, locally and in cache repositories.

mod record;

pub use record::*;
