//! Blobs, from registries into the store: each once, however many images have it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use yadokari::digest::Digest;
use yadokari::image::{Descriptor, Reference};
use yadokari::registry::{BlobPrefix, BlobReader, Client, Fault, Purpose, RegistryError};
use yadokari::report::{Direction, Event, Observer, Transfer};
use yadokari::store::{BlobClaim, PartialBlob, Store, StoreError};

use crate::stop::Stop;
use crate::warm::WarmError;

/// Blobs that are fetched at a time, as skopeo does.
const AT_A_TIME: usize = 6;

/// Read from a registry and written to the store at once.
const PIECE_BYTES: usize = 256 << 10;

/// How often another process that fetches the same blob is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// Another process that gets no byte in this time is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fetches blobs.
pub(crate) struct Blobs<'a> {
    pub(crate) client: &'a Client,
    pub(crate) store: &'a Store,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) stop: &'a Stop,
    force: bool,
    turns: Turns,
    /// By digest, when no stored byte is trusted.
    verified: Mutex<BTreeSet<Digest>>,
    fetched: AtomicU64,
}

impl<'a> Blobs<'a> {
    /// With `force`, what is stored already is read once and fetched again when it is damaged.
    pub(crate) fn new(
        client: &'a Client,
        store: &'a Store,
        observer: &'a dyn Observer,
        stop: &'a Stop,
        force: bool,
    ) -> Self {
        let (turns, verified, fetched) = (Turns::default(), Mutex::default(), AtomicU64::default());
        Self { client, store, observer, stop, force, turns, verified, fetched }
    }

    /// Bytes that came from registries.
    pub(crate) fn fetched_bytes(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Makes sure that the store has the blob; `source` is a repository that has it.
    pub(crate) fn ensure(&self, source: &Reference, blob: &Descriptor) -> Result<(), WarmError> {
        let _turn = self.turns.take(&blob.digest);
        self.verify(blob)?;
        let mut other = Patience::new();
        loop {
            if self.stop.is_set() {
                return Err(WarmError::Stopped);
            }
            match self.store.claim_blob(blob)? {
                BlobClaim::Stored => return Ok(()),
                BlobClaim::Ours(partial) => return self.fetch(source, blob, *partial),
                BlobClaim::Elsewhere(size) if other.is_over(size) => return self.fetch_beside(source, blob),
                BlobClaim::Elsewhere(_) => drop(self.stop.sleep(GLANCE)),
            }
        }
    }

    fn verify(&self, blob: &Descriptor) -> Result<(), StoreError> {
        let is_first = || self.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest.clone());
        if self.force && is_first() { self.remove_damaged(blob) } else { Ok(()) }
    }

    /// Reads a blob; when it is damaged, removes it, so that it can be stored again.
    pub(crate) fn remove_damaged(&self, blob: &Descriptor) -> Result<(), StoreError> {
        let Some(mut reader) = self.store.open_verified(blob)? else { return Ok(()) };
        let Err(error) = io::copy(&mut reader, &mut io::sink()) else { return Ok(()) };
        if error.kind() != ErrorKind::InvalidData {
            return Err(StoreError::Io { operation: "read", path: self.store.blob_path(&blob.digest), source: error });
        }
        self.observer.event(Event::Warning(format!("{error}; removed, to be fetched again")));
        self.remove(&blob.digest)
    }

