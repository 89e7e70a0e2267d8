//! Writing: blobs and manifests.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use ureq::http::{HeaderName, Method, header};

use super::auth::Claim;
use super::blob::{blob_name, digest_like};
use super::client::{Answered, Client, Core, Target, retrying};
use super::error::{Fault, Operation, RegistryError, WEB_PAGE};
use super::options::Purpose;
use super::transport::{Outgoing, Payload, SourceReader, UPLOAD_PATIENCE, discard, header_text};
use crate::digest::{Algorithm, Digest};
use crate::image::{Descriptor, Reference};

/// The fencing token of a lease; a cache-server refuses what comes with one that is not the last.
const FENCE: HeaderName = HeaderName::from_static("yadokari-fence");
/// Blobs up to this many bytes go in the closing request: one round trip less.
const SMALL_BYTES: u64 = 4 << 20;
/// Chunk size after a 413; proxies that limit bodies commonly allow 100 MB.
const CHUNK_BYTES: u64 = 64 << 20;
const MAX_CHUNK_BYTES: u64 = 1 << 30;

/// An upload in progress: where it goes on, and how small a chunk may be.
struct Session {
    target: Target,
    least_chunk_bytes: u64,
}

/// An upload that was opened to find out whether a push will be allowed, and which one blob can use.
/// Cancelled when dropped: a registry sweeps forgotten uploads only sooner or later.
pub struct OpenUpload {
    core: Arc<Core>,
    to: Reference,
    /// `None` once it is used up.
    session: Option<Session>,
}

impl OpenUpload {
    /// Uploads a small blob with one request.
    ///
    /// # Errors
    /// Any fault; nothing was tried a second time, since an upload that failed is lost.
    pub fn put(mut self, blob: &Descriptor, bytes: &[u8]) -> Result<(), RegistryError> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let put = self.core.put_blob(&self.to, &session, blob, Payload::Bytes(bytes));
        put.map_err(|fault| fault.during(Operation::PushBlob, blob_name(&self.to, &blob.digest)))
    }
}

impl Drop for OpenUpload {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.core.cancel(&self.to, &session);
        }
    }
}

impl fmt::Debug for OpenUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenUpload").field("to", &self.to).finish_non_exhaustive()
    }
}

/// A manifest that a registry took.
pub(super) struct Stored {
    pub digest: Digest,
    /// The registry says that it keeps a list of what refers to the subject.
    pub has_subject: bool,
}

impl Client {
    /// Makes a blob of another repository of the same registry available in `to`, without its
    /// bytes. False on any refusal: then it has to be pushed.
    ///
    /// # Errors
    /// Faults of the connection only.
    pub fn mount_blob(&self, to: &Reference, digest: &Digest, from_repository: &str) -> Result<bool, RegistryError> {
        match self.core().mount(to, digest, from_repository) {
            Ok(mounted) => Ok(mounted),
            Err(fault) if fault.answer().is_some() => Ok(false),
            Err(fault) => Err(fault.during(Operation::MountBlob, blob_name(to, digest))),
        }
    }

    /// Uploads a blob. `open` starts it from its beginning, once per try; `progress` gets the
    /// bytes sent so far in the present try. The server verifies the digest.
    ///
    /// # Errors
    /// [`Fault::Source`] when `open` or its reader fails, or the reader ends early.
    pub fn push_blob(
        &self,
        to: &Reference,
        blob: &Descriptor,
        open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        self.push_blob_into(None, to, blob, open, progress)
    }

    /// The same for a blob that the repository hardly has: whether it does is asked while the upload is opened, which
    /// is one wait less than one after the other. An upload that was opened in vain is returned: whoever drops it
    /// waits for its end.
    ///
    /// # Errors
    /// As [`Client::push_blob`], and those of [`Client::has_blob`].
    pub fn push_new_blob(
        &self,
        to: &Reference,
        blob: &Descriptor,
        open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        progress: &dyn Fn(u64),
    ) -> Result<Option<OpenUpload>, RegistryError> {
        let core = self.core();
        let (opened, is_there) = thread::scope(|scope| {
            let opening = scope.spawn(|| core.open_session(to));
            let is_there = self.has_blob(to, &blob.digest);
            (opening.join().unwrap_or_else(|panic| resume_unwind(panic)), is_there)
        });
        let upload = |session| OpenUpload { core: Arc::clone(core), to: to.clone(), session: Some(session) };
        match is_there {
            // What else the registry has against a push does not matter then.
            Ok(true) => Ok(opened.ok().map(upload)),
            Ok(false) => self.push_blob_into(Some(opened), to, blob, open, progress).map(|()| None),
            Err(error) => {
                drop(opened.ok().map(upload));
                Err(error)
            }
        }
    }

