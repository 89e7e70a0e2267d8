//! Blobs as objects.

use std::io::{self, Seek as _, Write as _};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, try_unfold};
use futures_util::{StreamExt, TryStreamExt};
use object_store::{GetOptions, GetRange, ObjectStore};
use url::Url;
use yadokari::digest::{Algorithm, Digest};

use super::rows::{Part, parts_of};
use super::{Bucket, BucketError};
use crate::hasher::Hasher;
use crate::name::RepositoryName;
use crate::storage::index::IndexError;
use crate::storage::manifests::millis_now;
use crate::storage::readers::Reading;
use crate::storage::{Storage, StorageError};

/// A signed address is good for so long; a download that has begun goes on.
const ADDRESS_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// A blob that can be read.
#[derive(Debug)]
pub(crate) struct Object {
    bucket: Arc<Bucket>,
    parts: Vec<Part>,
    /// Bytes.
    pub(crate) size: u64,
    /// To be kept as long as it is read: this replica leaves its objects alone.
    _reading: Vec<Reading<String>>,
}

type Chunks = BoxStream<'static, Result<Bytes, object_store::Error>>;

impl Object {
    /// `length` bytes from `first`. Blocks until the store begins to answer.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when the object is gone.
    pub(crate) fn stream(self, first: u64, length: u64) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        let mut ranges = ranges(&self.parts, first, length).into_iter();
        let begun = ranges.next().map(|next| self.bucket.wait(open(Arc::clone(&self.bucket), next)));
        let begun = begun.transpose().map_err(to_io)?;
        let state = (self, ranges, begun);
        let chunks = try_unfold(state, |(object, mut ranges, mut reading)| async move {
            loop {
                let Some(chunks) = &mut reading else { return Ok(None) };
                if let Some(chunk) = chunks.try_next().await.map_err(to_io)? {
                    return Ok(Some((chunk, (object, ranges, reading))));
                }
                reading = match ranges.next() {
                    Some(next) => Some(open(Arc::clone(&object.bucket), next).await.map_err(to_io)?),
                    None => None,
                };
            }
        });
        Ok(exactly(chunks.boxed(), length))
    }
}

impl Object {
    /// Copies all of it to a file without a name.
    pub(crate) fn into_file(self) -> io::Result<std::fs::File> {
        let (mut file, bucket, size) = (tempfile::tempfile()?, Arc::clone(&self.bucket), self.size);
        let mut chunks = self.stream(0, size)?;
        while let Some(chunk) = bucket.wait(chunks.try_next())? {
            file.write_all(&chunk)?;
        }
        file.rewind()?;
        Ok(file)
    }
}

