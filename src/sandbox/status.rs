use std::fs::{File, FileTimes, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};

/// Gives a file or directory that was put back the owner, the mode and the time of change that were `found` before.
///
/// # Errors
/// What the system says.
pub fn same_status(file: &File, found: &Metadata) -> io::Result<()> {
    // Another owner takes the set-user-ID bit off: the mode comes after it.
    fchown(file, Some(found.uid()), Some(found.gid()))?;
    file.set_permissions(found.permissions())?;
    file.set_times(FileTimes::new().set_modified(found.modified()?))
}
