//! Dockerfile text to instructions with spans. Pure.

mod ast;

pub use ast::*;
