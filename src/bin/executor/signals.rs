//! SIGINT and SIGTERM.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use yadokari::sandbox::Cancel;

use crate::observing::Observing;

/// What stops the build, as soon as there is something to stop.
pub(crate) type Running = OnceLock<Cancel>;

/// How long a build has to end by itself.
const MOMENT: Duration = Duration::from_secs(5);
const INTERRUPTED: i32 = 130;

/// From now on a signal ends the running step, which fails the build and cleans up; a build that is busy with something
/// else gets a moment, then ends all the same, after what was seen of it is written. Later signals change nothing.
pub(crate) fn watch(observing: Option<Arc<Observing>>) -> Arc<Running> {
    let running: Arc<Running> = Arc::default();
    let known = Arc::clone(&running);
    let handler = move || {
        if let Some(cancel) = known.get() {
            cancel.cancel();
            std::thread::sleep(MOMENT);
        }
        if let Some(observing) = &observing {
            observing.stopped();
        }
        std::process::exit(INTERRUPTED);
    };
    // Fails only when a handler is set already: there is no other.
    let _ = ctrlc::set_handler(handler);
    running
}
