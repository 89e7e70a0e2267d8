use std::collections::BTreeMap;
use std::sync::Arc;

use super::tree::Tree;
use super::{Node, View};

/// What a directory holds, made apart from its view: several threads can do that side by side, and a
/// directory is looked up once for all that is in it.
pub(crate) struct Listing {
    children: BTreeMap<Box<[u8]>, Arc<Tree>>,
}

impl FromIterator<(Box<[u8]>, Node)> for Listing {
    /// By name, in any order. No file has a number ([`super::FileNode::inode`]): those are of the whole tree.
    fn from_iter<T: IntoIterator<Item = (Box<[u8]>, Node)>>(objects: T) -> Self {
        let tree = |node| Arc::new(Tree { node, children: BTreeMap::new(), inline: None, generation: 0 });
        Self { children: objects.into_iter().map(|(name, node)| (name, tree(node))).collect() }
    }
}

impl View {
    /// Replaces all that the directory at `path` holds.
    pub(crate) fn set_listing(&mut self, path: &[u8], listing: Listing) {
        self.slot(path).children = listing.children;
    }
}
