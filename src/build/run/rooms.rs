//! Where RUN steps run: overlays of extracted layers, or the container's own root.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::error::BuildError;
use super::super::extraction::OverlayForm;
use super::super::materials::{Materials, os_path};
use super::super::records::now;
use super::super::request::SandboxChoice;
use super::super::state::{StageState, StateLayer};
use crate::digest::DiffId;
use crate::extract::{Form, Ownership, extract};
use crate::layer::{Change, ChangeKind};
use crate::sandbox::{self, Exit, IgnoreList, Process, Root, Sandbox, Stream, wipe};
use crate::snapshot::{self, StatIndex};
use crate::view::{View, tar_order};

/// The places where RUN steps run.
pub(in super::super) struct Rooms<'a> {
    kind: RoomKind<'a>,
    script_directory: &'static str,
    /// For names below the work directory.
    numbers: AtomicUsize,
}

enum RoomKind<'a> {
    /// A fresh upper directory for each step.
    Overlay { work: &'a Path, user_xattr: bool },
    /// One root, which is one stage at a time.
    Tree(Mutex<TreeRoom<'a>>),
    /// RUN is impossible; the reason is the probe's.
    Nowhere(String),
}

/// Where one step runs. A plain tree is let to the next when this is dropped.
pub(in super::super) enum Room<'r> {
    Overlay(OverlayRoom),
    Tree(MutexGuard<'r, TreeRoom<'r>>),
}

/// An upper directory; when its step has finished, it is a lower directory of the next.
pub(in super::super) struct OverlayRoom {
    upper: PathBuf,
    work: PathBuf,
    user_xattr: bool,
}

/// One plain tree: the container's own root, or a directory where no file system can hold an
/// overlay's upper directory.
pub(in super::super) struct TreeRoom<'a> {
    place: Place,
    ignore: &'a IgnoreList,
    ownership: Ownership,
    /// The layers that the root holds now, base first.
    holds: Vec<DiffId>,
    /// How it looked after the last step, while nothing else has written to it.
    seen: Option<StatIndex>,
}

/// Where BuildKit puts heredoc scripts; the argument vector of the step says so.
pub(super) const SCRIPT_DIRECTORY: &str = "/dev/pipes";

/// Where a plain tree is.
enum Place {
    Container,
    Directory(PathBuf),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Container => Path::new("/"),
            Self::Directory(path) => path,
        }
    }

    fn root(&self) -> Root<'_> {
        match self {
            Self::Container => Root::InPlace,
            Self::Directory(path) => Root::Directory { path },
        }
    }
}

/// One RUN: what runs, and on which file system.
#[derive(Clone, Copy)]
pub(in super::super) struct StepRun<'r> {
    pub(in super::super) sandbox: &'r dyn Sandbox,
    pub(in super::super) state: &'r StageState,
    pub(in super::super) materials: &'r Materials<'r>,
    pub(in super::super) process: &'r Process,
}

/// How the process ended, and what it changed.
type Ran = Result<(Exit, Vec<Change>), BuildError>;

type Output<'o> = &'o mut dyn FnMut(Stream, &[u8]);

impl<'a> Rooms<'a> {
    /// The rooms that the chosen sandbox has; `work` is for upper directories.
    pub(in super::super) fn new(choice: &'a SandboxChoice, form: OverlayForm, work: &'a Path) -> Self {
        let (ignore, ownership) = (&choice.ignore, form.ownership);
        let tree =
            |place| RoomKind::Tree(Mutex::new(TreeRoom { place, ignore, ownership, holds: Vec::new(), seen: None }));
        let kind = match choice.probe.kind {
            sandbox::Kind::Overlay | sandbox::Kind::UserNamespace if choice.holds_overlay => {
                RoomKind::Overlay { work, user_xattr: form.user_xattr }
            }
            sandbox::Kind::Overlay | sandbox::Kind::UserNamespace => tree(Place::Directory(work.join("root"))),
            sandbox::Kind::InPlace => tree(Place::Container),
            sandbox::Kind::None => RoomKind::Nowhere(choice.probe.reason.clone()),
        };
        let in_container = choice.probe.kind == sandbox::Kind::InPlace;
        let script_directory = if in_container { "/run/pipes" } else { SCRIPT_DIRECTORY };
        Self { kind, script_directory, numbers: AtomicUsize::new(0) }
    }

    /// Whether a layer that must be read anyway had better be extracted in the same pass.
    pub(in super::super) fn extracts(&self) -> bool {
        matches!(self.kind, RoomKind::Overlay { .. })
    }

    /// Whether several stages can be at their RUN steps at once.
    pub(in super::super) fn side_by_side(&self) -> bool {
        !matches!(self.kind, RoomKind::Tree(_))
    }

