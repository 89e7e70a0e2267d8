//! Files for the next program.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Writes a file whole or not at all, with the directories above it. What is there and cannot be replaced is written to:
/// what is no file, such as `/dev/stdout` or a pipe, and what is mounted alone, such as a Pod's `/dev/termination-log`.
///
/// # Errors
/// Those of the file system.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let found = path.symlink_metadata();
    if found.as_ref().is_ok_and(|found| !found.is_file()) {
        return fs::write(path, text);
    }
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), fs::create_dir_all)?;
    match replace(path, text) {
        Err(error) if found.is_ok() && is_fixed(&error) => fs::write(path, text),
        replaced => replaced,
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("partial");
    let replaced = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        // It may not be there.
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

fn is_fixed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}
