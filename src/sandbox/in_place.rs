use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::overlay::spec;
use super::spec::Place;
use super::{Cancel, Exit, MountKind, Process, Root, Sandbox, SandboxError, Stream, launch};

/// Runs steps on the root that the executor itself runs in, one at a time.
///
/// Mounts are stood in for: copied or moved into place, and out again. The step sees the
/// executor's process and files; the executor's environment, descriptors and memory it does not,
/// unless it has CAP_SYS_PTRACE.
#[derive(Debug)]
pub struct InPlaceSandbox {
    executable: PathBuf,
    cancel: Cancel,
    /// There is only one root.
    turn: Mutex<()>,
}

impl InPlaceSandbox {
    /// As [`super::OverlaySandbox::new`].
    ///
    /// # Errors
    /// The memory of this process could not be closed to the steps.
    pub fn new(executable: PathBuf) -> Result<Self, SandboxError> {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(SandboxError::setup(|| "close the executor's memory to the steps".into()))?;
        Ok(Self { executable, cancel: Cancel::default(), turn: Mutex::new(()) })
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
        let place = Place::InPlace { mounts: process.mounts.clone() };
        launch::run(&self.executable, &self.cancel, &spec(process, place), output)
    }
}
