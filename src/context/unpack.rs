//! Archives that are contexts: unpacked below a directory of our own.

use std::fs::File;
use std::io::{self, Cursor, IsTerminal, Read};
use std::path::Path;

use super::ContextError;
use super::archive::{RECORD, decompress, is_header};
use crate::extract::{Form, Ownership, extract};

/// Unpacks the archive in `file` below `root`, an empty directory.
pub(super) fn unpack_file(file: &Path, root: &Path) -> Result<(), ContextError> {
    let opened = File::open(file).map_err(|cause| ContextError::io("open", file, cause))?;
    unpack(opened, &file.display().to_string(), root)
}

/// Unpacks the archive on standard input below `root`, an empty directory.
pub(super) fn unpack_standard_input(root: &Path) -> Result<(), ContextError> {
    let input = io::stdin();
    if input.is_terminal() {
        return Err(ContextError::Terminal);
    }
    unpack(input, "standard input", root)
}

/// A tar, plain or compressed by gzip, bzip2, xz or zstd. Members that would lie elsewhere are
/// refused, links lead nowhere else than inside, owners do not matter.
pub(super) fn unpack(input: impl Read + Send + 'static, name: &str, root: &Path) -> Result<(), ContextError> {
    let read_failed = |cause| ContextError::ReadArchive { name: name.to_owned(), cause };
    let (mut tar, _) = decompress(input).map_err(read_failed)?;
    let mut start = Vec::with_capacity(RECORD);
    tar.by_ref().take(RECORD as u64).read_to_end(&mut start).map_err(read_failed)?;
    let is_empty_tar = start.len() == RECORD && start.iter().all(|byte| *byte == 0);
    if !is_header(&start) && !is_empty_tar {
        return Err(ContextError::NotAnArchive { name: name.to_owned() });
    }
    let form = Form::Merge { skip: &|_| false };
    match extract(Cursor::new(start).chain(tar), root, form, Ownership::BestEffort) {
        Ok(_) => Ok(()),
        Err(cause) => Err(ContextError::Unpack { name: name.to_owned(), cause: Box::new(cause) }),
    }
}
