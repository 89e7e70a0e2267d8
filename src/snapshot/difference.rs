//! The walk that both kinds of snapshot share.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;

use super::SnapshotError;
use super::compare::{describe, is_same};
use super::listing::{Status, join};
use crate::layer::{Change, ChangeKind, EntryPath};
use crate::sandbox::{Ownership, ownership};
use crate::view::View;

/// What a snapshot knows about one name of a directory.
#[derive(Debug)]
pub(super) enum Now {
    /// It is there. `same`: it is known to be what it was, as far as itself is concerned.
    There { status: Status, same: bool },
    /// It is not there any more.
    Gone,
}

/// The names of a directory, sorted, and whether it hides what was there before.
pub(super) struct Names {
    pub(super) items: Vec<(Box<[u8]>, Now)>,
    pub(super) opaque: bool,
}

/// Walks from the root; `names` lists a directory, given whether one above it is opaque.
pub(super) fn difference(
    root: &Path,
    below: &View,
    mut names: impl FnMut(&[u8], bool) -> Result<Names, SnapshotError>,
) -> Result<Vec<Change>, SnapshotError> {
    let own_ids = ownership() == Ownership::BestEffort;
    let mut difference = Difference { root, below, own_ids, changes: Vec::new(), first_names: HashMap::new() };
    let mut levels = vec![Level::new(Vec::new(), names(b"", false)?, 0, true)];
    // By hand: a hostile tree is deeper than a thread's stack.
    while let Some(level) = levels.last_mut() {
        let Some((name, now)) = level.items.next() else {
            difference.leave(level);
            levels.pop();
            continue;
        };
        let path = join(&level.path, &name);
        match now {
            Now::There { status, same } if status.is_directory() => {
                let start = difference.changes.len();
                let changed = difference.enter(&path, &status, same)?;
                let listed = names(&path, level.opaque)?;
                levels.push(Level::new(path, listed, start, changed));
            }
            Now::There { status, same } if !same => difference.object(&path, &status)?,
            Now::There { .. } => {}
            Now::Gone => difference.gone(path),
        }
    }
    Ok(difference.changes)
}

/// A directory on the way.
struct Level {
    path: EntryPath,
    items: std::vec::IntoIter<(Box<[u8]>, Now)>,
    opaque: bool,
    /// Where its own change is in the list.
    start: usize,
    /// Whether it belongs in the list whatever is below it.
    changed: bool,
}

impl Level {
    fn new(path: EntryPath, names: Names, start: usize, changed: bool) -> Self {
        Self { path, items: names.items.into_iter(), opaque: names.opaque, start, changed }
    }
}

struct Difference<'a> {
    root: &'a Path,
    below: &'a View,
    /// Every file belongs to the one id that there is: who owns a file is not what the disk says.
    own_ids: bool,
    changes: Vec<Change>,
    /// Device and inode of files with several names, to the first that is in the list.
    first_names: HashMap<(u64, u64), EntryPath>,
}

impl Difference<'_> {
    /// Lists a directory for now; says whether it changed itself.
    fn enter(&mut self, path: &[u8], status: &Status, same: bool) -> Result<bool, SnapshotError> {
        let Some(change) = self.describe(path, status)? else { return Ok(false) };
        let changed = !same && !self.is_known(&change)?;
        self.changes.push(change);
        Ok(changed)
    }

    /// Takes a directory off the list in which nothing changed.
    fn leave(&mut self, level: &Level) {
        if !level.changed && self.changes.len() == level.start + 1 {
            self.changes.pop();
        }
    }

    fn object(&mut self, path: &[u8], status: &Status) -> Result<(), SnapshotError> {
        let Some(mut change) = self.describe(path, status)? else {
            self.gone(path.to_vec());
            return Ok(());
        };
        if self.is_known(&change)? {
            return Ok(());
        }
        if status.links > 1 && matches!(change.kind, ChangeKind::File { .. }) {
            match self.first_names.get(&(status.device, status.inode)) {
                Some(first) => change.kind = ChangeKind::Hardlink { target: first.clone() },
                None => drop(self.first_names.insert((status.device, status.inode), path.to_vec())),
            }
        }
        self.changes.push(change);
        Ok(())
    }

    fn gone(&mut self, path: EntryPath) {
        if self.below.get(&path).is_some() {
            let (kind, xattrs) = (ChangeKind::Whiteout, BTreeMap::new());
            self.changes.push(Change { path, kind, mode: 0, uid: 0, gid: 0, mtime: 0, xattrs });
        }
    }

    fn describe(&self, path: &[u8], status: &Status) -> Result<Option<Change>, SnapshotError> {
        let mut change = describe(self.root, path, status)?;
        if let (true, Some(change), Some(node)) = (self.own_ids, &mut change, self.below.get(path)) {
            (change.uid, change.gid) = (node.uid, node.gid);
        }
        Ok(change)
    }

    fn is_known(&self, change: &Change) -> Result<bool, SnapshotError> {
        self.below.get(&change.path).map_or(Ok(false), |node| is_same(node, change))
    }
}
