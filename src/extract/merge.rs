use std::collections::HashSet;
use std::path::Path;

use super::objects::Metadata;
use super::remove::{Keep, remove, remove_children};
use super::tree::Tree;
use super::{ExtractError, Ownership, SkipReason, Skipped, write_error};
use crate::layer::scan::Contents;
use crate::layer::{Entry, EntryKind, EntryPath, path};
use crate::view::{LastLink, resolve};

/// Writes a layer onto a tree that holds those underneath. Where members belong is decided by
/// the links on disk, as that tree may hold more than layers.
pub(super) struct Merge<'a> {
    tree: Tree<'a>,
    /// What this layer placed: its own whiteouts spare it.
    placed: HashSet<EntryPath>,
    /// The directory of the member before, as the archive has it and resolved.
    parent: Option<(EntryPath, EntryPath)>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(
        root: &Path,
        ownership: Ownership,
        skip: &'a dyn Fn(&[u8]) -> bool,
    ) -> Result<Self, ExtractError> {
        let tree = Tree::new(root, ownership, skip, None)?;
        Ok(Self { tree, placed: HashSet::new(), parent: None })
    }

    pub(super) fn member(&mut self, entry: &Entry, contents: &mut Contents<'_>) -> Result<(), ExtractError> {
        let path = match entry.kind {
            EntryKind::OpaqueWhiteout => self.directory(&entry.path)?,
            _ => self.locate(&entry.path)?,
        };
        if self.is_skipped(&path) {
            self.tree.note(&path, SkipReason::Excluded);
            return Ok(());
        }
        match &entry.kind {
            EntryKind::Whiteout => return self.whiteout(&path),
            EntryKind::OpaqueWhiteout => return self.opaque(&path),
            EntryKind::Hardlink { target } => {
                let target = self.locate(target)?;
                if self.is_skipped(&target) {
                    self.tree.note(&path, SkipReason::Excluded);
                    return Ok(());
                }
                self.tree.place(&path, entry, Some(&target), contents)?;
            }
            _ => self.tree.place(&path, entry, None, contents)?,
        }
        self.placed.insert(path);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Vec<Skipped>, ExtractError> {
        self.tree.finish()
    }

    /// Where a member of that path belongs: its directory resolved, its name kept.
    fn locate(&mut self, member: &[u8]) -> Result<EntryPath, ExtractError> {
        let Some((parent, name)) = path::split(member) else { return Ok(EntryPath::new()) };
        if let Some((known, resolved)) = &self.parent
            && known == parent
        {
            return Ok(path::join(resolved, name));
        }
        let resolved = self.directory(parent)?;
        let located = path::join(&resolved, name);
        self.parent = Some((parent.to_vec(), resolved));
        Ok(located)
    }

    fn directory(&mut self, path: &[u8]) -> Result<EntryPath, ExtractError> {
        let directories = &mut self.tree.directories;
        let look_up = |path: &[u8]| directories.look_up(path).map_err(|error| write_error("look up", path, error));
        resolve(path, LastLink::Follow, look_up)
    }

    /// Whether the path or one above it is excluded.
    fn is_skipped(&self, path: &[u8]) -> bool {
        (self.tree.skip)(path) || directories_above(path).any(self.tree.skip)
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), ExtractError> {
        let failed = |error| write_error("remove", path, error);
        let (parent, _) = path::split(path).unwrap_or_default();
        if self.tree.directories.enter(parent).map_err(failed)?.is_some() {
            let gone = remove(self.tree.target(path), &|path| self.keep(path)).map_err(failed)?;
            if !gone {
                self.imply_above_placed(|directory| directory == path || is_below(directory, path));
            }
        }
        Ok(())
    }

    fn opaque(&mut self, path: &[u8]) -> Result<(), ExtractError> {
        let failed = |error| write_error("empty", path, error);
        if self.tree.directories.enter(path).map_err(failed)?.is_some() {
            let directory = self.tree.directories.current();
            let gone = remove_children(directory, path, &|path| self.keep(path)).map_err(failed)?;
            if !gone {
                self.imply_above_placed(|directory| is_below(directory, path));
            }
        }
        Ok(())
    }

    fn keep(&self, path: &[u8]) -> Keep {
        if (self.tree.skip)(path) {
            Keep::Everything
        } else if self.placed.contains(path) {
            Keep::Itself
        } else {
            Keep::Nothing
        }
    }

    /// Of hidden directories that stayed for what this layer placed in them, nothing is known.
    fn imply_above_placed(&mut self, is_hidden: impl Fn(&[u8]) -> bool) {
        for path in &self.placed {
            for directory in directories_above(path).filter(|path| is_hidden(path) && !self.placed.contains(*path)) {
                self.tree.metadata.insert(directory.to_vec(), Metadata::implied());
            }
        }
    }
}

/// The paths of the directories above `path`, the root left out.
fn directories_above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| &path[..end])
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}
