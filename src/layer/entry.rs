use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::ContentHash;

/// Path of a tar member: relative, `/`-separated, no leading or trailing slash, no `.` or
/// `..` component; any bytes but NUL. The root itself is the empty path.
pub type EntryPath = Vec<u8>;

/// One member of a layer, whiteouts included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where. A whiteout has the path of what it removes, not `.wh.…`.
    pub path: EntryPath,
    /// What.
    pub kind: EntryKind,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time, seconds since the epoch.
    pub mtime: i64,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// Directory.
    Directory,
    /// Regular file.
    File {
        /// Bytes.
        size: u64,
        /// Over its bytes.
        hash: ContentHash,
        /// Where its bytes start in the uncompressed tar.
        offset: u64,
    },
    /// Symbolic link.
    Symlink {
        /// As stored, any bytes.
        target: Vec<u8>,
    },
    /// Another name of a file that stands earlier in this layer.
    Hardlink {
        /// Its path, in the form of [`EntryPath`].
        target: EntryPath,
    },
    /// Character device.
    CharDevice(Device),
    /// Block device.
    BlockDevice(Device),
    /// Named pipe.
    Fifo,
    /// Removes the path and everything below it from the layers underneath.
    Whiteout,
    /// Removes everything below the path (a directory) that the layers underneath have.
    OpaqueWhiteout,
}

/// Device numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
}

/// A layer's table of contents: its members in tar order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Toc {
    /// In tar order.
    pub entries: Vec<Entry>,
    /// Contents of `etc/passwd` and `etc/group` when the layer has them, so that names can be
    /// looked up without the layer; keyed by path.
    pub inline: BTreeMap<EntryPath, Vec<u8>>,
}
