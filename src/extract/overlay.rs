use std::collections::BTreeMap;
use std::path::Path;

use rustix::fs::FileType;

use super::objects::{Metadata, make_node, replace};
use super::remove::{Keep, remove_children};
use super::tree::Tree;
use super::{ExtractError, Ownership, Skipped, write_error};
use crate::digest::{DiffId, Digest};
use crate::layer::scan::Contents;
use crate::layer::{Device, Entry, EntryKind, EntryPath, path};
use crate::view::{NodeKind, View};

/// Writes a layer into a directory of its own. Where members belong is decided by a view of the
/// layers underneath, kept up to date while the layer is written; so the directory and the view
/// agree, and no link on disk is ever asked.
///
/// # Source
/// Linux, `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories".
pub(super) struct Overlay<'a> {
    tree: Tree<'a>,
    view: View,
    /// The layers underneath are not in the view.
    is_alone: bool,
    /// The view wants a name for the layer; nobody asks for contents by it here.
    layer: DiffId,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(
        root: &Path,
        ownership: Ownership,
        below: Option<&View>,
        user_xattr: bool,
    ) -> Result<Self, ExtractError> {
        let opaque = if user_xattr { "user.overlay.opaque" } else { "trusted.overlay.opaque" };
        let mut tree = Tree::new(root, ownership, &|_| false, Some(opaque))?;
        // The topmost layer's root is the root that processes see.
        tree.metadata.insert(EntryPath::new(), Metadata::implied());
        let mut view = below.cloned().unwrap_or_default();
        view.begin_layer();
        Ok(Self { tree, view, is_alone: below.is_none(), layer: DiffId(Digest::sha256(b"")) })
    }

    pub(super) fn member(&mut self, entry: &Entry, contents: &mut Contents<'_>) -> Result<(), ExtractError> {
        if self.is_alone && !self.has_parent(&entry.path) {
            return Err(ExtractError::NeedsBelow { path: entry.path.clone() });
        }
        match &entry.kind {
            EntryKind::Whiteout => return self.whiteout(entry),
            EntryKind::OpaqueWhiteout => return self.opaque(entry),
            EntryKind::Hardlink { target } => {
                let (path, target) = (self.view.member_path(&entry.path)?, self.view.member_path(target)?);
                // On disk a whiteout might stand there.
                if self.view.get(&target).is_none() {
                    return Err(ExtractError::Hardlink { path: path.into_owned(), target: target.into_owned() });
                }
                self.tree.place(&path, entry, Some(&target), contents)?;
            }
            _ => self.tree.place(&self.view.member_path(&entry.path)?, entry, None, contents)?,
        }
        self.apply(entry)?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<Skipped>, ExtractError> {
        for (path, metadata) in &mut self.tree.metadata {
            if let Some(node) = self.view.get(path) {
                *metadata = node.into();
            }
        }
        self.tree.finish()
    }

    /// Whether the layer itself says what directory the member is in.
    fn has_parent(&self, path: &[u8]) -> bool {
        let parent = path::split(path).map_or(&b""[..], |(parent, _)| parent);
        self.view.get(parent).is_some_and(|node| matches!(node.kind, NodeKind::Directory))
    }

    fn apply(&mut self, entry: &Entry) -> Result<EntryPath, ExtractError> {
        Ok(self.view.apply_entry(&self.layer, entry, &BTreeMap::new())?)
    }

    fn whiteout(&mut self, entry: &Entry) -> Result<(), ExtractError> {
        // A whiteout of nothing hides nothing.
        let existed = self.is_alone || self.view.get(&self.view.member_path(&entry.path)?).is_some();
        let path = self.apply(entry)?;
        match self.view.get(&path).map(|node| &node.kind) {
            None if existed => self.make_whiteout(&path),
            // What this layer placed stays, and what it placed below stays.
            Some(NodeKind::Directory) => self.hide_below(&path),
            _ => Ok(()),
        }
    }

    fn make_whiteout(&mut self, path: &[u8]) -> Result<(), ExtractError> {
        let (parent, _) = path::split(path).unwrap_or_default();
        self.tree.make_directories(parent)?;
        let target = self.tree.target(path);
        let device = Device { major: 0, minor: 0 };
        let made = replace(target, self.tree.skip, || make_node(target, FileType::CharacterDevice, device));
        made.map(|_| ()).map_err(|error| write_error("make whiteout for", path, error))
    }

    fn opaque(&mut self, entry: &Entry) -> Result<(), ExtractError> {
        let path = self.apply(entry)?;
        if matches!(self.view.get(&path).map(|node| &node.kind), Some(NodeKind::Directory)) {
            self.tree.make_directories(&path)?;
            self.hide_below(&path)?;
        }
        Ok(())
    }

    /// Hides what the layers underneath have below a directory, and drops what was there only
    /// to hold whiteouts.
    fn hide_below(&mut self, path: &[u8]) -> Result<(), ExtractError> {
        self.tree.mark_opaque(path)?;
        let failed = |error| write_error("empty", path, error);
        let keep = |path: &[u8]| if self.view.get(path).is_some() { Keep::Itself } else { Keep::Nothing };
        if let Some(directory) = self.tree.directories.enter(path).map_err(failed)? {
            remove_children(directory, path, &keep).map_err(failed)?;
        }
        Ok(())
    }
}
