//! Warnings that need variables, the configuration of base images or the ignore file.
//!
//! [`check_bases`] looks at the FROMs of the whole file, [`check_ignored`] at a finished plan; what
//! concerns single instructions comes with [`super::Graph::evaluate`].

mod base;
mod ignored;
mod instruction;

pub use base::check_bases;
pub use ignored::check_ignored;
