use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};
use rustix::io::Errno;

use super::layout::{Layout, remove};
use super::{Durability, Store, StoreError};

impl Store {
    /// The tree of the extracted layer `id`, when it is here. It is shared: never write to it.
    pub fn extracted_layer(&self, id: &str) -> Option<PathBuf> {
        let path = self.layout.layers().join(is_plain_name(id).then_some(id)?);
        let there = path.is_dir().then_some(path)?;
        self.note_layer_use(id);
        Some(there)
    }

    /// Throws away a tree that turned out damaged. What cannot be removed stays out of the way.
    pub fn discard_extracted_layer(&self, id: &str) {
        let what = format!("extracted layer {id}");
        let (Some(path), Ok(aside)) = (self.extracted_layer(id), self.layout.temporary_directory(&what)) else {
            return;
        };
        // In one go: nobody finds half of it.
        if rustix::fs::rename(&path, aside.join("damaged")).is_ok() {
            remove(&aside);
        }
    }

    /// An empty directory to extract the layer `id` into. `id` is a plain name that is safe in
    /// overlayfs options: letters, digits, `-`, `_` and `.`, such as the hex of a diff ID.
    ///
    /// # Errors
    /// [`StoreError::LayerName`]; [`StoreError::ReadOnly`], [`StoreError::Io`] and [`StoreError::DiskFull`].
    pub fn begin_extracted_layer(&self, id: &str) -> Result<PendingDirectory, StoreError> {
        if !is_plain_name(id) {
            return Err(StoreError::LayerName(id.to_owned()));
        }
        let what = format!("extracted layer {id}");
        self.require_writable(&what)?;
        let holder = self.layout.temporary_directory(&what)?;
        let path = holder.join("tree");
        fs::create_dir(&path).map_err(StoreError::write(&what, &path))?;
        Ok(PendingDirectory { layout: self.layout.clone(), holder, path, target: self.layout.layers().join(id) })
    }
}

fn is_plain_name(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=128).contains(&id.len()) && !id.starts_with('.') && id.bytes().all(plain)
}

/// A directory that is being filled. It is in the store only after a commit; dropped, it is gone.
#[derive(Debug)]
pub struct PendingDirectory {
    layout: Layout,
    /// Its time is that of its making; the tree's is the layer's, and seems left behind long ago.
    holder: PathBuf,
    path: PathBuf,
    target: PathBuf,
}

impl PendingDirectory {
    /// The directory to fill. Its own mode and owner are the tree's root's.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same tree as the layer `id`.
    ///
    /// # Errors
    /// [`StoreError::LayerName`].
    pub fn renamed(mut self, id: &str) -> Result<Self, StoreError> {
        if !is_plain_name(id) {
            return Err(StoreError::LayerName(id.to_owned()));
        }
        self.target = self.layout.layers().join(id);
        Ok(self)
    }

    /// Puts the finished tree into the store and returns where it is. When another process was
    /// first, its tree stays and this one is removed.
    ///
    /// # Errors
    /// [`StoreError::Io`] and [`StoreError::DiskFull`].
    pub fn commit(self) -> Result<PathBuf, StoreError> {
        if self.layout.durability == Durability::Full {
            // One call for the whole file system instead of one for each of thousands of files.
            let synced = File::open(&self.path).and_then(|directory| Ok(syncfs(directory)?));
            synced.map_err(StoreError::write("an extracted layer", &self.path))?;
        }
        let renamed = match renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::NOREPLACE) {
            // NFS has no such flag; a plain rename replaces an empty directory at most.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rustix::fs::rename(&self.path, &self.target),
            renamed => renamed,
        };
        match renamed {
            Ok(()) => self.layout.sync_parent(&self.target)?,
            Err(Errno::EXIST | Errno::NOTEMPTY) => {}
            Err(error) => return Err(StoreError::write("an extracted layer", &self.target)(error.into())),
        }
        self.layout.note_new_layer(&self.target);
        Ok(self.target.clone())
    }
}

impl Drop for PendingDirectory {
    fn drop(&mut self) {
        // After a commit there is nothing left in it.
        remove(&self.holder);
    }
}
