//! A stage's file system as a view over tables of contents. Pure over its TOCs.

mod node;

pub use node::*;
