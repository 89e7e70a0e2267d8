//! What a step changed, as the members of its layer.
//!
//! On an overlay the upper directory tells ([`overlay()`]); on a plain tree or in place it is the
//! difference to what [`index()`] saw before ([`changed`]). Both give the same list by the same
//! rules:
//!
//! - depth first, names sorted bytewise, a directory before what it holds;
//! - an object is left out when mode, owner, `security.capability` and (unless it is a
//!   directory) modification time in seconds and content are those that the view has;
//! - a directory on the way to a change is in the list with what it is like now;
//! - what is gone is one whiteout at its top; a directory that was replaced by another one has
//!   whiteouts for the single names that are gone, never an opaque marker;
//! - of the names of one file that are in the list the first is the file, the others link to it;
//! - sockets are not there.

mod compare;
mod difference;
mod index;
mod listing;
mod overlay;

use std::io;
use std::path::PathBuf;

pub use index::{StatIndex, changed, everything, index};
pub use overlay::overlay;

/// Why a snapshot could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("snapshot: failed to {what} {}", path.display())]
pub struct SnapshotError {
    /// What was tried.
    pub what: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl SnapshotError {
    /// For `map_err`.
    fn at<E: Into<io::Error>>(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(E) -> Self {
        move |source| Self { what, path: path.into(), source: source.into() }
    }
}
