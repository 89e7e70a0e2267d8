//! Archives that are contexts: unpacked below a directory of our own.

use std::fs::File;
use std::io::{self, Cursor, IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ContextError;
use super::archive::{RECORD, decompress, is_header};
use crate::extract::{Form, Ownership, extract};

/// Up to here an archive may grow by any factor, in bytes.
const FREE_BYTES: u64 = 1 << 30;
/// Beyond, this is twice what gzip can do; honest files do not come near it.
const MAX_GROWTH: u64 = 2000;

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
    let packed = Arc::new(AtomicU64::new(0));
    let (tar, _) = decompress(Counted { inner: input, count: Arc::clone(&packed) }).map_err(read_failed)?;
    let mut tar = Guarded { inner: tar, unpacked: 0, packed, free: FREE_BYTES };
    let mut start = Vec::with_capacity(RECORD);
    tar.by_ref().take(RECORD as u64).read_to_end(&mut start).map_err(read_failed)?;
    let is_empty_tar = start.len() == RECORD && start.iter().all(|byte| *byte == 0);
    if !is_header(&start) && !is_empty_tar {
        return Err(ContextError::NotAnArchive { name: name.to_owned() });
    }
    match extract(Cursor::new(start).chain(tar), root, Form::Plain, Ownership::BestEffort) {
        Ok(_) => Ok(()),
        Err(cause) => Err(ContextError::Unpack { name: name.to_owned(), cause: Box::new(cause) }),
    }
}

/// Counts the bytes that are read.
struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Ends in an error where few bytes become very many.
struct Guarded<R> {
    inner: R,
    unpacked: u64,
    packed: Arc<AtomicU64>,
    free: u64,
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.unpacked += count as u64;
        let allowed = self.packed.load(Ordering::Relaxed).saturating_mul(MAX_GROWTH).max(self.free);
        if self.unpacked > allowed {
            let text = format!("the archive grows by a factor of more than {MAX_GROWTH}: it is taken for a bomb");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(count)
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a failed step of a test ends it")]
mod tests {
    use super::*;

    fn read(packed: u64, unpacked: u64, free: u64) -> io::Result<u64> {
        let packed = Arc::new(AtomicU64::new(packed));
        let mut guarded = Guarded { inner: io::repeat(0).take(unpacked), unpacked: 0, packed, free };
        io::copy(&mut guarded, &mut io::sink())
    }

    #[test]
    fn growth_is_bounded_beyond_what_is_free() {
        assert_eq!(read(10, 20_000, 0).expect("within the factor"), 20_000);
        assert_eq!(read(10, 30_000, 30_000).expect("within what is free"), 30_000);
        assert!(read(10, 30_001, 30_000).is_err_and(|error| error.to_string().contains("bomb")));
    }
}
