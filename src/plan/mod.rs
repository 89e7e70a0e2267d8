//! Instructions and build arguments to a [`Plan`]: stages, ops, dependencies. Pure.
//!
//! [`Graph::new`] settles what needs no network: names, targets, dependencies, the images to
//! resolve. [`Graph::evaluate`] takes the configurations of those images and expands everything;
//! triggers (ONBUILD) of a base image can ask for more images, so it may have to be called again.
//!
//! # Source
//! BuildKit's Dockerfile frontend 1.26, `dockerfile2llb`; error texts are its own.

mod copy;
mod error;
mod evaluate;
mod go_format;
mod graph;
mod instruction;
pub mod lint;
mod mention;
mod mount;
mod named;
mod op;
mod options;
mod path;
mod port;
mod remote;
mod run;
mod scope;
mod signal;
mod stage;
#[cfg(test)]
mod tests;

pub use copy::TransferError;
pub use error::{PlanError, PlanFault};
pub use evaluate::Evaluation;
pub use graph::Graph;
pub use mention::Mention;
pub use mount::MountError;
pub use named::{NamedContext, NamedContexts};
pub use op::*;
pub use options::PlanOptions;
pub use port::PortError;

/// The comment of every history entry that comes from a Dockerfile.
pub const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";
