//! Extraction of layers below a root directory.
//!
//! Nothing is reached by a path that the kernel resolves: every directory on the way is opened
//! by its name in the one before, never through a link, and links are followed by
//! [`crate::view`]'s rules, which cannot leave the root. So one way serves every kernel, gVisor
//! included, and a link that a layer planted leads nowhere else than inside.

mod directories;
mod merge;
mod objects;
mod overlay;
mod remove;
mod tree;
mod verify;

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use merge::Merge;
use overlay::Overlay;
pub use verify::is_intact;

use crate::digest::ChainId;
use crate::layer::scan::scan_with;
use crate::layer::{DecodeError, EntryPath, Names, Scanned};
use crate::view::{Node, ResolveError, View};

/// How a layer lies on disk.
#[derive(Clone, Copy)]
pub enum Form<'a> {
    /// Alone in an empty directory of its own that becomes a lower directory of overlayfs:
    /// whiteouts as character devices 0:0, opaque directories marked by an attribute.
    Overlay {
        /// The layers underneath: where links in them lead, and what directories that the layer
        /// only implies look like. `None` while they are not known: then a member whose directories
        /// the layer does not have itself is [`ExtractError::NeedsBelow`], and the root is to be given
        /// its looks afterwards ([`settle_root`]).
        below: Option<&'a View>,
        /// Mark with `user.overlay.opaque`, for mounts with `userxattr`, and not
        /// `trusted.overlay.opaque`.
        user_xattr: bool,
    },
    /// Onto the layers underneath: whiteouts delete, directories merge, the rest replaces.
    Merge {
        /// Paths that, with everything below them, are neither written nor deleted.
        skip: &'a dyn Fn(&[u8]) -> bool,
    },
    /// An archive that is no layer: names that would be whiteouts are names of files.
    Plain,
}

/// What to do when an owner cannot be set, as in a user namespace with a single id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Fail.
    Exact,
    /// Leave the owner that the file has.
    BestEffort,
}

/// A layer that was extracted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// The same as [`crate::layer::scan()`] tells.
    pub scanned: Scanned,
    /// What is not on disk, in tar order.
    pub skipped: Vec<Skipped>,
}

/// Something that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The member.
    pub path: EntryPath,
    /// Why.
    pub reason: SkipReason,
}

/// Why something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// We may not make device nodes, or overlayfs would take this one for a whiteout.
    Device,
    /// The form says so.
    Excluded,
    /// The file is there, but its capabilities could not be set.
    Capability,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device node cannot be made here",
            Self::Excluded => "path is excluded",
            Self::Capability => "file capabilities cannot be set here",
        })
    }
}

/// Why a layer could not be extracted. What is on disk then is a part of it.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The archive is not readable.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A member's directory is reached through links that form a loop.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Where a member belongs depends on layers that are not known.
    #[error("failed to extract /{}: its place depends on the layers underneath", String::from_utf8_lossy(path))]
    NeedsBelow {
        /// The member.
        path: EntryPath,
    },
    /// A hard link to something that this layer does not have.
    #[error(
        "failed to extract /{}: hard link to /{}, which is not there",
        String::from_utf8_lossy(path),
        String::from_utf8_lossy(target)
    )]
    Hardlink {
        /// The member.
        path: EntryPath,
        /// What it links to.
        target: EntryPath,
    },
    /// The file system refused.
    #[error("failed to {operation} /{}", String::from_utf8_lossy(path))]
    Write {
        /// What was tried.
        operation: &'static str,
        /// Below the root.
        path: EntryPath,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What a store calls the tree of a layer in [`Form::Overlay`]: it depends on all layers below, and the two
/// forms of markers must not be mixed up.
pub fn overlay_name(chain: &ChainId, user_xattr: bool) -> String {
    let form = if user_xattr { "-user" } else { "" };
    format!("{}{form}", chain.0.hex())
}

/// Extracts a layer's uncompressed tar below `root`, an existing directory, and tells what
/// [`crate::layer::scan()`] tells, in the same pass.
///
/// Owner, mode, modification time, hard links, devices and file capabilities are restored;
/// other extended attributes are not. Directories get their mode and time last.
///
/// # Errors
/// See [`ExtractError`].
pub fn extract(
    tar: impl Read + Send,
    root: &Path,
    form: Form<'_>,
    ownership: Ownership,
) -> Result<Extracted, ExtractError> {
    let (scanned, skipped) = match form {
        Form::Overlay { below, user_xattr } => {
            let mut overlay = Overlay::new(root, ownership, below, user_xattr)?;
            let scanned = scan_with(tar, Names::Layer, |entry, contents| overlay.member(entry, contents))?;
            (scanned, overlay.finish()?)
        }
        Form::Merge { skip } => {
            let mut merge = Merge::new(root, ownership, skip)?;
            let scanned = scan_with(tar, Names::Layer, |entry, contents| merge.member(entry, contents))?;
            (scanned, merge.finish()?)
        }
        Form::Plain => {
            let mut merge = Merge::new(root, ownership, &|_| false)?;
            let scanned = scan_with(tar, Names::Plain, |entry, contents| merge.member(entry, contents))?;
            (scanned, merge.finish()?)
        }
    };
    Ok(Extracted { scanned, skipped })
}

/// Gives the root of a tree that was extracted alone the looks that it has in its stage.
///
/// # Errors
/// [`ExtractError::Write`].
pub fn settle_root(root: &Path, node: &Node, ownership: Ownership) -> Result<(), ExtractError> {
    let open = rustix::fs::openat(CWD, root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let set = open.and_then(|directory| objects::Metadata::from(node).set(directory, ownership));
    set.map(drop).map_err(|error| write_error("set metadata of", b"", error))
}

fn write_error(operation: &'static str, path: &[u8], source: impl Into<io::Error>) -> ExtractError {
    ExtractError::Write { operation, path: path.to_vec(), source: source.into() }
}

#[cfg(test)]
mod tests;
