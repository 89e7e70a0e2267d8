//! The codec.

mod encoding;
mod toc;

use std::collections::BTreeMap;
use std::io;

use super::*;
use crate::image::media_type::Compression;

pub(crate) fn change(path: impl AsRef<[u8]>, kind: ChangeKind) -> Change {
    let mode = if kind == ChangeKind::Whiteout { 0 } else { 0o644 };
    Change { path: path.as_ref().to_vec(), kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() }
}

pub(crate) fn file(path: impl AsRef<[u8]>, bytes: &[u8]) -> Change {
    change(path, ChangeKind::File { size: bytes.len() as u64, content: Content::Bytes(bytes.into()) })
}

/// For changes whose contents are all in memory.
pub(crate) fn no_content(content: &Content) -> io::Result<Box<dyn io::Read>> {
    Err(io::Error::other(format!("{content:?} should not be opened")))
}

pub(crate) fn encoded(changes: &[Change], compression: Compression) -> (Vec<u8>, Encoded) {
    let mut blob = Vec::new();
    let encoded = encode(changes, &no_content, compression, &mut blob).unwrap();
    (blob, encoded)
}

pub(crate) fn tar(changes: &[Change]) -> Vec<u8> {
    encoded(changes, Compression::None).0
}

/// A tar of what [`encode`] would refuse: names are taken as they are.
pub(crate) fn raw_tar(changes: &[Change]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for change in changes {
        header::append_header(&mut bytes, change);
        if let ChangeKind::File { content: Content::Bytes(content), .. } = &change.kind {
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}
