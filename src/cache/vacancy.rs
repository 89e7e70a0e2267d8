use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::image::Reference;
use crate::registry::{Client, Emptiness};

/// After so many look-ups in a row without a hit it is asked whether the repository has any tag. An unchanged build
/// has one look-up, a changed one finds something in its second.
const MISSES: usize = 2;

/// How long it counts that there was none: others save, too.
const BELIEVED: Duration = Duration::from_secs(30);

/// Whether a repository has nothing at all, as the first build's: then its steps need not wait for that many
/// look-ups.
#[derive(Debug, Default)]
pub(super) struct Vacancy {
    misses: AtomicUsize,
    emptiness: Emptiness,
}

impl Vacancy {
    /// Takes note of what a look-up of some keys came to. May ask the registry; nobody waits for that.
    pub(super) fn note(&self, found: bool, client: &Client, repository: &Reference) {
        let misses = self.misses.fetch_add(1, Ordering::Relaxed) + 1;
        if found {
            // Never again.
            self.misses.store(MISSES, Ordering::Relaxed);
        } else if misses == MISSES {
            self.emptiness.ask(client, repository);
        }
    }

    /// Whether the repository is known to have nothing.
    pub(super) fn is_known(&self) -> bool {
        self.emptiness.is_known(BELIEVED)
    }
}
