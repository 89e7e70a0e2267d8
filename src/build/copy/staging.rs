//! The destination while an instruction writes to it, and what is different in the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::owner::Owner;
use super::{CopyError, is_directory, join, split_last};
use crate::layer::{Change, ChangeKind, EntryPath};
use crate::view::{FileNode, Node, NodeKind, View, tar_order};

const SET_GROUP_ID: u32 = 0o2000;

/// Identifies the names that become hard links of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LinkGroup {
    root: u64,
    inode: u64,
}

/// Numbers the hard links of one copied root: links reach no further.
#[derive(Debug)]
pub(super) struct Links(u64);

/// A file system and what was written to it.
#[derive(Debug)]
pub(super) struct Staging<'a> {
    base: &'a View,
    tree: View,
    now: i64,
    /// Everything written, whether it is still there or not.
    written: BTreeMap<EntryPath, Option<LinkGroup>>,
    /// Directories of the base that something else took the place of, if only for a while.
    replaced: Vec<EntryPath>,
    roots: u64,
}

impl<'a> Staging<'a> {
    pub(super) fn new(base: &'a View, now: i64) -> Self {
        let (written, replaced) = (BTreeMap::new(), Vec::new());
        Self { base, tree: base.clone(), now, written, replaced, roots: 0 }
    }

    pub(super) fn tree(&self) -> &View {
        &self.tree
    }

    pub(super) fn get(&self, path: &[u8]) -> Option<&Node> {
        self.tree.get(path)
    }

    pub(super) fn new_links(&mut self) -> Links {
        self.roots += 1;
        Links(self.roots)
    }

    /// Makes a directory and those above it, as far as they are missing. `path` has no links.
    /// Without an owner, root's; below a set-group-ID directory, as mkdir(2) has it: that
    /// directory's group and bit.
    pub(super) fn make_directories(&mut self, path: &[u8], mode: u32, owner: Option<Owner>) -> Result<(), CopyError> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for directory in ends.chain([path.len()]).map(|end| &path[..end]) {
            match self.tree.get(directory) {
                Some(node) if is_directory(node) => {}
                Some(_) => return Err(CopyError::NotADirectory { path: directory.to_vec() }),
                None => {
                    let node = self.new_directory(directory, mode, owner);
                    self.write(directory, node, None);
                }
            }
        }
        Ok(())
    }

    fn new_directory(&self, path: &[u8], mode: u32, owner: Option<Owner>) -> Node {
        let passed_on = self.tree.get(split_last(path).0).filter(|parent| parent.mode & SET_GROUP_ID != 0);
        let inherited = passed_on.map_or(Owner::ROOT, |parent| Owner { uid: 0, gid: parent.gid });
        let Owner { uid, gid } = owner.unwrap_or(inherited);
        let mode = passed_on.map_or(mode, |_| mode | SET_GROUP_ID);
        Node { kind: NodeKind::Directory, mode, uid, gid, mtime: self.now, xattrs: BTreeMap::new() }
    }

    /// Puts one object where its directory already is: over what is there, if that is of the same
    /// sort (a directory, or not). With `passage_mode`, an existing directory takes that and keeps
    /// the rest.
    pub(super) fn place(
        &mut self,
        path: &[u8],
        mut node: Node,
        links: &Links,
        passage_mode: Option<u32>,
    ) -> Result<(), CopyError> {
        let existing = self.tree.get(path);
        match (existing.map(is_directory), is_directory(&node)) {
            (Some(true), false) => return Err(CopyError::OntoDirectory { path: path.to_vec() }),
            (Some(false), true) => return Err(CopyError::OntoNonDirectory { path: path.to_vec() }),
            _ => {}
        }
        if let (Some(mode), Some(existing)) = (passage_mode, existing) {
            node = Node { mode, ..existing.clone() };
        }
        let group = match &node.kind {
            NodeKind::File(file) => file.inode.map(|inode| LinkGroup { root: links.0, inode }),
            _ => None,
        };
        self.write(path, node, group);
        Ok(())
    }

    /// Puts one object where its directory already is, whatever is there; directories merge.
    pub(super) fn replace(&mut self, path: &[u8], node: Node, group: Option<LinkGroup>) {
        let merges = is_directory(&node) && self.tree.get(path).is_some_and(is_directory);
        if !merges {
            self.tree.remove(path);
            if self.base.get(path).is_some_and(is_directory) {
                self.replaced.push(path.to_vec());
            }
        }
        self.write(path, node, group);
    }

    /// Makes `path` another name of the file at `target`.
    pub(super) fn link(&mut self, path: &[u8], target: &[u8]) -> Option<()> {
        let node = self.tree.get(target).filter(|node| !is_directory(node))?.clone();
        let fresh = LinkGroup { root: self.new_links().0, inode: 0 };
        let group = *self.written.entry(target.to_vec()).or_insert(None).get_or_insert(fresh);
        self.replace(path, node, Some(group));
        Some(())
    }

    /// Puts `node` where `path` is, and where its hard links are.
    pub(super) fn write_links(&mut self, path: &[u8], node: &Node) {
        let Some(Some(group)) = self.written.get(path).copied() else { return };
        let links = self.written.iter().filter(|(link, other)| **other == Some(group) && self.get(link).is_some());
        for link in links.map(|(link, _)| link.clone()).collect::<Vec<_>>() {
            self.write(&link, node.clone(), Some(group));
        }
    }

    pub(super) fn set_time(&mut self, directory: &[u8], mtime: i64) {
        if let Some(node) = self.tree.get(directory) {
            self.write(directory, Node { mtime, ..node.clone() }, None);
        }
    }

    fn write(&mut self, path: &[u8], mut node: Node, group: Option<LinkGroup>) {
        if let NodeKind::File(file) = &mut node.kind {
            // The number means nothing in this tree.
            file.inode = None;
        }
        self.tree.insert(path, node);
        if !path.is_empty() {
            self.written.insert(path.to_vec(), group);
        }
    }

    /// What is different from the base, in tar order.
    pub(super) fn into_changes(self) -> Vec<Change> {
        let mut changes = self.whiteouts();
        let mut touched = Vec::new();
        let mut first: HashMap<LinkGroup, EntryPath> = HashMap::new();
        let mut written: Vec<_> = self.written.iter().collect();
        written.sort_by(|(left, _), (right, _)| tar_order(left, right));
        for (path, group) in written {
            let Some(node) = self.tree.get(path) else { continue };
            match self.base.get(path).map_or(Difference::Real, |old| difference(old, node)) {
                Difference::None => continue,
                Difference::DirectoryTime => touched.push(change(path, node, None)),
                Difference::Real => {
                    let leader = group.and_then(|group| first.get(&group));
                    changes.push(change(path, node, leader));
                    if let (Some(group), None) = (group, leader) {
                        first.insert(*group, path.clone());
                    }
                }
            }
        }
        // A new time alone is no change, but shows where the directory is listed for its contents.
        let paths: BTreeSet<&[u8]> = changes.iter().map(|change| change.path.as_slice()).collect();
        touched.retain(|directory: &Change| holds_any(&paths, &directory.path));
        changes.extend(touched);
        changes.sort_by(|left, right| tar_order(&left.path, &right.path));
        changes
    }

    /// What replaced directories held and holds no more. A file over a directory hides its
    /// contents by itself; a directory over a directory does not.
    fn whiteouts(&self) -> Vec<Change> {
        let mut gone = BTreeSet::new();
        let mut pending = self.replaced.clone();
        while let Some(directory) = pending.pop() {
            if !self.tree.get(&directory).is_some_and(is_directory) {
                continue;
            }
            for (name, old) in self.base.children(&directory) {
                let path = join(&directory, name);
                match self.tree.get(&path) {
                    None => drop(gone.insert(path)),
                    Some(new) if is_directory(old) && is_directory(new) => pending.push(path),
                    Some(_) => {}
                }
            }
        }
        gone.into_iter().map(whiteout).collect()
    }
}

