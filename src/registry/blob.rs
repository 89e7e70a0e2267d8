//! Reading a blob: verified while it streams, resumed when the connection breaks.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::thread;

use sha2::{Digest as _, Sha256, Sha512};
use ureq::Body;
use ureq::http::{Method, Response, header};

use super::auth::Claim;
use super::client::{Answered, Core, pause};
#[cfg(doc)]
use super::error::RegistryError;
use super::error::{Fault, Operation};
use super::options::Purpose;
use super::origin::Origin;
use super::transport::{Outgoing, header_text, read_fault};
use crate::digest::{Algorithm, Digest};
use crate::image::{Descriptor, Reference};

/// Bytes that a connection must deliver for its break not to count as a failure.
const PROGRESS_BYTES: u64 = 1 << 20;

/// A blob's bytes. The last of them are given out only when digest and size match.
///
/// # Errors
/// Reads fail with an [`io::Error`] that holds a [`RegistryError`].
pub struct BlobReader {
    core: Arc<Core>,
    place: Reference,
    purpose: Purpose,
    expected: Digest,
    size: u64,
    stream: Stream,
    hasher: Hasher,
    /// Bytes given out.
    offset: u64,
    /// The offset at which the present connection began.
    began_at: u64,
    /// Connections in a row that brought nearly nothing.
    stalls: u32,
    failed: bool,
}

/// One connection's worth of a blob.
struct Stream {
    origin: Origin,
    body: Box<dyn Read + Send>,
    /// A strong one, for asking whether the rest still belongs to the same thing.
    etag: Option<String>,
}

/// The first bytes of a blob, from a transfer that broke off, perhaps in another process.
#[derive(Clone)]
pub struct BlobPrefix {
    hasher: Hasher,
    size: u64,
}

impl BlobPrefix {
    /// Nothing yet: the blob is fetched from its first byte.
    pub fn empty(blob: &Descriptor) -> Self {
        Self { hasher: Hasher::new(blob.digest.algorithm()), size: 0 }
    }

    /// Whether it is all of the blob, and right.
    pub fn is_whole(&self, blob: &Descriptor) -> bool {
        self.size == blob.size && self.hasher.digest() == blob.digest
    }

    /// Hashes `bytes`, the first ones of `blob`, to their end.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(blob: &Descriptor, mut bytes: impl Read) -> io::Result<Self> {
        let mut prefix = Self::empty(blob);
        let mut buffer = vec![0; 128 << 10];
        loop {
            match bytes.read(&mut buffer)? {
                0 => return Ok(prefix),
                count => {
                    prefix.hasher.update(&buffer[..count]);
                    prefix.size += count as u64;
                }
            }
        }
    }
}

#[derive(Clone)]
pub(super) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::from_sha256(&hasher.clone().finalize().into()),
            Self::Sha512(hasher) => Digest::from_sha512(&hasher.clone().finalize().into()),
        }
    }
}

/// The digest of `bytes` in the algorithm of `like`.
pub(super) fn digest_like(like: &Digest, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(like.algorithm());
    hasher.update(bytes);
    hasher.digest()
}

impl BlobReader {
    /// Asks `place` for what follows `have`; the size that it announces must fit.
    pub(super) fn open(
        core: &Arc<Core>,
        place: &Reference,
        blob: &Descriptor,
        purpose: Purpose,
        have: &BlobPrefix,
    ) -> Result<Self, Fault> {
        let target = core.target(place, purpose, &format!("blobs/{}", blob.digest))?;
        let mut claim = Claim::new(place, "pull", purpose);
        // No `If-Range`: the name is the digest, and that is checked.
        let answered = core.call(&target, &request(purpose, have.size, None), &mut claim)?;
        let offset = if answered.response.status().as_u16() == 206 { have.size } else { 0 };
        let announced = header_text(answered.response.headers(), "content-length").and_then(|n| n.parse().ok());
        if let Some(actual) = announced.filter(|n: &u64| n.saturating_add(offset) != blob.size) {
            return Err(Fault::SizeMismatch { expected: blob.size, actual: actual.saturating_add(offset) });
        }
        let mut reader = Self {
            core: Arc::clone(core),
            place: place.clone(),
            purpose,
            expected: blob.digest.clone(),
            size: blob.size,
            stream: Stream::after(answered, have.size, blob.size)?,
            hasher: have.hasher.clone(),
            offset: have.size,
            began_at: have.size,
            stalls: 0,
            failed: false,
        };
        if blob.size == 0 {
            reader.finish()?;
        }
        Ok(reader)
    }

