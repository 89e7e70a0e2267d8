use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use yadokari::causes::chain;

use super::FetchError;

/// How a mirrored registry has been doing since the start.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct MirrorState {
    /// Manifests and blobs that came from it, or that it said were as before.
    pub(crate) answers: u64,
    pub(crate) failures: u64,
    /// Of blobs that came from it.
    pub(crate) bytes: u64,
    /// Seconds since 1970.
    pub(crate) last_answer: Option<i64>,
    /// When, in seconds since 1970, and why.
    pub(crate) last_failure: Option<(i64, String)>,
}

/// Notes how one registry does; a clone is the same.
#[derive(Debug, Default, Clone)]
pub(super) struct Watch(Arc<Mutex<MirrorState>>);

impl Watch {
    pub(super) fn state(&self) -> MirrorState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What became of a request that brought `bytes` when it went well.
    pub(super) fn note<T>(&self, result: &Result<T, FetchError>, bytes: u64) {
        let now = Timestamp::now().as_second();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Err(error) if !error.is_absence() => {
                state.failures += 1;
                state.last_failure = Some((now, chain(error)));
            }
            // That it has no such thing is an answer.
            _ => {
                state.answers += 1;
                state.bytes += bytes;
                state.last_answer = Some(now);
            }
        }
    }
}
