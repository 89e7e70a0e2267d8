use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, utimensat};
use sha2::Digest as _;
use tempfile::TempPath;

use super::layout::{Layout, read_small};
use super::lease::now_times;
use super::{Store, StoreError};
use crate::digest::{Algorithm, Digest};
use crate::image::Descriptor;

impl Store {
    /// Begins a blob of unknown digest, which is computed (SHA-256) on the way.
    ///
    /// # Errors
    /// When the store is read-only or no file can be made.
    pub fn blob_writer(&self) -> Result<BlobWriter, StoreError> {
        self.writer(Hasher::Sha256(sha2::Sha256::new()), u64::MAX)
    }

    /// Begins the blob that `expected` names: hashes with its algorithm, and refuses to take
    /// more bytes than its size.
    ///
    /// # Errors
    /// When the store is read-only or no file can be made.
    pub fn blob_writer_for(&self, expected: &Descriptor) -> Result<BlobWriter, StoreError> {
        self.writer(Hasher::new(expected.digest.algorithm()), expected.size)
    }

    /// Begins a blob whose bytes the caller hashes: nothing is hashed twice.
    ///
    /// # Errors
    /// When the store is read-only or no file can be made.
    pub fn blob_writer_hashed_elsewhere(&self) -> Result<HashedElsewhere, StoreError> {
        let nothing = Digest::sha256(b"");
        Ok(HashedElsewhere(self.blob_writer()?.with_known_digest(nothing)))
    }

    fn writer(&self, hasher: Hasher, limit: u64) -> Result<BlobWriter, StoreError> {
        self.require_writable("a blob")?;
        let (file, temporary) = self.layout.temporary_file("a blob")?.into_parts();
        Ok(BlobWriter { layout: self.layout.clone(), file, temporary, hasher, size: 0, limit })
    }

    /// Stores `bytes`.
    ///
    /// # Errors
    /// As [`Store::blob_writer`] and [`BlobWriter::commit`].
    pub fn put_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, StoreError> {
        let descriptor = Descriptor::of(media_type, bytes);
        let path = self.blob_path(&descriptor.digest);
        if self.has(&descriptor) {
            self.note_use(&path);
            return Ok(descriptor);
        }
        let mut writer = self.blob_writer()?.with_known_digest(descriptor.digest.clone());
        writer.write_all(bytes).map_err(StoreError::write("a blob", &path))?;
        writer.commit(media_type)
    }

    /// Opens a blob; `None` when it is not here. Its bytes are not checked: see
    /// [`Store::open_verified`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let path = self.blob_path(digest);
        match File::open(&path) {
            Ok(file) => {
                self.note_file_use(&file);
                Ok(Some(file))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::io("open", &path)(e)),
        }
    }

    /// Opens a blob whose end is an error when its bytes are not what `descriptor` says.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open_verified(&self, descriptor: &Descriptor) -> Result<Option<VerifyingReader<File>>, StoreError> {
        let file = self.open_blob(&descriptor.digest)?;
        Ok(file.map(|file| VerifyingReader::new(file, descriptor)))
    }

    /// Reads a blob of at most `limit` bytes into memory and checks it; `None` when it is not
    /// here, or not what its digest says (then there is a notice too).
    ///
    /// # Errors
    /// [`StoreError::Io`], also when it is larger than `limit`.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.note_use(&self.blob_path(digest));
        self.read_blob_unused(digest, limit)
    }

    /// As [`Store::read_blob`], for whoever only looks.
    pub(super) fn read_blob_unused(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.blob_path(digest);
        let Some(bytes) = read_small(&path, limit)? else { return Ok(None) };
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        if hasher.finish() == *digest {
            return Ok(Some(bytes));
        }
        self.notice(format!("blob {} is damaged and is not used", path.display()));
        Ok(None)
    }

    /// True when there is a blob of this digest.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        let path = self.blob_path(digest);
        let there = path.is_file();
        if there {
            self.note_use(&path);
        }
        there
    }

    /// True when there is a blob of this digest and size: it was not cut off by a power cut.
    pub fn has(&self, descriptor: &Descriptor) -> bool {
        let metadata = fs::metadata(self.blob_path(&descriptor.digest));
        metadata.is_ok_and(|m| m.is_file() && m.len() == descriptor.size)
    }

    /// Where the blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.layout.blob(digest)
    }
}

/// A blob that is being written. It is in the store only after a commit; dropped, it is gone.
///
/// Writes go straight to the file: give it large pieces.
#[derive(Debug)]
pub struct BlobWriter {
    layout: Layout,
    file: File,
    temporary: TempPath,
    hasher: Hasher,
    size: u64,
    limit: u64,
}

