//! Files of a context that are somewhere else now.

use std::path::{Path, PathBuf};

use crate::layer::{Content, EntryPath};
use crate::view::{FileNode, Node, NodeKind, View};

/// Names the files of the tree by where they are now; those that `moved` does not know stay.
pub(super) fn rename(view: &mut View, moved: &dyn Fn(&Path) -> Option<PathBuf>) {
    let renamed = |node: &Node| {
        let mut node = node.clone();
        let NodeKind::File(FileNode { content: Content::Host(file), .. }) = &mut node.kind else { return None };
        *file = moved(file)?;
        Some(node)
    };
    let files: Vec<(EntryPath, Node)> =
        view.walk(b"").filter_map(|(path, node)| Some((path, renamed(node)?))).collect();
    for (path, node) in files {
        view.insert(&path, node);
    }
}
