//! Where everything meets.

pub mod copy;