/// Breaks off when there are fewer bytes than there should be.
fn exactly(chunks: BoxStream<'static, io::Result<Bytes>>, length: u64) -> BoxStream<'static, io::Result<Bytes>> {
    let counted = try_unfold((chunks, length), |(mut chunks, left)| async move {
        match chunks.try_next().await? {
            Some(chunk) if chunk.len() as u64 <= left => {
                let left = left - chunk.len() as u64;
                Ok(Some((chunk, (chunks, left))))
            }
            None if left == 0 => Ok(None),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    });
    counted.boxed()
}

/// Which bytes of which object are the `length` bytes from `first`.
fn ranges(parts: &[Part], first: u64, length: u64) -> Vec<(String, Range<u64>)> {
    let (mut start, end) = (0, first + length);
    let mut ranges = Vec::new();
    for part in parts {
        let range = first.clamp(start, start + part.size) - start..end.clamp(start, start + part.size) - start;
        if !range.is_empty() {
            ranges.push((part.name.clone(), range));
        }
        start += part.size;
    }
    ranges
}

async fn open(bucket: Arc<Bucket>, (name, range): (String, Range<u64>)) -> Result<Chunks, object_store::Error> {
    let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
    Ok(bucket.store.get_opts(&bucket.path(&name), options).await?.into_stream())
}

fn to_io(error: object_store::Error) -> io::Error {
    let kind = match error {
        object_store::Error::NotFound { .. } => io::ErrorKind::NotFound,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl Bucket {
    /// The digest of all bytes in `parts`.
    pub(super) fn hash(self: &Arc<Self>, parts: &[Part], algorithm: Algorithm) -> Result<Digest, BucketError> {
        let mut hasher = Hasher::new(algorithm);
        for part in parts.iter().filter(|part| part.size > 0) {
            let read = async {
                let mut chunks = open(Arc::clone(self), (part.name.clone(), 0..part.size)).await?;
                while let Some(chunk) = chunks.try_next().await? {
                    hasher.update(&chunk);
                }
                Ok(())
            };
            self.wait(read).map_err(self.failed("read", &part.name))?;
        }
        Ok(hasher.finish())
    }

    /// Whether all of these objects are there, as large as they should be.
    pub(super) fn has_all(&self, parts: &[Part]) -> Result<bool, BucketError> {
        for part in parts {
            if self.size(&part.name)? != Some(part.size) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Storage {
    /// Opens a blob that `repository` holds.
    pub(in crate::storage) fn open_object(
        &self,
        bucket: &Arc<Bucket>,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Object>, StorageError> {
        let found = self.find(|| self.linked_parts(repository, digest))?;
        Ok(found.map(|(parts, size)| {
            let reading = parts.iter().map(|part| bucket.readers.add(&part.name)).collect();
            Object { bucket: Arc::clone(bucket), parts, size, _reading: reading }
        }))
    }

    /// Size in bytes of a blob that `repository` holds.
    pub(in crate::storage) fn object_size(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<u64>, StorageError> {
        let found = self.find(|| self.linked_parts(repository, digest))?;
        if found.is_some() {
            self.recency.blob_promised_to_all(repository, digest, millis_now());
        }
        Ok(found.map(|(_, size)| size))
    }

    fn linked_parts(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(Vec<Part>, u64)>, IndexError> {
        let read = self.index.read()?;
        let size = crate::storage::blobs::linked_size(&read, repository.as_str(), &digest.to_string())?;
        Ok(size.zip(parts_of(&read, digest)?).map(|(size, parts)| (parts, size)))
    }

    /// An address at which anybody can read a blob for a while without this server, and the blob's bytes; `None`
    /// when it is not here, or is no single object.
    pub(crate) fn blob_address(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(Url, u64)>, StorageError> {
        let Some(bucket) = self.bucket.as_ref().filter(|_| self.redirects) else { return Ok(None) };
        match self.find(|| self.linked_parts(repository, digest))? {
            Some((parts, size)) if parts.len() == 1 => Ok(Some((bucket.sign(&parts[0].name, ADDRESS_LIFETIME)?, size))),
            _ => Ok(None),
        }
    }

    /// Somebody else removed the objects of a blob: nobody has it any more.
    pub(in crate::storage) fn forget_lost_object(&self, bucket: &Bucket, digest: &Digest) -> Result<(), StorageError> {
        self.index.catch_up()?;
        let parts = { parts_of(&self.index.read()?, digest)? };
        let Some(parts) = parts else { return Ok(()) };
        if bucket.has_all(&parts)? {
            return Ok(());
        }
        let (digest, now) = (digest.to_string(), millis_now());
        Ok(self.index.change(move |tables| tables.drop_lost(&digest, &parts, now))?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_what_was_asked_for(sizes in proptest::collection::vec(0_u64..20, 0..6), a in 0_u64..100, b in 0_u64..100) {
            let parts: Vec<Part> = sizes.iter().enumerate()
                .map(|(number, size)| Part { name: number.to_string(), size: *size })
                .collect();
            let all: Vec<(String, u64)> = parts.iter()
                .flat_map(|part| (0..part.size).map(|offset| (part.name.clone(), offset)))
                .collect();
            let (a, b) = (a.min(all.len() as u64), b.min(all.len() as u64));
            let (first, end) = (a.min(b), a.max(b));
            let read: Vec<(String, u64)> = ranges(&parts, first, end - first).into_iter()
                .flat_map(|(name, range)| range.map(move |offset| (name.clone(), offset)))
                .collect();
            prop_assert_eq!(&read[..], &all[first as usize..end as usize]);
        }
    }
}
