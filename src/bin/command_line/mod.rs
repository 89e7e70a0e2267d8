//! What the command lines of the executor and the warmer have in common: flag groups, values of
//! flags, and what they become in the library's terms.
//!
//! Both programs compile this folder. A crate of its own would close a circle: it needs the
//! library, and the executor belongs to the library's package.

pub(crate) mod cache_server;
pub(crate) mod display;
pub(crate) mod failure;
#[cfg(test)]
pub(crate) mod flag_page;
pub(crate) mod flags;
#[cfg(test)]
pub(crate) mod kaniko_table;
pub(crate) mod memory;
pub(crate) mod settings;
pub(crate) mod switches;
pub(crate) mod values;
pub(crate) mod web_dockerfile;
