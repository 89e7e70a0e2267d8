use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, unlinkat};
use rustix::io::{Errno, Result};

use super::directories::{Target, open_directory};
use crate::layer::path::join;

/// Deepest tree that is removed; an open directory and a call frame are spent per level.
const MAX_DEPTH: usize = 1000;

/// What of an object is to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Nothing.
    Nothing,
    /// The object, but perhaps not what is below it.
    Itself,
    /// The object and everything below it.
    Everything,
}

/// Removes an object with everything below it, except what `keep` says of paths, and the
/// directories that lead there. Links are removed and not followed. Returns whether it is gone.
pub(super) fn remove(target: Target<'_>, keep: &dyn Fn(&[u8]) -> Keep) -> Result<bool> {
    remove_at(target, keep, 0)
}

/// Removes everything below a directory, as [`remove`] does. Returns whether it is empty then.
pub(super) fn remove_children(directory: BorrowedFd<'_>, path: &[u8], keep: &dyn Fn(&[u8]) -> Keep) -> Result<bool> {
    remove_children_at(directory, path, keep, 0)
}

fn remove_at(target: Target<'_>, keep: &dyn Fn(&[u8]) -> Keep, depth: usize) -> Result<bool> {
    let kept = keep(target.path);
    if kept == Keep::Everything {
        return Ok(false);
    }
    if kept == Keep::Nothing {
        match unlinkat(target.directory, target.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            // A directory; POSIX has the other code for it.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    let Some(directory) = open_directory(target.directory, target.name)? else {
        return if kept == Keep::Nothing { Err(Errno::PERM) } else { Ok(false) };
    };
    let empty = remove_children_at(directory.as_fd(), target.path, keep, depth + 1)?;
    if empty && kept == Keep::Nothing {
        unlinkat(target.directory, target.name, AtFlags::REMOVEDIR)?;
        return Ok(true);
    }
    Ok(false)
}

fn remove_children_at(
    directory: BorrowedFd<'_>,
    path: &[u8],
    keep: &dyn Fn(&[u8]) -> Keep,
    depth: usize,
) -> Result<bool> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG);
    }
    let mut all_gone = true;
    // Listed before anything is removed, since removing while listing may skip names.
    for name in names(directory)? {
        let target = Target { directory, name: &name, path: &join(path, &name) };
        all_gone &= remove_at(target, keep, depth)?;
    }
    Ok(all_gone)
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}
