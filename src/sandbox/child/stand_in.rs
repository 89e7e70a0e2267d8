//! What stands in for a mount where nothing can be mounted: files are moved or copied into
//! place, and out again. The helper does it, so that secrets are removed and caches brought back
//! even when the executor is killed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::failure::{During, Failure};
use super::mountpoints::Mountpoints;
use crate::sandbox::{Mount, MountKind, same_status};

/// How a stand-in goes away.
#[derive(Debug)]
pub(super) enum StandIn {
    /// Deleted.
    Copy,
    /// Moved back to where it came from.
    Moved(PathBuf),
    /// Copied back to where it came from, then deleted.
    CopiedBack(PathBuf),
}

/// Puts the stand-in for `mount` into place.
pub(super) fn place(mount: &Mount, mountpoints: &mut Mountpoints) -> Result<(), Failure> {
    let what = || format!("put {} into place", mount.target);
    let metadata = source_of(mount).map(fs::metadata).transpose().during(what)?;
    let directory = metadata.as_ref().is_none_or(Metadata::is_dir);
    // A directory in memory has the mode of the one that it hides.
    let empty_mode = fs::metadata(&mount.target).map_or(0o1777, |hidden| hidden.mode() & 0o7777);
    let path = mountpoints.place_instead(&mount.target, directory)?;
    let stand_in = fill(mount, metadata.as_ref(), &path, empty_mode).during(what);
    // Even half a copy must go.
    let (kind, result) = match stand_in {
        Ok(kind) => (kind, Ok(())),
        Err(failure) => (StandIn::Copy, Err(failure)),
    };
    mountpoints.stood_in(path, kind);
    result
}

fn source_of(mount: &Mount) -> Option<&Path> {
    match &mount.kind {
        MountKind::Bind { source, .. } | MountKind::Discard { source } => Some(source),
        MountKind::Layers { .. } | MountKind::Tmpfs { .. } => None,
    }
}

/// `empty_mode` is for what has no source.
fn fill(mount: &Mount, metadata: Option<&Metadata>, path: &Path, empty_mode: u32) -> io::Result<StandIn> {
    let (Some(source), Some(metadata)) = (source_of(mount), metadata) else {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(empty_mode))?;
        return Ok(StandIn::Copy);
    };
    if metadata.file_type().is_socket() {
        fs::remove_file(path)?;
        fs::hard_link(source, path).or_else(|_| symlink(source, path))?;
        return Ok(StandIn::Copy);
    }
    if !matches!(mount.kind, MountKind::Bind { readonly: false, .. }) {
        copy(source, path)?;
        return Ok(StandIn::Copy);
    }
    match fs::rename(source, path) {
        Ok(()) => Ok(StandIn::Moved(source.to_owned())),
        Err(error) if moves_by_copy(&error) => {
            copy(source, path)?;
            Ok(StandIn::CopiedBack(source.to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// Another file system, or one of the two is a mount point.
pub(super) fn moves_by_copy(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::XDEV | Errno::BUSY | Errno::PERM))
}

impl StandIn {
    /// Takes it away from `path`.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Copy => delete(path),
            Self::Moved(source) => fs::rename(path, source),
            Self::CopiedBack(source) => {
                empty(source)?;
                copy(path, source)?;
                delete(path)
            }
        }
    }
}

/// Deletes what is at `path`, or, where it is a mount point, what is in it.
fn delete(path: &Path) -> io::Result<()> {
    if !path.symlink_metadata()?.is_dir() {
        return fs::remove_file(path);
    }
    fs::remove_dir_all(path).or_else(|_| empty(path))
}

fn empty(path: &Path) -> io::Result<()> {
    if !path.symlink_metadata()?.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        delete(&entry?.path())?;
    }
    Ok(())
}

/// Copies a tree over an empty directory, or a file over a file, with modes, owners and times.
/// Sockets and devices are left out.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = from.symlink_metadata()?;
    if metadata.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
        return lchown(to, Some(metadata.uid()), Some(metadata.gid()));
    }
    if metadata.is_dir() {
        if !to.is_dir() {
            fs::create_dir(to)?;
        }
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if metadata.is_file() {
        fs::copy(from, to)?;
    } else {
        return Ok(());
    }
    same_status(&fs::File::open(to)?, &metadata)
}
