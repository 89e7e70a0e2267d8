//! Blobs that outlive the process that fetches them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::blob::name_full_disk;
use super::layout::Layout;
use super::{Durability, Store, StoreError};
use crate::image::Descriptor;

/// What nobody goes on with for this long is not wanted any more.
const ABANDONED: Duration = Duration::from_secs(72 * 3600);

/// Whose turn it is to fetch a blob.
#[derive(Debug)]
pub enum BlobClaim {
    /// Nobody's: it is in the store.
    Stored,
    /// Another process's, or thread's, which has so many bytes. A kill ends its claim.
    Elsewhere(u64),
    /// The caller's, as long as this value lives.
    Ours(Box<PartialBlob>),
}

impl Store {
    /// Claims the blob for fetching. What a killed process had of it is still there.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`], [`StoreError::Io`] and [`StoreError::DiskFull`].
    pub fn claim_blob(&self, blob: &Descriptor) -> Result<BlobClaim, StoreError> {
        self.require_writable("a blob")?;
        if self.has(blob) {
            return Ok(BlobClaim::Stored);
        }
        let path = self.layout.partial(&blob.digest);
        let Some(file) = lock(&path)? else {
            return Ok(BlobClaim::Elsewhere(fs::metadata(&path).map_or(0, |metadata| metadata.len())));
        };
        let mut partial =
            PartialBlob { layout: self.layout.clone(), blob: blob.clone(), path, file, size: 0, published: false };
        // Until the lock was ours, another process may have ended what it did.
        if self.has(blob) {
            return Ok(BlobClaim::Stored);
        }
        partial.size = partial.io("seek in", |file| file.seek(SeekFrom::End(0)))?;
        if partial.size > blob.size {
            partial.restart()?;
        }
        Ok(BlobClaim::Ours(Box::new(partial)))
    }
}

/// Opens and locks the file at `path`; `None` when it is locked.
fn lock(path: &Path) -> Result<Option<File>, StoreError> {
    loop {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(StoreError::write("a directory", parent))?;
        }
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).read(true).write(true).mode(0o666).open(path);
        let file = file.map_err(StoreError::write("a blob", path))?;
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(source)) => return Err(StoreError::io("lock", path)(source)),
            // It may have been renamed or removed before the lock was ours.
            Ok(()) if is_at(&file, path) => return Ok(Some(file)),
            Ok(()) => {}
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let same = |open: &fs::Metadata, named: &fs::Metadata| (open.dev(), open.ino()) == (named.dev(), named.ino());
    matches!((file.metadata(), path.symlink_metadata()), (Ok(open), Ok(named)) if same(&open, &named))
}

/// A blob that is being fetched. Dropped before the commit, its bytes stay for whoever goes on.
///
/// Writes go straight to the file: give it large pieces.
#[derive(Debug)]
pub struct PartialBlob {
    layout: Layout,
    blob: Descriptor,
    path: PathBuf,
    file: File,
    size: u64,
    published: bool,
}

impl PartialBlob {
    /// Bytes that are there, at most as many as the blob has. Nothing is known about them.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn bytes(&self) -> Result<impl Read + use<>, StoreError> {
        let file = File::open(&self.path).map_err(StoreError::io("open", &self.path))?;
        Ok(file.take(self.size))
    }

    /// Throws away what is there.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.io("truncate", |file| file.set_len(0).and_then(|()| file.rewind()))?;
        self.size = 0;
        Ok(())
    }

    /// Puts the blob into the store. The caller has verified the bytes: all of them, those that
    /// were there before included.
    ///
    /// # Errors
    /// [`StoreError::Size`], [`StoreError::Io`] and [`StoreError::DiskFull`].
    pub fn commit_verified(mut self) -> Result<(), StoreError> {
        let (digest, expected) = (self.blob.digest.clone(), self.blob.size);
        if self.size != expected {
            return Err(StoreError::Size { digest, expected, actual: self.size });
        }
        let target = self.layout.blob(&digest);
        if self.layout.durability == Durability::Full {
            self.file.sync_all().map_err(StoreError::write("a blob", &target))?;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(StoreError::write("a blob", parent))?;
        }
        fs::rename(&self.path, &target).map_err(StoreError::write("a blob", &target))?;
        self.published = true;
        self.layout.sync_parent(&target)
    }

    fn io<T>(
        &mut self,
        operation: &'static str,
        act: impl FnOnce(&mut File) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        act(&mut self.file).map_err(StoreError::io(operation, &self.path))
    }
}

impl Write for PartialBlob {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.len() as u64 > self.blob.size - self.size {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "blob is larger than announced"));
        }
        let written = self.file.write(buffer).map_err(|error| name_full_disk(error, &self.path))?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PartialBlob {
    fn drop(&mut self) {
        // Still locked: nobody else has written to it.
        if self.size == 0 && !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what nobody goes on with. What cannot be removed is left.
pub(super) fn remove_abandoned(directory: &Path, now: SystemTime) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|at| now.duration_since(at).ok());
        let is_abandoned = age.is_some_and(|age| age > ABANDONED);
        if is_abandoned && let Ok(Some(_locked)) = lock(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
