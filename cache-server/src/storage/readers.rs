use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use yadokari::digest::Digest;

/// Which contents are being read; their files stay meanwhile, whoever removes them.
#[derive(Debug)]
pub(super) struct Readers<K = Digest>(Mutex<HashMap<K, usize>>);

/// One reader of a content, until dropped.
#[derive(Debug)]
pub(crate) struct Reading<K: Eq + Hash = Digest> {
    readers: Arc<Readers<K>>,
    content: K,
}

impl<K> Default for Readers<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> Readers<K> {
    pub(super) fn add(self: &Arc<Self>, content: &K) -> Reading<K> {
        *self.lock().entry(content.clone()).or_default() += 1;
        Reading { readers: Arc::clone(self), content: content.clone() }
    }
}

impl<K: Eq + Hash> Readers<K> {
    pub(super) fn are_reading(&self, content: &K) -> bool {
        self.lock().contains_key(content)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Reading<K> {
    fn drop(&mut self) {
        let mut readers = self.readers.lock();
        if let Some(count) = readers.get_mut(&self.content) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&self.content);
            }
        }
    }
}
