//! The layer cache: records and blobs, locally and in cache repositories.

pub use crate::store::{Record, RecordError, RecordLayer};
