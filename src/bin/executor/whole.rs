//! Files for the next program.

use std::fs;
use std::io;
use std::path::Path;

/// Writes a file whole or not at all, with the directories above it. What is there and is no file, such as `/dev/stdout`
/// or a pipe, is written to.
///
/// # Errors
/// Those of the file system.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return fs::write(path, text);
    }
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), fs::create_dir_all)?;
    let temporary = path.with_extension("partial");
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}
