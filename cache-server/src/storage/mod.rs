//! The store on disk: contents by digest, and which repository holds what.
//!
//! Every operation here blocks and is meant for a blocking thread. Reads take no locks:
//! a file is either there in full or not at all.

mod blobs;
mod durable;
mod error;
mod hot;
mod layout;
mod manifests;
mod page;
mod referrers;
mod repositories;
mod tags;
#[cfg(test)]
mod tests;
mod uploads;

use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) use blobs::Blob;
pub(crate) use error::StorageError;
pub(crate) use manifests::{MAX_MANIFEST_BYTES, ManifestHead, NewManifest};
pub(crate) use page::Page;
pub(crate) use uploads::{Appending, Held, UploadId, UploadStatus};

use crate::name::RepositoryName;
use error::At;
use hot::HotManifests;
use layout::Layout;
use uploads::Sessions;

/// What `format` says; another value is another program's or a newer layout.
const FORMAT: &[u8] = b"yadokari cache-server 1\n";
const LOCK_STRIPES: usize = 64;

/// An opened data directory; no other server can open it meanwhile.
#[derive(Debug)]
pub(crate) struct Storage {
    layout: Layout,
    repositories: Vec<RwLock<()>>,
    sessions: Sessions,
    hot: HotManifests,
    _lock: File,
}

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the data directory {0} is in use by another cache-server")]
    InUse(String),
    #[error("{0} is not a data directory of this version of cache-server")]
    Format(String),
}

impl Storage {
    /// Opens or makes the data directory `root`.
    ///
    /// # Errors
    /// See [`OpenError`]. A directory that holds anything else is refused, not adopted.
    pub(crate) fn open(root: &Path) -> Result<Self, OpenError> {
        let layout = Layout::new(root);
        durable::create_directories(root)?;
        check_before_lock(&layout)?;
        let lock = lock(&layout)?;
        check_format(&layout)?;
        for directory in [layout.repositories(), layout.uploads(), layout.temporary()] {
            durable::create_directories(&directory)?;
        }
        empty_temporary(&layout)?;
        if durable::read(&layout.format(), 1024)?.is_none() {
            durable::write(&layout.temporary(), &layout.format(), FORMAT)?;
        }
        let repositories = (0..LOCK_STRIPES).map(|_| RwLock::new(())).collect();
        Ok(Self { layout, repositories, sessions: Sessions::default(), hot: HotManifests::new(), _lock: lock })
    }

    /// Writes a file and removes it.
    ///
    /// # Errors
    /// When that cannot be done: the disk is full, gone or read-only.
    pub(crate) fn check_writable(&self) -> Result<(), StorageError> {
        let directory = self.layout.temporary();
        let mut file = tempfile::NamedTempFile::new_in(&directory).at("create a file in", &directory)?;
        io::Write::write_all(&mut file, b"ready").at("write", file.path())
    }

    /// Keeps things of `repository` from being removed while something new comes to need them.
    fn adding_to(&self, repository: &RepositoryName) -> RwLockReadGuard<'_, ()> {
        self.stripe(repository).read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps things from being added to `repository` while something is removed.
    fn removing_from(&self, repository: &RepositoryName) -> RwLockWriteGuard<'_, ()> {
        self.stripe(repository).write().unwrap_or_else(PoisonError::into_inner)
    }

    fn stripe(&self, repository: &RepositoryName) -> &RwLock<()> {
        let mut hasher = DefaultHasher::new();
        repository.hash(&mut hasher);
        // The remainder is below the number of stripes.
        &self.repositories[(hasher.finish() % LOCK_STRIPES as u64) as usize]
    }
}

/// A lock file must not be dropped into a directory that is not ours.
fn check_before_lock(layout: &Layout) -> Result<(), OpenError> {
    let ours = ["format", "lock", "lost+found", "repositories", "temporary", "uploads"];
    let foreign = durable::names(layout.root())?.into_iter().any(|name| !ours.contains(&name.as_str()));
    if foreign && !durable::exists(&layout.format())? {
        return Err(OpenError::Format(layout.root().display().to_string()));
    }
    Ok(())
}

fn check_format(layout: &Layout) -> Result<(), OpenError> {
    match durable::read(&layout.format(), 1024)? {
        Some(format) if format != FORMAT => Err(OpenError::Format(layout.root().display().to_string())),
        _ => Ok(()),
    }
}

fn lock(layout: &Layout) -> Result<File, OpenError> {
    let path = layout.lock();
    let file = File::options().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(layout.root().display().to_string())),
        Err(TryLockError::Error(e)) => Ok(io::Result::<File>::Err(e).at("lock", &path)?),
    }
}

/// What an earlier run left half-written is of no use to anyone.
fn empty_temporary(layout: &Layout) -> Result<(), StorageError> {
    let directory = layout.temporary();
    for name in durable::names(&directory)? {
        let path = directory.join(name);
        fs::remove_file(&path).at("remove", &path)?;
    }
    Ok(())
}
