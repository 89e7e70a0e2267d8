use std::collections::BTreeMap;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::Ownership;
use super::directories::Directories;
use crate::layer::{Entry, EntryKind, Toc, path};

/// Whether a tree that was extracted in [`super::Form::Overlay`] still has every file, link and directory of
/// the layer, with the types, sizes, modes, times and owners that it was given. Contents are not read.
///
/// A layer some of whose members lie elsewhere than where it names them (behind a link of a layer
/// underneath) does not count as intact: it cannot be told.
pub fn is_intact(root: &Path, toc: &Toc, ownership: Ownership) -> bool {
    let Ok(mut directories) = Directories::new(root) else { return false };
    // Of several members of one path the last one counts.
    let last: BTreeMap<&[u8], &Entry> = toc.entries.iter().map(|entry| (entry.path.as_slice(), entry)).collect();
    last.into_values().all(|entry| is_as_extracted(&mut directories, entry, ownership).unwrap_or(false))
}

fn is_as_extracted(directories: &mut Directories, entry: &Entry, ownership: Ownership) -> Result<bool, Errno> {
    let Some((parent, name)) = path::split(&entry.path) else { return Ok(true) };
    let Some(directory) = directories.enter(parent)? else { return Ok(false) };
    let expected = match entry.kind {
        EntryKind::Directory => FileType::Directory,
        EntryKind::File { .. } => FileType::RegularFile,
        EntryKind::Symlink { .. } => FileType::Symlink,
        EntryKind::Fifo => FileType::Fifo,
        // Devices cannot be made everywhere, a whiteout of nothing is not made, and the other names of a
        // file look as the first one does.
        _ => return Ok(true),
    };
    let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode) == expected && has_looks(&found, entry, ownership))
}

fn has_looks(found: &Stat, entry: &Entry, ownership: Ownership) -> bool {
    let size = match entry.kind {
        EntryKind::File { size, .. } => u64::try_from(found.st_size) == Ok(size),
        _ => true,
    };
    let mode = matches!(entry.kind, EntryKind::Symlink { .. }) || found.st_mode & 0o7777 == entry.mode;
    // What is mounted on top of a directory changes its time.
    let time = matches!(entry.kind, EntryKind::Directory) || found.st_mtime == entry.mtime;
    let owner = (u64::from(found.st_uid), u64::from(found.st_gid)) == (entry.uid, entry.gid);
    size && mode && time && (owner || ownership == Ownership::BestEffort)
}