    /// The first try uses the session that is `opened`.
    fn push_blob_into(
        &self,
        opened: Option<Result<Session, Fault>>,
        to: &Reference,
        blob: &Descriptor,
        open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let core = self.core();
        let chunk_bytes = Cell::new(core.options.chunk_bytes);
        let upload = Upload { core, to, blob, open, progress, chunk_bytes, opened: Cell::new(opened) };
        let pushed = retrying(core.options.retries, may_start_over, || upload.run());
        pushed.map_err(|fault| fault.during(Operation::PushBlob, blob_name(to, &blob.digest)))
    }

    /// Uploads a manifest or index under the tag (or digest) of `to`; returns its digest.
    ///
    /// # Errors
    /// [`Fault::DigestMismatch`] when `to` has another digest, or the server stored something else.
    pub fn push_manifest(&self, to: &Reference, media_type: &str, bytes: &[u8]) -> Result<Digest, RegistryError> {
        self.put_manifest(to, media_type, bytes, None)
    }

    /// The same for a record that was made under a lease of a cache-server with the fencing token
    /// `fence`; see `cache-server/openapi.yaml`.
    ///
    /// # Errors
    /// [`Fault::Refused`] (409) when somebody else holds a later lease.
    pub fn push_fenced_manifest(
        &self,
        to: &Reference,
        media_type: &str,
        bytes: &[u8],
        fence: u64,
    ) -> Result<Digest, RegistryError> {
        self.put_manifest(to, media_type, bytes, Some((FENCE, fence.to_string())))
    }

    fn put_manifest(
        &self,
        to: &Reference,
        media_type: &str,
        bytes: &[u8],
        header: Option<(HeaderName, String)>,
    ) -> Result<Digest, RegistryError> {
        let core = self.core();
        let stored =
            retrying(core.options.retries, is_mistaken, || core.put_manifest(to, media_type, bytes, header.clone()));
        stored.map(|stored| stored.digest).map_err(|fault| fault.during(Operation::PushManifest, to))
    }

    /// Deletes a manifest of a cache repository by its digest, with all tags that name it. False when
    /// there is none.
    ///
    /// # Errors
    /// [`Fault::Refused`] (405) where the registry does not delete.
    pub fn delete_manifest(&self, repository: &Reference, digest: &Digest) -> Result<bool, RegistryError> {
        let named = repository.with_digest(digest.clone());
        match self.core().delete(&named) {
            Err(Fault::NotFound(_)) => Ok(false),
            deleted => deleted.map(|()| true).map_err(|fault| fault.during(Operation::DeleteManifest, &named)),
        }
    }

    /// Finds out whether a push will be allowed.
    ///
    /// # Errors
    /// The registry's refusal.
    pub fn check_push(&self, to: &Reference) -> Result<(), RegistryError> {
        self.open_upload(to).map(drop)
    }

    /// The same, with the upload that was opened for it, which the push can use.
    ///
    /// # Errors
    /// As there.
    pub fn open_upload(&self, to: &Reference) -> Result<OpenUpload, RegistryError> {
        let core = self.core();
        let opened = retrying(core.options.retries, Fault::is_transient, || core.open_session(to));
        let session = opened.map_err(|fault| fault.during(Operation::CheckPush, to.name()))?;
        Ok(OpenUpload { core: Arc::clone(core), to: to.clone(), session: Some(session) })
    }
}

/// Whether a new session may succeed where this one failed: also when the server lost the session
/// or the token ran out under way.
fn may_start_over(fault: &Fault) -> bool {
    let lost = |code: &str| matches!(code, "BLOB_UPLOAD_UNKNOWN" | "BLOB_UPLOAD_INVALID" | "RANGE_INVALID");
    let code = fault.answer().and_then(|answer| answer.code.as_deref());
    fault.is_transient() || code.is_some_and(lost)
}

/// Whether the registry finds fault with a digest that was compared with the bytes before they left. Distribution says
/// so while another upload writes the link of a blob that the manifest names: it reads an empty file then.
fn is_mistaken(fault: &Fault) -> bool {
    fault.answer().and_then(|answer| answer.code.as_deref()) == Some("DIGEST_INVALID")
}

fn claim(to: &Reference) -> Claim {
    Claim::new(to, "pull,push", Purpose::Push)
}

impl Core {
    fn open_session(&self, to: &Reference) -> Result<Session, Fault> {
        let target = self.target(to, Purpose::Push, "blobs/uploads/")?;
        let outgoing = Outgoing { payload: Payload::Bytes(b""), ..Outgoing::new(Method::POST, Purpose::Push) };
        let answered = self.attempt(&target, &outgoing, &mut claim(to))?;
        session(&target, answered)
    }

