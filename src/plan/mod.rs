//! Instructions and build arguments to a [`Plan`]: stages, ops, dependencies. Pure.

mod op;

pub use op::*;
