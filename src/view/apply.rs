use std::collections::BTreeMap;
use std::sync::Arc;

use super::tree::Tree;
use super::{EntryPath, FileNode, Node, NodeKind, ResolveError, View};
use crate::digest::{ContentHash, DiffId};
use crate::layer::{Change, ChangeKind, Content, Entry, EntryKind, Toc};

impl View {
    /// Applies a layer on top, as unpacking it would.
    ///
    /// A member whose directory is reached through a link lands where the link leads, inside the
    /// tree; missing directories are implied (0755 0:0); whiteouts hide what the layers
    /// underneath have, never what this one has. Members that could not be unpacked (links in a
    /// loop, a hard link to nothing) are passed over.
    ///
    /// # Source
    /// OCI image-spec, `layer.md`, "Applying Changesets".
    pub fn apply(&mut self, layer: &DiffId, toc: &Toc) {
        self.begin_layer();
        for entry in &toc.entries {
            // Passed over: see above.
            let _ = self.apply_entry(layer, entry, &toc.inline);
        }
    }

    /// From here on, whiteouts spare what is placed after this call.
    pub(crate) fn begin_layer(&mut self) {
        self.generation += 1;
    }

    /// Applies one member, and returns the path where it belongs.
    pub(crate) fn apply_entry(
        &mut self,
        layer: &DiffId,
        entry: &Entry,
        inline: &BTreeMap<EntryPath, Vec<u8>>,
    ) -> Result<EntryPath, ResolveError> {
        let content = |offset| Content::Layer { layer: layer.clone(), offset };
        let kind = match &entry.kind {
            EntryKind::Directory => NodeKind::Directory,
            EntryKind::File { size, hash, offset } => {
                NodeKind::File(FileNode { size: *size, hash: Some(*hash), content: content(*offset), inode: None })
            }
            EntryKind::Symlink { target } => NodeKind::Symlink(target.clone()),
            EntryKind::CharDevice(device) => NodeKind::CharDevice(*device),
            EntryKind::BlockDevice(device) => NodeKind::BlockDevice(*device),
            EntryKind::Fifo => NodeKind::Fifo,
            EntryKind::Hardlink { target } => return self.link(&entry.path, target),
            EntryKind::Whiteout => return self.hide(&entry.path, false),
            EntryKind::OpaqueWhiteout => return self.hide(&entry.path, true),
        };
        let Entry { path, kind: _, mode, uid, gid, mtime, xattrs } = entry;
        let node = Node { kind, mode: *mode, uid: *uid, gid: *gid, mtime: *mtime, xattrs: xattrs.clone() };
        self.place_member(path, node, inline.get(path).map(|bytes| bytes.as_slice().into()))
    }

    fn apply_change(&mut self, change: &Change) -> Result<EntryPath, ResolveError> {
        let mut inline = None;
        let kind = match &change.kind {
            ChangeKind::Directory => NodeKind::Directory,
            ChangeKind::File { size, content } => {
                let mut hash = None;
                if let Content::Bytes(bytes) = content {
                    hash = Some(ContentHash::of(bytes));
                    inline = crate::layer::is_inlined(&change.path).then(|| Arc::clone(bytes));
                }
                NodeKind::File(FileNode { size: *size, hash, content: content.clone(), inode: None })
            }
            ChangeKind::Symlink { target } => NodeKind::Symlink(target.clone()),
            ChangeKind::CharDevice(device) => NodeKind::CharDevice(*device),
            ChangeKind::BlockDevice(device) => NodeKind::BlockDevice(*device),
            ChangeKind::Fifo => NodeKind::Fifo,
            ChangeKind::Hardlink { target } => return self.link(&change.path, target),
            ChangeKind::Whiteout => return self.hide(&change.path, false),
        };
        let Change { path, kind: _, mode, uid, gid, mtime, xattrs } = change;
        let node = Node { kind, mode: *mode, uid: *uid, gid: *gid, mtime: *mtime, xattrs: xattrs.clone() };
        self.place_member(path, node, inline)
    }

    fn place_member(&mut self, path: &[u8], node: Node, inline: Option<Arc<[u8]>>) -> Result<EntryPath, ResolveError> {
        let path = self.member_path(path)?.into_owned();
        self.place(&path, node, inline);
        Ok(path)
    }

    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<EntryPath, ResolveError> {
        let path = self.member_path(path)?.into_owned();
        let target = self.member_path(target)?;
        let exists = self.tree(&target).is_some_and(|tree| !tree.is_directory());
        if !exists || *target == *path {
            return Ok(path);
        }
        let next_inode = self.next_inode;
        let tree = self.slot(&target);
        if let NodeKind::File(file) = &mut tree.node.kind {
            file.inode.get_or_insert(next_inode);
        }
        let (node, inline) = (tree.node.clone(), tree.inline.clone());
        self.place(&path, node, inline);
        Ok(path)
    }

    /// Removes what the layers underneath have at `path`, or, for `children_only`, below it.
    fn hide(&mut self, path: &[u8], children_only: bool) -> Result<EntryPath, ResolveError> {
        let path = if children_only { self.directory_path(path)? } else { self.member_path(path)?.into_owned() };
        let kept = self.placed_below(&path);
        match self.tree(&path) {
            None => return Ok(path),
            Some(tree) if children_only || tree.generation == self.generation => self.slot(&path).children.clear(),
            Some(_) => self.remove(&path),
        }
        for (path, tree) in kept {
            self.place(&path, tree.node.clone(), tree.inline.clone());
        }
        Ok(path)
    }

    /// What the layer being applied has placed below `path` so far.
    fn placed_below(&self, path: &[u8]) -> Vec<(EntryPath, Arc<Tree>)> {
        let placed = self.walk_trees(path).filter(|(_, tree)| tree.generation == self.generation);
        placed.map(|(path, tree)| (path, Arc::clone(tree))).collect()
    }
}

/// Applies changes that are about to be written, so that the next step sees them: as
/// [`View::apply`] does with a layer's members. Contents stay where the changes have them, and
/// their hashes are unknown unless they are in memory.
pub fn apply_changes(view: &mut View, changes: &[Change]) {
    view.begin_layer();
    for change in changes {
        // Passed over, as in a layer.
        let _ = view.apply_change(change);
    }
}
