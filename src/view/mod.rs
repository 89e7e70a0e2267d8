//! A stage's file system as a view over tables of contents. Pure over its TOCs.

mod apply;
mod listing;
mod node;
mod order;
mod resolve;
mod tree;
mod walk;

use std::sync::Arc;

pub use apply::apply_changes;
pub(crate) use listing::Listing;
pub use node::*;
pub use order::{tar_order, with_ancestors};
pub(crate) use resolve::{Found, resolve};
pub use resolve::{LastLink, ResolveError};
use tree::Tree;

use crate::layer::EntryPath;
use crate::layer::path::split;

/// An in-memory file tree. Cheap to clone: clones share what neither has changed.
///
/// Paths have the form of [`EntryPath`]; the root is the empty path. Nothing but
/// [`View::resolve`] and [`View::apply`] follows links.
#[derive(Debug, Clone)]
pub struct View {
    root: Arc<Tree>,
    /// Number of layers applied so far; marks what the layer being applied has placed.
    generation: u64,
    /// The next unused number for [`FileNode::inode`].
    next_inode: u64,
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}

impl View {
    /// The empty tree: the root directory alone, 0755 0:0.
    pub fn new() -> Self {
        Self { root: Arc::new(Tree::implied()), generation: 0, next_inode: 1 }
    }

    /// Sets one object; directories missing on the way are made, 0755 0:0, and anything else on
    /// the way becomes such a directory. A directory set over a directory keeps its children.
    pub fn insert(&mut self, path: &[u8], node: Node) {
        self.place(path, node, None);
    }

    /// Removes an object and everything below it. The root cannot be removed: it is emptied.
    pub fn remove(&mut self, path: &[u8]) {
        if self.tree(path).is_none() {
            return;
        }
        match split(path) {
            None => Arc::make_mut(&mut self.root).children.clear(),
            Some((parent, name)) => drop(self.slot(parent).children.remove(name)),
        }
    }

    /// The object at exactly this path.
    pub fn get(&self, path: &[u8]) -> Option<&Node> {
        self.tree(path).map(|tree| &tree.node)
    }

    /// What stands in a directory, names sorted bytewise; nothing if there is no such directory.
    pub fn children<'a>(&'a self, path: &[u8]) -> impl Iterator<Item = (&'a [u8], &'a Node)> + use<'a> {
        let children = self.tree(path).into_iter().flat_map(|tree| tree.children.iter());
        children.map(|(name, child)| (&**name, &child.node))
    }

    /// Everything below `path`, itself excluded: depth first, names sorted bytewise, a directory
    /// before what it holds. That is the order of a layer's tar.
    pub fn walk<'a>(&'a self, path: &[u8]) -> impl Iterator<Item = (EntryPath, &'a Node)> + use<'a> {
        self.walk_trees(path).map(|(path, tree)| (path, &tree.node))
    }

    /// The contents of the file at exactly this path when they are known: `etc/passwd` and
    /// `etc/group` as [`crate::layer::Toc::inline`] has them.
    pub fn inline(&self, path: &[u8]) -> Option<&[u8]> {
        self.tree(path)?.inline.as_deref()
    }

    fn tree(&self, path: &[u8]) -> Option<&Tree> {
        components(path).try_fold(&*self.root, |tree, name| tree.children.get(name).map(|child| &**child))
    }

    /// The tree at `path`, for writing; made with its parents where missing.
    fn slot(&mut self, path: &[u8]) -> &mut Tree {
        components(path).fold(Arc::make_mut(&mut self.root), Tree::child_of_directory)
    }

    fn place(&mut self, path: &[u8], node: Node, inline: Option<Arc<[u8]>>) {
        if let NodeKind::File(FileNode { inode: Some(inode), .. }) = node.kind {
            self.next_inode = self.next_inode.max(inode.saturating_add(1));
        }
        let generation = self.generation;
        self.slot(path).set(node, inline, generation);
    }
}

/// The names on the way to `path`, none for the root.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
