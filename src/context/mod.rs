//! Build contexts, and what ADD brings in from elsewhere.
//!
//! Everything here ends as values that the rest works with: a [`crate::view::View`] whose files
//! are named by host path, or the members of an archive.

mod archive;
mod bucket;
mod directory;
mod error;
mod fetch;
mod git;
mod hash;
mod ignored;
mod location;
mod moved;
mod open;
mod stat_cache;
mod unpack;

pub use archive::{Archive, ArchiveError, ArchiveMember, MemberKind, Metadata, unpack};
pub use bucket::{BucketAddress, BucketError};
use directory::{read_directory, subtree};
pub use error::ContextError;
pub use fetch::{FetchError, Fetched, fetch, url_file_name, web_host};
pub use git::{
    Checkout, Git, GitError, GitLogin, GitOptions, GitOptionsError, GitReference, GitSource, GitSourceError,
};
use hash::hash_files;
pub use hash::open_file;
pub use location::{ContextSpec, Location};
pub use open::{ContextDirectory, Fetching, FoundContext, find};

#[cfg(test)]
mod tests;
