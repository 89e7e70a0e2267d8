use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Device, EntryPath};
use crate::digest::DiffId;

/// One member of a layer that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where. A whiteout has the path of what it removes.
    pub path: EntryPath,
    /// What.
    pub kind: ChangeKind,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since the epoch.
    pub mtime: i64,
    /// Extended attributes by full name; only `security.capability` reaches the layer.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a change writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// Directory.
    Directory,
    /// Regular file.
    File {
        /// Bytes; what `content` yields must be exactly as long.
        size: u64,
        /// Where the bytes come from.
        content: Content,
    },
    /// Symbolic link.
    Symlink {
        /// Any bytes.
        target: Vec<u8>,
    },
    /// Another name of a file that stands earlier in the same list.
    Hardlink {
        /// Its path.
        target: EntryPath,
    },
    /// Character device.
    CharDevice(Device),
    /// Block device.
    BlockDevice(Device),
    /// Named pipe.
    Fifo,
    /// Removes the path from the layers underneath.
    Whiteout,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// A file of the host (build context, overlay upper directory, spooled download).
    Host(PathBuf),
    /// In memory (heredocs, small generated files).
    Bytes(Arc<[u8]>),
    /// Inside a layer that may not be here yet.
    Layer {
        /// Which layer.
        layer: DiffId,
        /// Where in its uncompressed tar.
        offset: u64,
    },
}
