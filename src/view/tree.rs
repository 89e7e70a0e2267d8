use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use super::{Node, NodeKind};

/// An object with everything below it.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) node: Node,
    /// Empty unless the node is a directory.
    pub(super) children: BTreeMap<Box<[u8]>, Arc<Tree>>,
    /// The file's bytes, when known.
    pub(super) inline: Option<Arc<[u8]>>,
    /// Which layer placed it, counted from one; zero for what no layer placed.
    pub(super) generation: u64,
}

impl Tree {
    /// A directory that nothing describes.
    pub(super) fn implied() -> Self {
        Self { node: implied_directory(), children: BTreeMap::new(), inline: None, generation: 0 }
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self.node.kind, NodeKind::Directory)
    }

    /// The child of that name, made when missing; whatever is no directory becomes one first.
    pub(super) fn child_of_directory(&mut self, name: &[u8]) -> &mut Self {
        if !self.is_directory() {
            *self = Self::implied();
        }
        let child = self.children.entry(name.into()).or_insert_with(|| Arc::new(Self::implied()));
        Arc::make_mut(child)
    }

    pub(super) fn set(&mut self, node: Node, inline: Option<Arc<[u8]>>, generation: u64) {
        if !matches!(node.kind, NodeKind::Directory) {
            self.children.clear();
        }
        self.node = node;
        self.inline = inline;
        self.generation = generation;
    }
}

/// What stands for a directory that nothing describes.
pub(super) fn implied_directory() -> Node {
    Node { kind: NodeKind::Directory, mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() }
}

/// A hostile layer can nest directories so deep that dropping by recursion overflows the stack.
impl Drop for Tree {
    fn drop(&mut self) {
        let mut pending: Vec<Arc<Self>> = mem::take(&mut self.children).into_values().collect();
        while let Some(child) = pending.pop() {
            if let Some(mut child) = Arc::into_inner(child) {
                pending.extend(mem::take(&mut child.children).into_values());
            }
        }
    }
}
