//! The local store: blobs, cache records, tables of contents, named images and extracted
//! layers in one directory, which is an OCI image layout. What is on disk: `docs/format.md`.
//!
//! Any number of processes may share a directory. Everything gets its name by a rename, after
//! its bytes are complete, so a reader never sees half of something, and a kill leaves only
//! files in `tmp/`.

mod blob;
mod error;
mod extracted;
mod holder;
mod index;
mod inventory;
mod kaniko;
mod layout;
mod lease;
mod named;
mod partial;
mod prune;
mod record;
mod records;
#[cfg(test)]
mod tests;
mod toc;
mod usage;
mod verify;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

pub use blob::{BlobWriter, HashedElsewhere, VerifyingReader};
pub use error::StoreError;
pub use extracted::PendingDirectory;
pub use holder::Holder;
pub use inventory::{Holdings, StoredBlob, StoredLayer, StoredRecord};
pub use kaniko::KanikoImage;
pub use layout::Durability;
pub use lease::{Lease, Turn};
pub use named::SOURCE;
pub use partial::{BlobClaim, PartialBlob};
pub use prune::{PruneLimits, PrunePlan, Pruned, Removable, RemovableKind};
pub use record::{Record, RecordError, RecordLayer, RecordSignature};
pub use toc::MAX_TOC_BYTES;
pub use verify::{Damage, Damaged, Verification};

use index::RecordIndex;
use kaniko::KanikoDirectory;
use layout::Layout;

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Makes the directory when it is missing; fails when it cannot be written.
    ReadWrite,
    /// Changes nothing.
    ReadOnly,
    /// Read-write where possible, else read-only.
    Auto,
}

/// A directory of blobs and of records about them.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    writable: bool,
    index: Option<RecordIndex>,
    notices: Mutex<Notices>,
    kaniko: OnceLock<KanikoDirectory>,
}

/// What went wrong without being an error; each text once.
#[derive(Debug, Default)]
struct Notices {
    said: BTreeSet<String>,
    pending: Vec<String>,
}

impl Store {
    /// Opens the store at `directory`, with [`Durability::Full`].
    ///
    /// # Errors
    /// As [`Store::open_with`].
    pub fn open(directory: &Path, access: Access) -> Result<Self, StoreError> {
        Self::open_with(directory, access, Durability::Full)
    }

    /// Opens the store at `directory`; unless read-only, makes what is missing and removes old
    /// leftovers in `tmp/`. A read-only store may be empty, but its directory must exist.
    ///
    /// # Errors
    /// [`StoreError::Version`] for an image layout of another version; [`StoreError::Io`] and
    /// [`StoreError::DiskFull`].
    pub fn open_with(directory: &Path, access: Access, durability: Durability) -> Result<Self, StoreError> {
        let layout = Layout { directory: directory.to_owned(), durability };
        let writable = match access {
            Access::ReadOnly => false,
            Access::ReadWrite => layout.prepare().map(|()| true)?,
            Access::Auto => match layout.prepare() {
                Err(error) if is_refusal(&error) && directory.is_dir() => false,
                prepared => prepared.map(|()| true)?,
            },
        };
        if writable {
            layout.remove_stale(SystemTime::now());
        } else {
            std::fs::read_dir(directory).map_err(StoreError::io("open", directory))?;
            layout.check_version()?;
        }
        let index = (durability == Durability::Full).then(|| RecordIndex::new(directory));
        Ok(Self { layout, writable, index, notices: Mutex::default(), kaniko: OnceLock::new() })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.layout.directory
    }

    /// False when every write would be refused.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Takes what happened since the last call that the user should know and that stopped
    /// nothing: an index that cannot be used, a damaged record. Each text is said once.
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut self.notices().pending)
    }

    fn notices(&self) -> MutexGuard<'_, Notices> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notice(&self, text: String) {
        let mut notices = self.notices();
        if notices.said.insert(text.clone()) {
            notices.pending.push(text);
        }
    }

    fn require_writable(&self, what: &str) -> Result<(), StoreError> {
        if self.writable {
            return Ok(());
        }
        Err(StoreError::ReadOnly { what: what.to_owned(), directory: self.layout.directory.clone() })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.flush_index();
    }
}

/// True when the directory is not ours to write, as against a disk that fails or is full.
fn is_refusal(error: &StoreError) -> bool {
    let StoreError::Io { source, .. } = error else { return false };
    matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}