    /// Best effort: a registry sweeps forgotten uploads sooner or later.
    fn cancel(&self, to: &Reference, session: &Session) {
        let outgoing = Outgoing::new(Method::DELETE, Purpose::Push);
        if let Ok(answered) = self.attempt(&session.target, &outgoing, &mut claim(to)) {
            discard(answered.response);
        }
    }

    fn mount(&self, to: &Reference, digest: &Digest, from_repository: &str) -> Result<bool, Fault> {
        let mut target = self.target(to, Purpose::Push, "blobs/uploads/")?;
        let digest = digest.to_string();
        target.url.query_pairs_mut().append_pair("mount", &digest).append_pair("from", from_repository);
        let outgoing = Outgoing { payload: Payload::Bytes(b""), ..Outgoing::new(Method::POST, Purpose::Push) };
        let answered = self.call(&target, &outgoing, &mut claim(to).and(from_repository, "pull"))?;
        if answered.response.status().as_u16() == 201 {
            discard(answered.response);
            return Ok(true);
        }
        if let Ok(session) = session(&target, answered) {
            self.cancel(to, &session);
        }
        Ok(false)
    }

    /// Closes an upload with the (last) bytes of the blob.
    fn put_blob(
        &self,
        to: &Reference,
        session: &Session,
        blob: &Descriptor,
        payload: Payload<'_>,
    ) -> Result<(), Fault> {
        let mut target = session.target.clone();
        target.url.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let answered = self.attempt(&target, &carrying(Method::PUT, payload), &mut claim(to))?;
        discard(answered.response);
        Ok(())
    }

    fn delete(&self, named: &Reference) -> Result<(), Fault> {
        let target = self.target(named, Purpose::Push, &format!("manifests/{}", named.target()))?;
        let outgoing = Outgoing::new(Method::DELETE, Purpose::Push);
        // Docker's token servers know `delete`, most others `*`; some take neither and go by `push`.
        let mut claim = Claim::new(named, "pull,push,delete", Purpose::Push);
        self.call(&target, &outgoing, &mut claim).map(|answered| discard(answered.response))
    }

    pub(super) fn put_manifest(
        &self,
        to: &Reference,
        media_type: &str,
        bytes: &[u8],
        header: Option<(HeaderName, String)>,
    ) -> Result<Stored, Fault> {
        let digest = to.digest().map_or_else(|| Digest::sha256(bytes), |named| digest_like(named, bytes));
        if let Some(expected) = to.digest().filter(|named| **named != digest) {
            return Err(Fault::DigestMismatch { expected: expected.clone(), actual: digest });
        }
        let target = self.target(to, Purpose::Push, &format!("manifests/{}", to.target()))?;
        let mut headers = vec![(header::CONTENT_TYPE, media_type.to_owned())];
        headers.extend(header);
        let payload = Payload::Bytes(bytes);
        let outgoing = Outgoing { headers, payload, ..Outgoing::new(Method::PUT, Purpose::Push) };
        let answered = self.call(&target, &outgoing, &mut claim(to))?;
        let headers = answered.response.headers();
        let stored = header_text(headers, "docker-content-digest").and_then(|t| t.parse().ok());
        let has_subject = headers.contains_key("oci-subject");
        discard(answered.response);
        match stored {
            Some(actual) if differs(&digest, &actual) => Err(Fault::DigestMismatch { expected: digest, actual }),
            _ => Ok(Stored { digest, has_subject }),
        }
    }
}

/// A server may name the same bytes by another algorithm.
fn differs(ours: &Digest, theirs: &Digest) -> bool {
    let same_algorithm: bool = match (ours.algorithm(), theirs.algorithm()) {
        (Algorithm::Sha256, Algorithm::Sha256) | (Algorithm::Sha512, Algorithm::Sha512) => true,
        (Algorithm::Sha256, Algorithm::Sha512) | (Algorithm::Sha512, Algorithm::Sha256) => false,
    };
    same_algorithm && ours != theirs
}

