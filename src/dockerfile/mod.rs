//! Dockerfile text to instructions with spans, and the expansion of variables in them. Pure.
//!
//! [`parse`] gives a [`Dockerfile`] or one [`ParseError`] that [`render`] shows with its source
//! lines. Nothing is expanded here: [`Expander`] does that later, when the variables are known.
//!
//! # Source
//! BuildKit's Dockerfile frontend 1.26; error texts are its own.

mod arguments;
mod ast;
mod diagnostic;
mod directive;
mod duration;
mod expand;
mod flag;
mod healthcheck;
mod heredoc;
mod instruction;
mod line;
pub mod lint;
mod parser;
pub(crate) mod suggestion;
#[cfg(test)]
mod tests;
mod transfer;

pub use ast::*;
pub use diagnostic::{Listing, ParseError, render};
pub use duration::go_duration;
pub use expand::{ExpandError, ExpandReason, Expanded, Expander};
pub use parser::{parse, parse_trigger};
