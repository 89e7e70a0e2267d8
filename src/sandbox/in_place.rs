use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::overlay::spec;
use super::spec::Place;
use super::{Cancel, Exit, Hidden, MountKind, Process, Root, Sandbox, SandboxError, Stream, launch};

/// Runs steps on the root that the executor itself runs in, one at a time.
///
/// Mounts are stood in for: copied or moved into place, and out again. The step sees the
/// executor's process and files; the executor's environment, descriptors and memory it does not,
/// and not what is [`Hidden`].
#[derive(Debug)]
pub struct InPlaceSandbox {
    executable: PathBuf,
    cancel: Cancel,
    hidden: Hidden,
    /// There is only one root.
    turn: Mutex<()>,
}

impl InPlaceSandbox {
    /// As [`super::OverlaySandbox::new`]. The caller has called [`super::close_memory`].
    pub fn new(executable: PathBuf, hidden: Hidden) -> Self {
        Self { executable, cancel: Cancel::default(), hidden, turn: Mutex::new(()) }
    }

    /// A handle that ends this sandbox's steps.
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }
}

impl Sandbox for InPlaceSandbox {
    fn run(
        &self,
        process: &Process,
        root: &Root<'_>,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Exit, SandboxError> {
        if !matches!(root, Root::InPlace) {
            return Err(SandboxError::Unsupported("roots other than its own"));
        }
        if process.mounts.iter().any(|mount| matches!(mount.kind, MountKind::Layers { .. })) {
            return Err(SandboxError::Unsupported("mounts of layers; give it a plain directory"));
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (hidden, hiding) = (self.hidden.paths.clone(), self.hidden.method);
        let place = Place::InPlace { mounts: process.mounts.clone(), hidden, hiding };
        launch::run(&self.executable, &self.cancel, &spec(process, place), output)
    }
}
