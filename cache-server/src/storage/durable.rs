//! Files that are wholly there or not there at all, also after a power cut.
//!
//! A file is written under a temporary name on the same file system, synced, renamed to
//! its place, and then its directory is synced. A rename alone may be forgotten by a crash.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::error::{At, StorageError};

/// Writes `bytes` to `target`, replacing what is there.
pub(super) fn write(temporary: &Path, target: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let mut file = tempfile::NamedTempFile::new_in(temporary).at("create a file in", temporary)?;
    file.write_all(bytes).at("write", file.path())?;
    file.as_file().sync_all().at("sync", file.path())?;
    create_parent(target)?;
    file.persist(target).map_err(|e| e.error).at("rename a file to", target)?;
    sync_parent(target)
}

/// Moves the finished file `source` to `target`, replacing what is there.
pub(super) fn adopt(source: &Path, target: &Path) -> Result<(), StorageError> {
    create_parent(target)?;
    fs::rename(source, target).at("rename a file to", target)?;
    sync_parent(target)
}

/// Removes a file; says whether it was there.
pub(super) fn remove(target: &Path) -> Result<bool, StorageError> {
    match fs::remove_file(target) {
        Ok(()) => sync_parent(target).map(|()| true),
        Err(e) if is_absent(&e) => Ok(false),
        Err(e) => Err(e).at("remove", target),
    }
}

/// Removes a file if it is there. A crash may bring it back.
pub(super) fn unlink(target: &Path) -> Result<(), StorageError> {
    match fs::remove_file(target) {
        Err(e) if !is_absent(&e) => Err(e).at("remove", target),
        _ => Ok(()),
    }
}

/// Reads a file of at most `limit` bytes; `None` when there is none.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StorageError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if is_absent(&e) => return Ok(None),
        Err(e) => return Err(e).at("open", path),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other("the file is larger than it can be")).at("read", path);
    }
    Ok(Some(bytes))
}

/// Says whether there is a file.
pub(super) fn exists(path: &Path) -> Result<bool, StorageError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(e) if is_absent(&e) => Ok(false),
        Err(e) => Err(e).at("look at", path),
    }
}

/// The names in a directory, sorted; none when there is no directory.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, StorageError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Ok(Vec::new()),
        Err(e) => return Err(e).at("list", directory),
    };
    let mut names = Vec::new();
    for entry in entries {
        // A name that is not Unicode is none of ours.
        names.extend(entry.at("list", directory)?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// Makes a directory and its parents, each durable in its own parent.
pub(super) fn create_directories(path: &Path) -> Result<(), StorageError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_directories(parent)?;
    }
    match fs::create_dir(path) {
        Ok(()) => sync_parent(path),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e).at("create the directory", path),
    }
}

fn create_parent(path: &Path) -> Result<(), StorageError> {
    path.parent().map_or(Ok(()), create_directories)
}

fn sync_parent(path: &Path) -> Result<(), StorageError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    File::open(parent).and_then(|directory| directory.sync_all()).at("sync the directory", parent)
}

/// Nothing of that name, or a file where a directory would be.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
