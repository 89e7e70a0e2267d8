use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;

/// Which blobs a repository has from us, or gets just now: none is uploaded twice.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    states: Mutex<BTreeMap<Digest, State>>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Done,
}

impl Uploads {
    /// Calls `upload` unless it succeeded for this blob before; waits for one that is running.
    /// After a failure the next caller tries again.
    pub(super) fn once<E>(&self, digest: &Digest, upload: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if !self.begin(digest) {
            return Ok(());
        }
        // Also when `upload` panics: nobody may wait for ever.
        let mut running = Running { uploads: self, digest, state: None };
        upload()?;
        running.state = Some(State::Done);
        Ok(())
    }

    /// True when it is the caller's to upload, false when it is done.
    fn begin(&self, digest: &Digest) -> bool {
        let running = |states: &mut BTreeMap<Digest, State>| states.get(digest) == Some(&State::Running);
        let mut states = self.changed.wait_while(self.lock(), running).unwrap_or_else(PoisonError::into_inner);
        if states.contains_key(digest) {
            return false;
        }
        states.insert(digest.clone(), State::Running);
        true
    }

    /// Whether the repository has the blob, as far as is known.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.lock().get(digest) == Some(&State::Done)
    }

    /// Takes note of blobs that the repository has: a record of it names them.
    pub(super) fn note<'a>(&self, digests: impl Iterator<Item = &'a Digest>) {
        let mut states = self.lock();
        for digest in digests {
            states.entry(digest.clone()).or_insert(State::Done);
        }
    }

    /// Forgets a blob that turned out to be gone.
    pub(super) fn forget(&self, digest: &Digest) {
        self.lock().remove(digest);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Running<'a> {
    uploads: &'a Uploads,
    digest: &'a Digest,
    state: Option<State>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut states = self.uploads.lock();
        match self.state {
            Some(state) => states.insert(self.digest.clone(), state),
            None => states.remove(self.digest),
        };
        drop(states);
        self.uploads.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn one_of_many_uploads_and_a_failure_is_tried_again() {
        let (uploads, calls) = (Uploads::default(), AtomicUsize::new(0));
        let digest = Digest::sha256(b"blob");
        let upload = || match calls.fetch_add(1, Ordering::SeqCst) {
            0 => Err("the first fails"),
            _ => Ok(()),
        };
        let failed = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| uploads.once(&digest, upload))).collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).filter(Result::is_err).count()
        });
        assert_eq!((failed, calls.load(Ordering::SeqCst)), (1, 2));
        uploads.forget(&digest);
        uploads.once(&digest, upload).expect("works");
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_panic_leaves_nobody_waiting() {
        let uploads = Uploads::default();
        let digest = Digest::sha256(b"blob");
        let panicked = std::thread::scope(|scope| {
            scope.spawn(|| uploads.once(&digest, || -> Result<(), ()> { panic!("on purpose") })).join().is_err()
        });
        assert!(panicked);
        assert_eq!(uploads.once(&digest, || Err("called")), Err("called"));
    }
}