/// Where the upload goes on, as the answer says.
fn session(before: &Target, answered: Answered) -> Result<Session, Fault> {
    let Answered { origin, url, response } = answered;
    let headers = response.headers();
    let is_page = || header_text(headers, "content-type").is_some_and(|value| value.starts_with("text/html"));
    let reason = || if is_page() { WEB_PAGE } else { "an upload without location" };
    let missing = || Fault::Malformed { origin: origin.to_string(), reason: reason().to_owned() };
    let (_, url) = origin.destination(&url, header_text(headers, "location").ok_or_else(missing)?)?;
    let least = header_text(headers, "oci-chunk-min-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    discard(response);
    Ok(Session { target: Target { home: before.home.clone(), url }, least_chunk_bytes: least })
}

/// One blob on its way to one repository.
struct Upload<'a> {
    core: &'a Core,
    to: &'a Reference,
    blob: &'a Descriptor,
    open: &'a dyn Fn() -> io::Result<Box<dyn Read + Send>>,
    progress: &'a dyn Fn(u64),
    /// `None`: the whole blob in one request.
    chunk_bytes: Cell<Option<u64>>,
    /// What came of opening a session ahead, until it is used.
    opened: Cell<Option<Result<Session, Fault>>>,
}

impl Upload<'_> {
    /// One try, from a new session to the closing request.
    fn run(&self) -> Result<(), Fault> {
        let first = self.try_once();
        // A proxy in front of the registry limits bodies.
        let limited = matches!(&first, Err(Fault::Refused(answer)) if answer.status == 413);
        if limited && self.chunk_bytes.get().is_none() && self.blob.size > CHUNK_BYTES {
            self.chunk_bytes.set(Some(CHUNK_BYTES));
            return self.try_once();
        }
        // The refused token is forgotten by now, so that a long upload gets a new one.
        if matches!(&first, Err(Fault::Unauthorized { .. })) {
            return self.try_once();
        }
        first
    }

    fn try_once(&self) -> Result<(), Fault> {
        let mut session = self.opened.take().unwrap_or_else(|| self.core.open_session(self.to))?;
        let sent = self.send(&mut session);
        if matches!(&sent, Err(fault) if fault.answer().is_some() || matches!(fault, Fault::Source(_))) {
            self.core.cancel(self.to, &session);
        }
        sent
    }

    fn send(&self, session: &mut Session) -> Result<(), Fault> {
        let source = SourceReader::new((self.open)().map_err(Fault::Source)?, self.progress);
        let size = self.blob.size;
        let chunk = self.chunk_bytes.get().map(|bytes| bytes.max(session.least_chunk_bytes).clamp(1, MAX_CHUNK_BYTES));
        let sent = match chunk {
            Some(chunk) if chunk < size => self.send_chunks(session, &source, chunk).and_then(|()| self.close(session)),
            _ if size <= SMALL_BYTES => self.put(session, self.payload(&source, size)),
            _ => self.patch(session, self.payload(&source, size), None).and_then(|()| self.close(session)),
        };
        source.failure().map_or(sent, |error| Err(Fault::Source(error)))
    }

    fn send_chunks<'a>(&self, session: &mut Session, source: &'a SourceReader<'a>, chunk: u64) -> Result<(), Fault> {
        let mut start = 0;
        while start < self.blob.size {
            let length = chunk.min(self.blob.size - start);
            let range = format!("{start}-{}", start + length - 1);
            self.patch(session, self.payload(source, length), Some(range))?;
            start += length;
        }
        Ok(())
    }

    /// The next `length` bytes of the source.
    fn payload<'a>(&self, source: &'a SourceReader<'a>, length: u64) -> Payload<'a> {
        if length == 0 {
            return Payload::Bytes(b"");
        }
        source.allow(length);
        Payload::Reader { reader: source, length }
    }

    fn patch(&self, session: &mut Session, payload: Payload<'_>, range: Option<String>) -> Result<(), Fault> {
        let mut outgoing = carrying(Method::PATCH, payload);
        outgoing.headers.extend(range.map(|range| (header::CONTENT_RANGE, range)));
        let answered = self.core.attempt(&session.target, &outgoing, &mut claim(self.to))?;
        // The newest location counts, when there is one.
        if answered.response.headers().contains_key(header::LOCATION) {
            session.target = self::session(&session.target, answered)?.target;
        } else {
            discard(answered.response);
        }
        Ok(())
    }

    fn close(&self, session: &Session) -> Result<(), Fault> {
        self.put(session, Payload::Bytes(b""))
    }

    fn put(&self, session: &Session, payload: Payload<'_>) -> Result<(), Fault> {
        self.core.put_blob(self.to, session, self.blob, payload)
    }
}

/// A request that carries bytes of a blob.
fn carrying(method: Method, payload: Payload<'_>) -> Outgoing<'_> {
    Outgoing {
        headers: vec![(header::CONTENT_TYPE, "application/octet-stream".to_owned())],
        payload,
        patience: UPLOAD_PATIENCE,
        ..Outgoing::new(method, Purpose::Push)
    }
}
