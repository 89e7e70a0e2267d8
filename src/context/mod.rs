//! Build contexts, and what ADD brings in from elsewhere.
//!
//! Everything here ends as values that the rest works with: a [`crate::view::View`] whose files
//! are named by host path, or the members of an archive.

mod archive;
mod directory;
mod fetch;
mod git;
mod hash;
mod open;

pub use archive::{Archive, ArchiveError, ArchiveMember, MemberKind, unpack};
pub use directory::read_directory;
pub use fetch::{FetchError, Fetched, fetch, url_file_name};
pub use git::{Checkout, Git, GitError, GitReference, GitSource, GitSourceError};
pub use hash::hash_files;
pub use open::{ContextDirectory, ContextError, find, ignore_patterns, open};

#[cfg(test)]
mod tests;
