use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::registry::{Fault, Operation, RegistryError};

const METHOD_NOT_ALLOWED: u16 = 405;
const PAYLOAD_TOO_LARGE: u16 = 413;

/// So many refusals that may be about one record are about all of them.
const MAX_REFUSALS: usize = 3;

/// Reading or writing a cache repository, until the registry says that it will not have it: then it
/// is not asked again, and the user is told once.
///
/// Registries differ in what they say no to: no right to pull or to push (GitLab's and GitHub's job
/// tokens of forks), a repository that has to be created first (Amazon ECR), a quota (Harbor), pulls that
/// are counted (Docker Hub), repositories that mirror another (Harbor, Artifact Registry, Quay).
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: AtomicBool,
    refusals: AtomicUsize,
}

impl Gate {
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Takes note of a fault. True for one that closes the gate for good and has not been said yet.
    pub(super) fn closes(&self, error: &RegistryError) -> bool {
        let is_final = match error.fault.as_ref() {
            Fault::Unauthorized { .. } | Fault::Denied(_) | Fault::Forbidden { .. } => true,
            Fault::Credentials(_) | Fault::Configuration(_) => true,
            // Waited for as long as it was worth; every pull would be refused by now.
            Fault::RateLimited(_) if is_read(error.operation) => true,
            // A look-up of what is not there is no fault; a push to where nothing is, is.
            Fault::NotFound(_) if !is_read(error.operation) => true,
            Fault::Refused(answer) if !is_read(error.operation) && answer.status == METHOD_NOT_ALLOWED => true,
            fault => {
                // A look-up that is refused may be one of a tag that is not there.
                if !is_read(error.operation) {
                    self.count(fault);
                }
                false
            }
        };
        is_final && !self.closed.swap(true, Ordering::Relaxed)
    }

    /// Each of these is reported for itself, so that the end of patience needs no word.
    fn count(&self, fault: &Fault) {
        let counts = match fault {
            Fault::RateLimited(_) => true,
            Fault::Refused(answer) => answer.status != PAYLOAD_TOO_LARGE,
            _ => false,
        };
        if counts && self.refusals.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_REFUSALS {
            self.closed.store(true, Ordering::Relaxed);
        }
    }
}

fn is_read(operation: Operation) -> bool {
    matches!(operation, Operation::FetchManifest | Operation::FetchBlob | Operation::UseExtension)
}

/// What to do about a registry that takes nothing.
pub(super) fn advice(fault: &Fault) -> &'static str {
    match fault {
        Fault::NotFound(_) => " (this registry does not make repositories by itself: create it first)",
        Fault::Unauthorized { .. } | Fault::Denied(_) => {
            " (the credentials need the right to push; --no-push-cache is for builds that have none)"
        }
        _ => "",
    }
}

/// True for what will meet any other request as well; a refusal closes a [`Gate`].
pub(super) fn is_of_registry(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Unavailable(_)
            | Fault::Connect { .. }
            | Fault::HostNotFound { .. }
            | Fault::Timeout { .. }
            | Fault::Tls { .. }
            | Fault::Interrupted { .. }
            | Fault::Malformed { .. }
    )
}