    /// Where heredoc scripts with `#!` stand. A container's own `/dev` is often mounted noexec.
    pub(in super::super) fn script_directory(&self) -> &'static str {
        self.script_directory
    }

    /// A name that nothing else in the work directory has.
    pub(in super::super) fn next_number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Leaves the files of a finished stage in the container's root; elsewhere it is not touched.
    pub(in super::super) fn materialize(
        &self,
        state: &StageState,
        materials: &Materials<'_>,
    ) -> Result<(), BuildError> {
        match &self.kind {
            RoomKind::Tree(room) if matches!(lock(room).place, Place::Container) => {
                lock(room).fill(state.layers(), materials)
            }
            _ => Ok(()),
        }
    }

    /// Waits for a place to run a step.
    pub(in super::super) fn enter(&'a self) -> Result<Room<'a>, BuildError> {
        match &self.kind {
            RoomKind::Overlay { work, user_xattr } => {
                let room = work.join("steps").join(self.next_number().to_string());
                OverlayRoom::new(&room, *user_xattr).map(Room::Overlay)
            }
            RoomKind::Tree(room) => Ok(Room::Tree(lock(room))),
            RoomKind::Nowhere(reason) => Err(BuildError::NoSandbox { reason: reason.clone() }),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room<'_> {
    /// Runs the step.
    pub(in super::super) fn run(&mut self, step: &StepRun<'_>, output: Output<'_>) -> Ran {
        match self {
            Self::Overlay(room) => room.run(step, output),
            Self::Tree(room) => room.run(step, output),
        }
    }

    /// Takes note that the step's layer is the top of `state`.
    pub(in super::super) fn keep(self, state: &StageState, materials: &Materials<'_>) {
        match self {
            Self::Overlay(room) => materials.note_directory(state.layers(), room.upper),
            Self::Tree(mut room) => room.holds = diff_ids(state.layers()),
        }
    }
}

impl OverlayRoom {
    fn new(room: &Path, user_xattr: bool) -> Result<Self, BuildError> {
        let (upper, work) = (room.join("upper"), room.join("work"));
        for directory in [&upper, &work] {
            std::fs::create_dir_all(directory).map_err(BuildError::file("create", directory.as_path()))?;
        }
        Ok(Self { upper, work, user_xattr })
    }

    fn run(&self, step: &StepRun<'_>, output: Output<'_>) -> Ran {
        let StepRun { sandbox, state, materials, process } = step;
        let lowers = materials.lowers(state.layers())?;
        let root = Root::Overlay { lowers: &lowers, upper: &self.upper, work: &self.work, user_xattr: self.user_xattr };
        let exit = sandbox.run(process, &root, output)?;
        let changes = snapshot::overlay(&self.upper, &state.contents().view, self.user_xattr)?;
        Ok((exit, changes))
    }
}

impl TreeRoom<'_> {
    fn run(&mut self, step: &StepRun<'_>, output: Output<'_>) -> Ran {
        let StepRun { sandbox, state, materials, process } = step;
        self.fill(state.layers(), materials)?;
        let before = match self.seen.take() {
            Some(seen) => seen,
            None => snapshot::index(self.place.path(), self.ignore)?,
        };
        let exit = sandbox.run(process, &self.place.root(), output)?;
        let view = &state.contents().view;
        let (mut changes, now) = snapshot::changed(self.place.path(), &before, view, self.ignore)?;
        self.seen = Some(now);
        if matches!(self.place, Place::Container) {
            add_kernel_directories(&mut changes, view);
        }
        Ok((exit, changes))
    }

    /// Makes the root hold `layers`: adds what is missing, or starts over.
    fn fill(&mut self, layers: &[StateLayer], materials: &Materials<'_>) -> Result<(), BuildError> {
        let wanted = diff_ids(layers);
        if !wanted.starts_with(&self.holds) || self.holds.is_empty() {
            let path = self.place.path();
            std::fs::create_dir_all(path).map_err(BuildError::file("create", path))?;
            wipe(path, self.ignore)?;
            self.holds.clear();
            self.seen = None;
        }
        let missing = &layers[self.holds.len()..];
        for layer in missing {
            self.seen = None;
            let skip = |path: &[u8]| self.ignore.contains(&Path::new("/").join(os_path(path)));
            let tar = materials.open_tar(layer)?;
            extract(tar, self.place.path(), Form::Merge { skip: &skip }, self.ownership)
                .map_err(|source| BuildError::Extract { layer: layer.blob.digest.to_string(), source })?;
        }
        self.holds = wanted;
        Ok(())
    }
}

/// A root without these has them after its first step, as with BuildKit and runc. A container's own
/// are mounts, which a snapshot leaves out.
fn add_kernel_directories(changes: &mut Vec<Change>, view: &View) {
    for name in [b"dev".as_slice(), b"proc", b"sys"] {
        if view.get(name).is_some() {
            continue;
        }
        let at = changes.partition_point(|change| tar_order(&change.path, name).is_lt());
        let (path, kind) = (name.to_vec(), ChangeKind::Directory);
        changes.insert(at, Change { path, kind, mode: 0o755, uid: 0, gid: 0, mtime: now(), xattrs: BTreeMap::new() });
    }
}

fn diff_ids(layers: &[StateLayer]) -> Vec<DiffId> {
    layers.iter().map(|layer| layer.diff_id.clone()).collect()
}
