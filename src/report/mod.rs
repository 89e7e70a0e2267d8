//! Events of a build, and their displays.

mod event;

pub use event::*;
