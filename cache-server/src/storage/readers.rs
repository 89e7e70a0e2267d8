use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use yadokari::digest::Digest;

/// Which contents are being read; their files stay meanwhile, whoever removes them.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<HashMap<Digest, usize>>);

/// One reader of a content, until dropped.
#[derive(Debug)]
pub(crate) struct Reading {
    readers: Arc<Readers>,
    digest: Digest,
}

impl Readers {
    pub(super) fn add(self: &Arc<Self>, digest: &Digest) -> Reading {
        *self.lock().entry(digest.clone()).or_default() += 1;
        Reading { readers: Arc::clone(self), digest: digest.clone() }
    }

    pub(super) fn are_reading(&self, digest: &Digest) -> bool {
        self.lock().contains_key(digest)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut readers = self.readers.lock();
        if let Some(count) = readers.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&self.digest);
            }
        }
    }
}
