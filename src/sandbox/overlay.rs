use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::spec::{Isolated, IsolatedRoot, Place, Spec};
use super::{Cancel, Exit, MountKind, Process, Root, Sandbox, SandboxError, Stream, launch};
use crate::plan::Network;

/// Runs each step in namespaces of its own, on an overlay or a plain tree.
///
/// Steps may run side by side. Needs CAP_SYS_ADMIN, in the initial or in an own user namespace.
#[derive(Debug)]
pub struct OverlaySandbox {
    executable: PathBuf,
    cancel: Cancel,
}

impl OverlaySandbox {
    /// `executable` is started as the helper: a program whose `main` calls
    /// [`super::run_if_child`] first, `/proc/self/exe` for oneself.
    pub fn new(executable: PathBuf) -> Self {
        Self { executable, cancel: Cancel::default() }
    }

    /// A handle that ends this sandbox's steps.
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }
}

impl Sandbox for OverlaySandbox {
    fn run(
        &self,
        process: &Process,
        root: &Root<'_>,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Exit, SandboxError> {
        let root = owned(root)?;
        forget_last_mount(&root)?;
        // Dropped, and with it what the step's mounts discard, after the step.
        let scratch = scratch(process, &root)?;
        let isolated = Isolated {
            hostname: process.hostname.clone(),
            mounts: process.mounts.clone(),
            scratch: scratch.as_ref().map_or_else(PathBuf::new, |directory| directory.path().to_owned()),
            root,
        };
        launch::run(&self.executable, &self.cancel, &spec(process, Place::Isolated(isolated)), output)
    }
}

/// The orders for `process`.
pub(super) fn spec(process: &Process, place: Place) -> Spec {
    Spec {
        place,
        own_network: process.network == Network::None,
        argv: process.argv.clone(),
        env: process.env.clone(),
        user: process.user.clone(),
        workdir: process.workdir.clone(),
        terminal: process.terminal,
    }
}

/// A volatile overlay leaves a mark that keeps its upper directory from being mounted again,
/// because its files may not have reached the disk. They need not.
fn forget_last_mount(root: &IsolatedRoot) -> Result<(), SandboxError> {
    let IsolatedRoot::Overlay { work, .. } = root else { return Ok(()) };
    match std::fs::remove_dir_all(work.join("work")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(SandboxError::setup(|| format!("empty {}", work.display()))(error))
        }
        _ => Ok(()),
    }
}

/// With absolute paths, for the helper changes its directory.
fn owned(root: &Root<'_>) -> Result<IsolatedRoot, SandboxError> {
    Ok(match *root {
        Root::Overlay { lowers, upper, work, user_xattr } => IsolatedRoot::Overlay {
            lowers: lowers.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?,
            upper: absolute(upper)?,
            work: absolute(work)?,
            user_xattr,
        },
        Root::Directory { path } => IsolatedRoot::Directory(absolute(path)?),
        Root::InPlace => return Err(SandboxError::Unsupported("running in place")),
    })
}

fn absolute(path: &Path) -> Result<PathBuf, SandboxError> {
    std::path::absolute(path).map_err(SandboxError::setup(|| format!("find {}", path.display())))
}

/// A directory on the root's file system, when a mount needs one: inside the overlay's work
/// directory, of which the overlay itself only uses `work`, or beside the plain tree.
fn scratch(process: &Process, root: &IsolatedRoot) -> Result<Option<TempDir>, SandboxError> {
    let writes = |kind: &MountKind| matches!(kind, MountKind::Discard { .. } | MountKind::Layers { .. });
    if !process.mounts.iter().any(|mount| writes(&mount.kind)) {
        return Ok(None);
    }
    let place = match root {
        IsolatedRoot::Overlay { work, .. } => work,
        IsolatedRoot::Directory(path) => path.parent().unwrap_or(path),
    };
    let made = tempfile::Builder::new().prefix(".yadokari-").tempdir_in(place);
    made.map(Some).map_err(SandboxError::setup(|| format!("make a directory in {}", place.display())))
}
