//! What COPY, ADD and WORKDIR do: values in, the changes of one layer out.
//!
//! [`select()`] says which objects of the source tree an instruction touches; cache keys hash that
//! list, and [`plan_copy`] places the same list. Contents are named, never read.

mod chmod;
mod owner;
mod place;
mod select;
mod staging;
mod unpack;
mod workdir;

use std::collections::BTreeMap;

pub use chmod::ChmodError;
pub use place::plan_copy;
pub use select::{Member, Selected, select};
pub use workdir::plan_workdir;

use crate::context::Archive;
use crate::digest::ContentHash;
use crate::layer::EntryPath;
use crate::pattern::PatternError;
use crate::view::{Node, NodeKind, ResolveError, View};

/// All that the sources of one instruction may name, fetched and unpacked beforehand.
#[derive(Debug, Clone, Copy)]
pub struct SourceTrees<'a> {
    /// The tree that [`crate::plan::CopyOp::from`] names.
    pub tree: &'a View,
    /// Hashes of files of `tree` that have none in their node.
    pub hashes: &'a BTreeMap<EntryPath, ContentHash>,
    /// Contents of the files of `tree` that ADD unpacks, by [`Selected::root`].
    pub archives: &'a BTreeMap<EntryPath, Archive>,
    /// What URLs and git repositories gave, by index in [`crate::plan::CopyOp::sources`].
    pub prepared: &'a BTreeMap<usize, Prepared>,
}

/// What a source outside the build became.
#[derive(Debug, Clone)]
pub enum Prepared {
    /// A file from a URL.
    File {
        /// What it is called in a directory.
        name: Vec<u8>,
        /// The file: mode 0600, 0:0, with the time that the server said.
        node: Node,
    },
    /// An archive from a URL, with `--unpack=true`.
    Archive(Archive),
    /// The checked-out files of a git repository.
    Tree(View),
}

/// Why a COPY, ADD or WORKDIR cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A source without wildcards, or the fixed directory before one, is not there.
    #[error("failed to compute cache key: \"/{}\": not found{}", text(path), did_you_mean(.nearest.as_deref()))]
    NotFound {
        /// As written, cleaned.
        path: EntryPath,
        /// Something of nearly that name beside it.
        nearest: Option<EntryPath>,
    },
    /// A source or a part of `--exclude` is no valid pattern.
    #[error("invalid pattern {pattern:?}")]
    Pattern {
        /// As written.
        pattern: String,
        /// Why.
        #[source]
        cause: PatternError,
    },
    /// Bad `--chmod`.
    #[error(transparent)]
    Chmod(#[from] ChmodError),
    /// A path leads nowhere.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// `--chown` with a name on `scratch` or with `--link`.
    #[error("invalid user index: -1 (there is no /etc/passwd or /etc/group to look up {name:?} in)")]
    NoAccounts {
        /// Of the user or group.
        name: String,
    },
    /// A directory of the source meets a file or link.
    #[error("cannot copy to non-directory: /{}", text(path))]
    OntoNonDirectory {
        /// In the destination.
        path: EntryPath,
    },
    /// A file of the source meets a directory.
    #[error("cannot replace to directory /{} with file", text(path))]
    OntoDirectory {
        /// In the destination.
        path: EntryPath,
    },
    /// A directory is to be made where a file stands.
    #[error("failed to create directory /{}: not a directory", text(path))]
    NotADirectory {
        /// In the destination.
        path: EntryPath,
    },
    /// A hard link of an archive leads nowhere.
    #[error("failed to unpack /{}: hard link to missing file /{}", text(path), text(target))]
    DeadHardlink {
        /// In the archive.
        path: EntryPath,
        /// In the archive.
        target: EntryPath,
    },
    /// A URL or git source was not prepared.
    #[error("source {index} was not fetched")]
    Unprepared {
        /// In [`crate::plan::CopyOp::sources`].
        index: usize,
    },
}

fn did_you_mean(path: Option<&[u8]>) -> String {
    path.map_or(String::new(), |path| format!(" (did you mean /{}?)", text(path)))
}

/// A path for people.
fn text(path: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(path)
}

/// Cleans a path by its text alone: what `..` leads out of is the root.
fn clean(path: &[u8]) -> EntryPath {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            _ => names.push(name),
        }
    }
    names.join(&b'/')
}

/// `directory/name`; one alone when the other is empty.
fn join(directory: &[u8], name: &[u8]) -> EntryPath {
    let slash: &[u8] = if directory.is_empty() || name.is_empty() { b"" } else { b"/" };
    [directory, slash, name].concat()
}

/// The directory and the name in it; both empty for the root.
pub(super) fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    slash.map_or((b"", path), |at| (&path[..at], &path[at + 1..]))
}

fn is_directory(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Directory)
}

#[cfg(test)]
mod tests;