impl BlobWriter {
    /// Skips hashing: the caller has hashed, or will hash, the same bytes.
    #[must_use]
    pub fn with_known_digest(self, digest: Digest) -> Self {
        Self { hasher: Hasher::Known(digest), ..self }
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Ends the blob and puts it into the store.
    ///
    /// # Errors
    /// [`StoreError::Io`] and [`StoreError::DiskFull`].
    pub fn commit(mut self, media_type: &str) -> Result<Descriptor, StoreError> {
        let digest = self.hasher.take().finish();
        let descriptor = Descriptor::new(media_type, digest, self.size);
        self.publish(&descriptor)?;
        Ok(descriptor)
    }

    /// As [`BlobWriter::commit`], for a digest that becomes known only at the end: the bytes
    /// were hashed elsewhere.
    ///
    /// # Errors
    /// [`StoreError::Io`] and [`StoreError::DiskFull`].
    pub fn commit_hashed(self, media_type: &str, digest: Digest) -> Result<Descriptor, StoreError> {
        self.with_known_digest(digest).commit(media_type)
    }

    /// Ends the blob, which must be the one that `expected` names, and puts it into the store.
    ///
    /// # Errors
    /// [`StoreError::Digest`] and [`StoreError::Size`]; [`StoreError::Io`] and [`StoreError::DiskFull`].
    pub fn commit_as(mut self, expected: &Descriptor) -> Result<(), StoreError> {
        let (digest, actual) = (expected.digest.clone(), self.size);
        if actual != expected.size {
            return Err(StoreError::Size { digest, expected: expected.size, actual });
        }
        let actual = self.hasher.take().finish();
        if actual != digest {
            return Err(StoreError::Digest { expected: digest, actual });
        }
        self.publish(expected)
    }

    fn publish(self, descriptor: &Descriptor) -> Result<(), StoreError> {
        let path = self.layout.blob(&descriptor.digest);
        if fs::metadata(&path).is_ok_and(|m| m.len() == descriptor.size) {
            // Written again: as new, for whoever removes what nobody names yet.
            let _ = utimensat(CWD, &path, &now_times(), AtFlags::empty());
            return Ok(());
        }
        let what = format!("blob {}", descriptor.digest);
        if let (Algorithm::Sha512, Some(parent)) = (descriptor.digest.algorithm(), path.parent()) {
            fs::create_dir_all(parent).map_err(StoreError::write(&what, parent))?;
        }
        self.layout.publish(&what, self.file, self.temporary, &path)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.len() as u64 > self.limit - self.size {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "blob is larger than announced"));
        }
        let written = self.file.write(buffer).map_err(|e| name_full_disk(e, &self.temporary))?;
        self.hasher.update(&buffer[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A [`BlobWriter`] that leaves the hashing to the caller.
#[derive(Debug)]
pub struct HashedElsewhere(BlobWriter);

impl HashedElsewhere {
    /// Ends the blob and puts it into the store under the digest that the caller computed.
    ///
    /// # Errors
    /// [`StoreError::Io`] and [`StoreError::DiskFull`].
    pub fn commit(self, media_type: &str, digest: Digest) -> Result<Descriptor, StoreError> {
        self.0.commit_hashed(media_type, digest)
    }
}

impl Write for HashedElsewhere {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// `io::Write` has no room for a [`StoreError`], so the same facts go into its text.
pub(super) fn name_full_disk(error: io::Error, path: &Path) -> io::Error {
    let kind = error.kind();
    match StoreError::write("a blob", path)(error) {
        full @ StoreError::DiskFull { .. } => io::Error::new(kind, full),
        StoreError::Io { source, .. } => source,
        other => io::Error::new(kind, other),
    }
}

/// A digest in the making.
#[derive(Debug)]
enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Known(Digest),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
            Self::Known(_) => {}
        }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Sha256(sha2::Sha256::new()))
    }

    fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::from_sha256(&hasher.finalize().into()),
            Self::Sha512(hasher) => Digest::from_sha512(&hasher.finalize().into()),
            Self::Known(digest) => digest,
        }
    }
}

/// Reads a blob and checks size and digest; what is wrong is an error at the end at the latest.
#[derive(Debug)]
pub struct VerifyingReader<R> {
    inner: R,
    hasher: Hasher,
    expected: Digest,
    left: u64,
    verified: bool,
}

impl<R: Read> VerifyingReader<R> {
    /// Reads what `expected` names from `inner`.
    pub fn new(inner: R, expected: &Descriptor) -> Self {
        let hasher = Hasher::new(expected.digest.algorithm());
        Self { inner, hasher, expected: expected.digest.clone(), left: expected.size, verified: false }
    }

    fn verify(&mut self) -> io::Result<()> {
        let fault = |text| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        if self.left > 0 {
            return fault(format!("blob {} ends {} bytes early", self.expected, self.left));
        }
        let actual = self.hasher.take().finish();
        if actual != self.expected {
            return fault(format!("blob {} has digest {actual}", self.expected));
        }
        self.verified = true;
        Ok(())
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.verified || buffer.is_empty() {
            return Ok(0);
        }
        let read = self.inner.read(buffer)?;
        if read == 0 {
            return self.verify().map(|()| 0);
        }
        let too_long = || io::Error::new(io::ErrorKind::InvalidData, format!("blob {} is too long", self.expected));
        self.left = self.left.checked_sub(read as u64).ok_or_else(too_long)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
