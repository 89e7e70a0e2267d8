//! An object on the disk as a change, and whether it is what the view has.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::SnapshotError;
use super::listing::Status;
use crate::digest::ContentHash;
use crate::layer::{Change, ChangeKind, Content, Device};
use crate::view::{FileNode, Node, NodeKind};

/// The only extended attribute that a layer keeps.
const CAPABILITY: &str = "security.capability";
/// What the kernel takes as a value, with room.
const MAX_XATTR_BYTES: usize = 1024;

/// The object at `path` below `root`; `None` for a socket.
pub(super) fn describe(root: &Path, path: &[u8], status: &Status) -> Result<Option<Change>, SnapshotError> {
    let host = host(root, path);
    let Some(kind) = kind(&host, status)? else { return Ok(None) };
    let xattrs = match kind {
        ChangeKind::File { .. } => capability(&host)?,
        _ => BTreeMap::new(),
    };
    Ok(Some(Change {
        path: path.to_vec(),
        kind,
        mode: status.mode & 0o7777,
        uid: status.uid.into(),
        gid: status.gid.into(),
        mtime: status.mtime.0,
        xattrs,
    }))
}

/// Where `path` is on the host.
pub(super) fn host(root: &Path, path: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(path))
}

fn kind(host: &Path, status: &Status) -> Result<Option<ChangeKind>, SnapshotError> {
    let device = Device { major: rustix::fs::major(status.rdev), minor: rustix::fs::minor(status.rdev) };
    Ok(Some(match status.kind() {
        FileType::Directory => ChangeKind::Directory,
        FileType::RegularFile => ChangeKind::File { size: status.size, content: Content::Host(host.to_owned()) },
        FileType::Symlink => {
            let target = std::fs::read_link(host).map_err(SnapshotError::at("read the link", host))?;
            ChangeKind::Symlink { target: target.into_os_string().into_vec() }
        }
        FileType::CharacterDevice => ChangeKind::CharDevice(device),
        FileType::BlockDevice => ChangeKind::BlockDevice(device),
        FileType::Fifo => ChangeKind::Fifo,
        _ => return Ok(None),
    }))
}

fn capability(host: &Path) -> Result<BTreeMap<String, Vec<u8>>, SnapshotError> {
    let value = xattr(host, CAPABILITY).map_err(SnapshotError::at("read the capabilities of", host))?;
    Ok(value.map(|value| (CAPABILITY.to_owned(), value)).into_iter().collect())
}

/// `None`: not set, or the file system has none.
pub(super) fn xattr(host: &Path, name: &str) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = vec![0; MAX_XATTR_BYTES];
    match rustix::fs::lgetxattr(host, name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::NOTSUP | Errno::ACCESS | Errno::PERM) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether a layer with `change` would leave `node` as it is.
pub(super) fn is_same(node: &Node, change: &Change) -> Result<bool, SnapshotError> {
    if (node.uid, node.gid) != (change.uid, change.gid) || node.xattrs.get(CAPABILITY) != change.xattrs.get(CAPABILITY)
    {
        return Ok(false);
    }
    let same_mode = node.mode == change.mode;
    let same_mode_and_time = same_mode && node.mtime == change.mtime;
    match (&node.kind, &change.kind) {
        (NodeKind::Directory, ChangeKind::Directory) => Ok(same_mode),
        (NodeKind::File(file), ChangeKind::File { size, content: Content::Host(host) }) => {
            Ok(same_mode_and_time && file.size == *size && same_content(file, host)?)
        }
        // A link has no mode of its own.
        (NodeKind::Symlink(old), ChangeKind::Symlink { target }) => Ok(node.mtime == change.mtime && old == target),
        (NodeKind::CharDevice(old), ChangeKind::CharDevice(new))
        | (NodeKind::BlockDevice(old), ChangeKind::BlockDevice(new)) => Ok(same_mode_and_time && old == new),
        (NodeKind::Fifo, ChangeKind::Fifo) => Ok(same_mode_and_time),
        _ => Ok(false),
    }
}

/// Times have seconds only, and can be set: equal ones prove nothing about the bytes.
fn same_content(old: &FileNode, new: &Path) -> Result<bool, SnapshotError> {
    let hash = |path: &Path| hash(path).map_err(SnapshotError::at("read", path));
    let old = match (&old.hash, &old.content) {
        (Some(hash), _) => *hash,
        (None, Content::Bytes(bytes)) => ContentHash::of(bytes),
        (None, Content::Host(path)) if path == new => return Ok(false),
        (None, Content::Host(path)) => match hash(path) {
            Ok(hash) => hash,
            // Where the old bytes are gone they cannot be compared.
            Err(_) => return Ok(false),
        },
        (None, Content::Layer { .. }) => return Ok(false),
    };
    Ok(old == hash(new)?)
}

fn hash(path: &Path) -> io::Result<ContentHash> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(ContentHash(*hasher.finalize().as_bytes()))
}
