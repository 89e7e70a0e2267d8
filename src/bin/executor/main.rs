//! Yadokari.
fn main() {}
