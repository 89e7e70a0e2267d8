use std::collections::BTreeMap;

use crate::digest::ContentHash;
use crate::layer::{Content, Device};

/// One object of a file tree, whatever the tree was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What.
    pub kind: NodeKind,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since the epoch.
    pub mtime: i64,
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// Directory; its children are in the tree.
    Directory,
    /// Regular file.
    File(FileNode),
    /// Symbolic link, any bytes.
    Symlink(Vec<u8>),
    /// Character device.
    CharDevice(Device),
    /// Block device.
    BlockDevice(Device),
    /// Named pipe.
    Fifo,
    /// Socket (build contexts only; layers have none).
    Socket,
}

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNode {
    /// Bytes.
    pub size: u64,
    /// `None` while nobody has read it (build contexts).
    pub hash: Option<ContentHash>,
    /// Where the bytes are.
    pub content: Content,
    /// Names of one inode share a number, unique within the tree; `None` for a single name.
    pub inode: Option<u64>,
}
