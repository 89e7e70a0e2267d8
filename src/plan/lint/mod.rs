//! Warnings that need variables, the configuration of base images or the ignore file.
//!
//! [`check_bases`] looks at the FROMs of the whole file, [`check_ignored`] at a finished plan; what
//! concerns single instructions comes with [`super::Graph::evaluate`]. [`check_arguments`] and
//! [`check_pivots`] are no rules of BuildKit's.

mod argument;
mod base;
mod ignored;
mod instruction;
mod pivot;

pub use argument::check_arguments;
pub use base::check_bases;
pub use ignored::check_ignored;
pub use pivot::check_pivots;