fn holds_any(paths: &BTreeSet<&[u8]>, directory: &[u8]) -> bool {
    let prefix = [directory, b"/"].concat();
    paths.range(prefix.as_slice()..).next().is_some_and(|path| path.starts_with(&prefix))
}

fn whiteout(path: EntryPath) -> Change {
    Change { path, kind: ChangeKind::Whiteout, mode: 0, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() }
}

fn change(path: &[u8], node: &Node, leader: Option<&EntryPath>) -> Change {
    let kind = match (&node.kind, leader) {
        (_, Some(leader)) => ChangeKind::Hardlink { target: leader.clone() },
        (NodeKind::Directory, _) => ChangeKind::Directory,
        (NodeKind::File(file), _) => ChangeKind::File { size: file.size, content: file.content.clone() },
        (NodeKind::Symlink(target), _) => ChangeKind::Symlink { target: target.clone() },
        (NodeKind::CharDevice(device), _) => ChangeKind::CharDevice(*device),
        (NodeKind::BlockDevice(device), _) => ChangeKind::BlockDevice(*device),
        (NodeKind::Fifo | NodeKind::Socket, _) => ChangeKind::Fifo,
    };
    let Node { kind: _, mode, uid, gid, mtime, xattrs } = node.clone();
    Change { path: path.to_vec(), kind, mode, uid, gid, mtime, xattrs }
}

/// How far an object is from what was there before.
enum Difference {
    None,
    /// A directory of which only the time is new.
    DirectoryTime,
    Real,
}

fn difference(old: &Node, new: &Node) -> Difference {
    let capability = "security.capability";
    let is_link = matches!(new.kind, NodeKind::Symlink(_));
    let same = same_kind(&old.kind, &new.kind)
        && (old.mode == new.mode || is_link)
        && (old.uid, old.gid) == (new.uid, new.gid)
        && old.xattrs.get(capability) == new.xattrs.get(capability);
    match (same, old.mtime == new.mtime) {
        (true, true) => Difference::None,
        (true, false) if is_directory(new) => Difference::DirectoryTime,
        _ => Difference::Real,
    }
}

fn same_kind(old: &NodeKind, new: &NodeKind) -> bool {
    match (old, new) {
        (NodeKind::File(old), NodeKind::File(new)) => same_file(old, new),
        _ => old == new,
    }
}

/// Contents that nobody has hashed count as different.
fn same_file(old: &FileNode, new: &FileNode) -> bool {
    old.size == new.size && old.hash.is_some() && old.hash == new.hash
}
