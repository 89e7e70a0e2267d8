//! Build contexts, and what ADD brings in from elsewhere.

mod archive;

pub use archive::{Archive, ArchiveError, ArchiveMember, MemberKind};
