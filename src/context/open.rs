//! From `--context` to a file tree.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{hash_files, read_directory};
use crate::digest::ContentHash;
use crate::layer::EntryPath;
use crate::pattern::{PatternError, Patterns};
use crate::view::View;

/// Longest ignore file, bytes.
const MAX_IGNORE_FILE: u64 = 16 << 20;

/// Why a build context cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// There is nothing at the path.
    #[error("build context {} does not exist", path.display())]
    Missing {
        /// As given.
        path: PathBuf,
    },
    /// Something else than a directory.
    #[error("build context {} is not a directory", path.display())]
    NotADirectory {
        /// As given.
        path: PathBuf,
    },
    /// A form of `--context` that cannot be read.
    #[error("build context {spec:?} is not supported: expected dir://PATH or the path of a directory")]
    Scheme {
        /// The part up to `://`.
        spec: String,
    },
    /// The file system said no.
    #[error("failed to {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A file was written to while the build read it.
    #[error("{} changed while it was read", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// An ignore file cannot be understood.
    #[error("invalid ignore file {}", path.display())]
    Ignore {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: PatternError,
    },
}

impl ContextError {
    pub(super) fn io(operation: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), cause }
    }
}

/// A build context: a tree of files of the host, and the hashes of those that were asked for.
#[derive(Debug)]
pub struct ContextDirectory {
    view: View,
    ignore: Patterns,
    hashes: Mutex<HashMap<EntryPath, ContentHash>>,
}

impl ContextDirectory {
    /// The tree, see [`read_directory`].
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What was left out.
    pub fn ignore(&self) -> &Patterns {
        &self.ignore
    }

    /// The hashes of the files at `paths`; other objects have none. A file is read once in the
    /// life of the context.
    ///
    /// # Errors
    /// Those of [`hash_files`].
    pub fn hash_files(&self, paths: &[EntryPath]) -> Result<BTreeMap<EntryPath, ContentHash>, ContextError> {
        let unknown: Vec<EntryPath> = {
            let known = self.known();
            paths.iter().filter(|path| !known.contains_key(*path)).cloned().collect()
        };
        let fresh = hash_files(&self.view, unknown)?;
        let mut known = self.known();
        known.extend(fresh);
        Ok(paths.iter().filter_map(|path| Some((path.clone(), *known.get(path)?))).collect())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<EntryPath, ContentHash>> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the build context that `spec` names: `dir://PATH` or a path, relative ones from the
/// working directory. What to leave out stands in `<dockerfile>.dockerignore` if there is one,
/// else in the context's `.dockerignore`.
///
/// # Errors
/// See [`ContextError`].
pub fn open(spec: &str, dockerfile: Option<&Path>) -> Result<ContextDirectory, ContextError> {
    let root = find(spec)?;
    let ignore = ignore_patterns(&root, dockerfile)?;
    let view = read_directory(&root, &ignore)?;
    Ok(ContextDirectory { view, ignore, hashes: Mutex::default() })
}

/// The directory that `spec` names, which exists.
///
/// # Errors
/// As [`open`].
pub fn find(spec: &str) -> Result<PathBuf, ContextError> {
    let root = location(spec)?;
    match std::fs::metadata(&root) {
        Ok(found) if found.is_dir() => Ok(root),
        Ok(_) => Err(ContextError::NotADirectory { path: root }),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(ContextError::Missing { path: root }),
        Err(cause) => Err(ContextError::io("look at", &root, cause)),
    }
}

fn location(spec: &str) -> Result<PathBuf, ContextError> {
    match spec.split_once("://") {
        Some(("dir", path)) => Ok(path.into()),
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            // The rest may hold a password.
            Err(ContextError::Scheme { spec: format!("{scheme}://") })
        }
        _ => Ok(spec.into()),
    }
}

/// What the ignore file of the context at `root` says, see [`open`].
///
/// # Errors
/// When it cannot be read or understood.
pub fn ignore_patterns(root: &Path, dockerfile: Option<&Path>) -> Result<Patterns, ContextError> {
    let beside = dockerfile.map(|dockerfile| {
        let mut name = OsString::from(dockerfile);
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in beside.into_iter().chain([root.join(".dockerignore")]) {
        if let Some(text) = read_ignore_file(&path)? {
            return Patterns::parse_file(&text).map_err(|cause| ContextError::Ignore { path, cause });
        }
    }
    Ok(Patterns::default())
}

/// `None` when there is no such file.
fn read_ignore_file(path: &Path) -> Result<Option<Vec<u8>>, ContextError> {
    let failed = |cause| ContextError::io("read", path, cause);
    match std::fs::metadata(path) {
        Ok(found) if found.len() > MAX_IGNORE_FILE => Err(failed(io::ErrorKind::FileTooLarge.into())),
        Ok(found) if found.is_file() => std::fs::read(path).map(Some).map_err(failed),
        Ok(_) => Ok(None),
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(cause) => Err(failed(cause)),
    }
}
