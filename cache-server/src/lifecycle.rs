//! Whether the server is on its way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by all who must know; a clone is the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lifecycle(Arc<AtomicBool>);

impl Lifecycle {
    /// From now on no new work is welcome.
    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