    /// Size of the whole blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads all of a blob of at most `limit` bytes.
    pub(super) fn whole(
        core: &Arc<Core>,
        place: &Reference,
        blob: &Descriptor,
        purpose: Purpose,
        limit: u64,
    ) -> Result<Vec<u8>, Fault> {
        let size = usize::try_from(blob.size).ok().filter(|_| blob.size <= limit).ok_or(Fault::TooLarge { limit })?;
        let mut reader = Self::open(core, place, blob, purpose, &BlobPrefix::empty(blob))?;
        let mut bytes = vec![0; size];
        let mut filled = 0;
        while filled < size {
            filled += reader.next(&mut bytes[filled..])?;
        }
        Ok(bytes)
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let left = usize::try_from(self.size - self.offset).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        loop {
            let fault = match self.stream.body.read(&mut buffer[..room]) {
                Ok(0) => self.interrupted("it ended early"),
                Ok(count) => {
                    self.advance(&buffer[..count])?;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => read_fault(&self.stream.origin, error),
            };
            self.resume(fault)?;
        }
    }

    fn advance(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        if self.offset == self.size { self.finish() } else { Ok(()) }
    }

    /// All is here: nothing may follow, and the digest must fit. Reading on to the end also
    /// gives the connection back.
    fn finish(&mut self) -> Result<(), Fault> {
        if matches!(self.stream.body.read(&mut [0]), Ok(1)) {
            return Err(Fault::SizeMismatch { expected: self.size, actual: self.size + 1 });
        }
        let actual = self.hasher.digest();
        if actual != self.expected {
            return Err(Fault::DigestMismatch { expected: self.expected.clone(), actual });
        }
        Ok(())
    }

    /// Asks for the rest. Ends when `retries` connections in a row brought nearly nothing.
    fn resume(&mut self, mut fault: Fault) -> Result<(), Fault> {
        loop {
            let progressed = self.offset - self.began_at >= PROGRESS_BYTES;
            self.stalls = if progressed { 0 } else { self.stalls + 1 };
            self.began_at = self.offset;
            if !fault.is_transient() || self.stalls > self.core.options.retries {
                return Err(fault);
            }
            thread::sleep(pause(self.stalls));
            match self.reopen() {
                Ok(()) => return Ok(()),
                Err(next) => fault = next,
            }
        }
    }

    /// From the registry's own URL again: a signed one may have expired.
    fn reopen(&mut self) -> Result<(), Fault> {
        let target = self.core.target(&self.place, self.purpose, &format!("blobs/{}", self.expected))?;
        let outgoing = request(self.purpose, self.offset, self.stream.etag.clone());
        let mut claim = Claim::new(&self.place, "pull", self.purpose);
        let answered = self.core.attempt(&target, &outgoing, &mut claim)?;
        self.stream = Stream::after(answered, self.offset, self.size)?;
        Ok(())
    }

    fn interrupted(&self, reason: &str) -> Fault {
        interrupted(&self.stream.origin, reason)
    }
}

/// Asks for all from `offset` on.
fn request(purpose: Purpose, offset: u64, etag: Option<String>) -> Outgoing<'static> {
    let mut outgoing = Outgoing::new(Method::GET, purpose);
    if offset > 0 {
        outgoing.headers.push((header::RANGE, format!("bytes={offset}-")));
        outgoing.headers.extend(etag.map(|etag| (header::IF_RANGE, etag)));
    }
    outgoing
}

fn interrupted(origin: &Origin, reason: &str) -> Fault {
    Fault::Interrupted { origin: origin.to_string(), reason: reason.to_owned() }
}

impl Stream {
    /// The body of an answer from `offset` on, also where the server sent all.
    fn after(answered: Answered, offset: u64, size: u64) -> Result<Self, Fault> {
        let skip = match answered.response.status().as_u16() {
            206 if starts_at(&answered.response, offset, size) => 0,
            206 => return Err(malformed(&answered.origin, "a range that was not asked for")),
            // The server knows no ranges: what we have comes once more.
            _ => offset,
        };
        let mut stream = Self::of(answered);
        match io::copy(&mut (&mut stream.body).take(skip), &mut io::sink()) {
            Ok(count) if count == skip => Ok(stream),
            Ok(_) => Err(interrupted(&stream.origin, "it ended early")),
            Err(error) => Err(read_fault(&stream.origin, error)),
        }
    }

    fn of(answered: Answered) -> Self {
        let etag = header_text(answered.response.headers(), "etag").filter(|etag| etag.starts_with('"'));
        let etag = etag.map(str::to_owned);
        Self { origin: answered.origin, body: Box::new(answered.response.into_body().into_reader()), etag }
    }
}

/// Whether `Content-Range` is `bytes <offset>-<any>/<size or *>`.
fn starts_at(response: &Response<Body>, offset: u64, size: u64) -> bool {
    let range = header_text(response.headers(), "content-range").and_then(|text| text.strip_prefix("bytes"));
    let Some((span, total)) = range.and_then(|text| text.trim().split_once('/')) else { return false };
    let start = span.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
    start == Some(offset) && (total == "*" || total.parse() == Ok(size))
}

fn malformed(origin: &Origin, reason: &str) -> Fault {
    Fault::Malformed { origin: origin.to_string(), reason: reason.to_owned() }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other("the blob could not be read"));
        }
        self.next(buffer).map_err(|fault| {
            self.failed = true;
            io::Error::other(fault.during(Operation::FetchBlob, blob_name(&self.place, &self.expected)))
        })
    }
}

/// `registry/repository@digest`, for error messages.
pub(super) fn blob_name(place: &Reference, digest: &Digest) -> String {
    format!("{}@{digest}", place.name())
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = blob_name(&self.place, &self.expected);
        f.debug_struct("BlobReader").field("blob", &name).field("offset", &self.offset).finish_non_exhaustive()
    }
}
