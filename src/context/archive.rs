//! Archives that ADD unpacks.

use crate::layer::EntryPath;
use crate::view::Node;

/// An unpacked archive: its members in their order, which decides what hides what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Archive {
    /// The archive's own root left out.
    pub members: Vec<ArchiveMember>,
}

/// One member of an [`Archive`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveMember {
    /// Clean, never empty.
    pub path: EntryPath,
    /// What.
    pub kind: MemberKind,
}

/// What a member is. `.wh.` names mean nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// An object of its own.
    Node(Node),
    /// Another name of an earlier one; clean path.
    Hardlink(EntryPath),
}

/// x
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {}
