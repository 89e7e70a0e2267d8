//! What keeps credentials that lie in the container's own root from the steps that run on it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ignore::mount_table;
use super::user_namespace::may_mount;
use super::{IgnoreList, SandboxError, child, probe};

/// A file or directory that steps have no business with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Absolute; need not exist.
    pub path: PathBuf,
    /// Whether the executor is done with it before the first step.
    pub read_once: bool,
}

/// What the user asked for (`--hide-credentials`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hiding {
    /// As well as it goes without a change to what steps can do.
    #[default]
    Auto,
    /// All of it, at the price that steps pay under Landlock, or no step runs.
    Strict,
    /// Not at all.
    Off,
}

/// How it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HidingMethod {
    /// Something empty is mounted over it, for the step alone.
    Mounts,
    /// The step may not read it. It gives up new privileges (setuid programs), and cannot read files
    /// that it makes in the root directory itself, or in directories that it makes there: Landlock allows
    /// hierarchies, and cannot take one out of another.
    Landlock,
    /// It is not there while the step runs: only for files on the container's own root.
    Removal,
}

/// What is hidden from every step, and what is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// `None`: there is nothing to hide.
    pub method: Option<HidingMethod>,
    /// Without links; each exists.
    pub(super) paths: Vec<PathBuf>,
    /// What steps can read all the same.
    pub exposed: Vec<PathBuf>,
}

impl Hidden {
    /// Decides how `credentials` are hidden. Only what the stages leave alone (`ignore`) counts: the
    /// rest is wiped, and what a stage has at its place is the stage's own.
    ///
    /// # Errors
    /// [`SandboxError::Unavailable`]: [`Hiding::Strict`], and neither mounts nor Landlock work here.
    pub fn decide(credentials: &[Credential], ignore: &IgnoreList, asked: Hiding) -> Result<Self, SandboxError> {
        let real = |credential: &Credential| Some((real_path(&credential.path)?, credential.read_once));
        let left_alone = |(path, read_once): (PathBuf, bool)| {
            let below = ignore.paths().filter(|ignored| ignored.starts_with(&path)).map(Path::to_owned);
            let all = if ignore.contains(&path) { vec![path.clone()] } else { below.collect() };
            all.into_iter().map(move |path| (path, read_once))
        };
        let found: BTreeSet<_> = credentials.iter().filter_map(real).flat_map(left_alone).collect();
        let every = |method| Ok(Self { method: Some(method), paths: paths(&found), exposed: Vec::new() });
        match asked {
            _ if found.is_empty() => Ok(Self::nothing(Vec::new())),
            Hiding::Off => Ok(Self::nothing(paths(&found))),
            _ if may_mount() && probe::mounting().is_ok() => every(HidingMethod::Mounts),
            Hiding::Strict if child::landlock_works() => every(HidingMethod::Landlock),
            Hiding::Strict => Err(SandboxError::Unavailable(
                "--hide-credentials=strict needs CAP_SYS_ADMIN, or a kernel with Landlock (5.19)".into(),
            )),
            Hiding::Auto => {
                let mounts: Vec<PathBuf> = mount_table()?;
                let (removed, exposed): (BTreeSet<_>, BTreeSet<_>) =
                    found.into_iter().partition(|(path, read_once)| *read_once && is_removable(path, &mounts));
                let method = (!removed.is_empty()).then_some(HidingMethod::Removal);
                Ok(Self { method, paths: paths(&removed), exposed: paths(&exposed) })
            }
        }
    }

    fn nothing(exposed: Vec<PathBuf>) -> Self {
        Self { method: None, paths: Vec::new(), exposed }
    }
}

fn paths(found: &BTreeSet<(PathBuf, bool)>) -> Vec<PathBuf> {
    found.iter().map(|(path, _)| path.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Without links. Kubernetes exchanges the files of a mounted Secret: there it is the whole directory.
fn real_path(path: &Path) -> Option<PathBuf> {
    let volume = path.parent().filter(|parent| parent.join("..data").exists());
    fs::canonicalize(volume.unwrap_or(path)).ok()
}

/// On the container's own root: what is mounted belongs to somebody else.
fn is_removable(path: &Path, mounts: &[PathBuf]) -> bool {
    let mounted = mounts.iter().any(|mount| mount != Path::new("/") && path.starts_with(mount));
    !mounted && path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
}
