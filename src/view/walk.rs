use std::collections::btree_map;
use std::sync::Arc;

use super::tree::Tree;
use super::{EntryPath, View};

/// Iterates depth first with its own stack, so that depth costs no call frames.
pub(super) struct Walk<'a> {
    levels: Vec<Level<'a>>,
    /// The path of the object yielded last, cut back to the directory being listed.
    path: EntryPath,
}

struct Level<'a> {
    children: btree_map::Iter<'a, Box<[u8]>, Arc<Tree>>,
    /// Length of the directory's path.
    length: usize,
}

impl View {
    pub(super) fn walk_trees(&self, path: &[u8]) -> Walk<'_> {
        let start = self.tree(path).map(|tree| Level { children: tree.children.iter(), length: path.len() });
        Walk { levels: start.into_iter().collect(), path: path.to_vec() }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (EntryPath, &'a Arc<Tree>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let level = self.levels.last_mut()?;
            self.path.truncate(level.length);
            let Some((name, tree)) = level.children.next() else {
                self.levels.pop();
                continue;
            };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
            if !tree.children.is_empty() {
                self.levels.push(Level { children: tree.children.iter(), length: self.path.len() });
            }
            return Some((self.path.clone(), tree));
        }
    }
}
