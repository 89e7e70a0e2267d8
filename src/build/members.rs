//! Changes about to be written, as content keys see them.

use super::error::BuildError;
use crate::digest::ContentHash;
use crate::key::{InputFile, InputKind};
use crate::layer::{Change, ChangeKind, Content};

/// The members of a layer: everything but times.
pub(super) fn members(
    changes: &[Change],
    hash: &dyn Fn(&Content) -> Result<ContentHash, BuildError>,
) -> Result<Vec<InputFile>, BuildError> {
    changes.iter().map(|change| member(change, hash)).collect()
}

fn member(
    change: &Change,
    hash: &dyn Fn(&Content) -> Result<ContentHash, BuildError>,
) -> Result<InputFile, BuildError> {
    let kind = match &change.kind {
        ChangeKind::Directory => InputKind::Directory,
        ChangeKind::File { content, .. } => InputKind::File(hash(content)?),
        ChangeKind::Symlink { target } => InputKind::Symlink(target.clone()),
        ChangeKind::Hardlink { target } => InputKind::Hardlink(target.clone()),
        ChangeKind::CharDevice(device) => InputKind::Device('c', device.major, device.minor),
        ChangeKind::BlockDevice(device) => InputKind::Device('b', device.major, device.minor),
        ChangeKind::Fifo => InputKind::Fifo,
        ChangeKind::Whiteout => InputKind::Whiteout,
    };
    let Change { path, kind: _, mode, uid, gid, mtime: _, xattrs } = change;
    Ok(InputFile { path: path.clone(), kind, mode: *mode, uid: *uid, gid: *gid, xattrs: xattrs.clone() })
}
