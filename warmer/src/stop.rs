//! The wish to end, from a signal.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// For what the process is doing when the signal comes; then it is over anyway.
const MOMENT: Duration = Duration::from_secs(5);

/// Set once, for good.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Set by SIGINT, SIGTERM and SIGHUP. A process that has not ended a moment later exits with `code`.
    pub(crate) fn on_signal(code: u8) -> Self {
        let stop = Self::default();
        let signalled = stop.clone();
        let handler = move || {
            signalled.set();
            std::thread::sleep(MOMENT);
            std::process::exit(code.into());
        };
        // Fails only when a handler is set already: there is no other.
        let _ = ctrlc::set_handler(handler);
        stop
    }

    fn set(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps; true when the wish came, which ends the sleep.
    pub(crate) fn sleep(&self, duration: Duration) -> bool {
        let set = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(set, duration, |set| !*set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