    pub(crate) fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.store.blob_path(digest);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(StoreError::Io { operation: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Goes on where somebody was killed. When that leads to wrong bytes, begins anew.
    fn fetch(&self, source: &Reference, blob: &Descriptor, mut partial: PartialBlob) -> Result<(), WarmError> {
        self.take_over(blob, &mut partial)?;
        let had = partial.size();
        let mut fetched = self.fetch_rest(source, blob, &mut partial);
        if fetched.as_ref().is_err_and(is_wrong_digest) {
            partial.restart()?;
            if had > 0 {
                let text = format!("what an earlier run left of {} is damaged; fetching it again", blob.digest);
                self.observer.event(Event::Warning(text));
                fetched = self.fetch_rest(source, blob, &mut partial);
            }
        }
        fetched?;
        Ok(partial.commit_verified()?)
    }

    /// Takes what Kaniko's warmer left in the directory; like all that is there, it is checked before it
    /// counts.
    fn take_over(&self, blob: &Descriptor, partial: &mut PartialBlob) -> Result<(), WarmError> {
        if partial.size() > 0 {
            return Ok(());
        }
        let Some(reader) = self.store.open_kaniko_blob(&blob.digest)? else { return Ok(()) };
        if io::copy(&mut reader.take(blob.size), partial).is_err() {
            // What is wrong with our own file the registry's bytes will meet as well.
            partial.restart()?;
        }
        Ok(())
    }

    fn fetch_rest(&self, source: &Reference, blob: &Descriptor, partial: &mut PartialBlob) -> Result<(), WarmError> {
        let have = BlobPrefix::read(blob, partial.bytes()?).map_err(|source| blob_error(blob, source))?;
        if have.is_whole(blob) {
            return Ok(());
        }
        if partial.size() == blob.size && blob.size > 0 {
            partial.restart()?;
            return self.fetch_rest(source, blob, partial);
        }
        let reader = self.client.fetch_blob_after(source, blob, Purpose::Pull, &have)?;
        self.copy(blob, reader, partial.size(), partial)
    }

    /// For when another process has the claim and does nothing with it.
    fn fetch_beside(&self, source: &Reference, blob: &Descriptor) -> Result<(), WarmError> {
        let reader = self.client.fetch_blob(source, blob, Purpose::Pull)?;
        // The reader gives out the last bytes only when the digest is right.
        let mut writer = self.store.blob_writer_for(blob)?.with_known_digest(blob.digest.clone());
        self.copy(blob, reader, 0, &mut writer)?;
        Ok(writer.commit_as(blob)?)
    }

    fn copy(
        &self,
        blob: &Descriptor,
        mut reader: BlobReader,
        done: u64,
        writer: &mut dyn Write,
    ) -> Result<(), WarmError> {
        let mut progress = Progress { observer: self.observer, digest: &blob.digest, total: blob.size, done };
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let (filled, is_end) = fill(&mut reader, &mut buffer);
            writer.write_all(&buffer[..filled]).map_err(|source| blob_error(blob, source))?;
            self.fetched.fetch_add(filled as u64, Ordering::Relaxed);
            progress.advance(filled as u64);
            if is_end.map_err(|source| blob_error(blob, source))? {
                return Ok(());
            }
            if self.stop.is_set() {
                return Err(WarmError::Stopped);
            }
        }
    }
}

/// Fills the buffer, less before the end or an error; whether it is the end.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> (usize, io::Result<bool>) {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => return (filled, Ok(true)),
            Ok(count) => filled += count,
            Err(error) => return (filled, Err(error)),
        }
    }
    (filled, Ok(false))
}

fn blob_error(blob: &Descriptor, source: io::Error) -> WarmError {
    WarmError::Blob { digest: blob.digest.clone(), source }
}

fn is_wrong_digest(error: &WarmError) -> bool {
    let WarmError::Blob { source, .. } = error else { return false };
    let fault = source.get_ref().and_then(|error| error.downcast_ref::<RegistryError>());
    fault.is_some_and(|error| matches!(*error.fault, Fault::DigestMismatch { .. }))
}

/// How long another process has been without progress.
struct Patience {
    seen: u64,
    since: Instant,
}

impl Patience {
    fn new() -> Self {
        Self { seen: 0, since: Instant::now() }
    }

    fn is_over(&mut self, size: u64) -> bool {
        if size != self.seen {
            *self = Self { seen: size, since: Instant::now() };
        }
        self.since.elapsed() > PATIENCE
    }
}

/// The blobs that are being fetched by this process.
#[derive(Default)]
struct Turns {
    running: Mutex<BTreeSet<Digest>>,
    ended: Condvar,
}

/// Ends when dropped.
struct Turn<'a> {
    turns: &'a Turns,
    digest: Digest,
}

impl Turns {
    /// Waits while there are too many, or one of this blob.
    fn take(&self, digest: &Digest) -> Turn<'_> {
        let must_wait = |running: &mut BTreeSet<Digest>| running.len() >= AT_A_TIME || running.contains(digest);
        let running = self.ended.wait_while(self.lock(), must_wait);
        running.unwrap_or_else(PoisonError::into_inner).insert(digest.clone());
        Turn { turns: self, digest: digest.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.digest);
        self.turns.ended.notify_all();
    }
}

/// How far a transfer is.
struct Progress<'a> {
    observer: &'a dyn Observer,
    digest: &'a Digest,
    total: u64,
    done: u64,
}

impl Progress<'_> {
    fn advance(&mut self, count: u64) {
        self.done += count;
        let (digest, done, total) = (self.digest.clone(), self.done, self.total);
        self.observer.event(Event::Transfer(Transfer { direction: Direction::Pull, digest, done, total }));
    }
}
