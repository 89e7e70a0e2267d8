//! build.

pub mod copy;
