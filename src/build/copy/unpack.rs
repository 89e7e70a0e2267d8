//! ADD of archives: their members go on top of what is there, in their order.

use super::owner::Owner;
use super::staging::Staging;
use super::{CopyError, is_directory, join, split_last};
use crate::context::{Archive, ArchiveMember, MemberKind, Metadata};
use crate::layer::EntryPath;
use crate::view::{LastLink, Node, NodeKind, ResolveError, View};

/// As [`View::resolve`] has it.
const MAX_LINKS: usize = 40;
const MAX_PATH: usize = 4096;

/// Of directories that an archive implies without listing them.
const IMPLIED_MODE: u32 = 0o755;

impl Staging<'_> {
    /// Unpacks below the clean path `destination`, which is made a directory owned by `owner`;
    /// members belong to `owner` too, if there is one.
    pub(super) fn unpack(
        &mut self,
        archive: &Archive,
        destination: &[u8],
        owner: Option<Owner>,
    ) -> Result<(), CopyError> {
        let root = self.tree().resolve(destination, LastLink::Follow)?;
        self.make_directories(&root, IMPLIED_MODE, owner)?;
        for member in &archive.members {
            self.unpack_member(member, &root, owner)?;
        }
        Ok(())
    }

    fn unpack_member(&mut self, member: &ArchiveMember, root: &[u8], owner: Option<Owner>) -> Result<(), CopyError> {
        let path = self.member_path(root, &member.path)?;
        self.make_directories(split_last(&path).0, IMPLIED_MODE, None)?;
        match &member.kind {
            MemberKind::Hardlink { target, metadata } => {
                let dead = || CopyError::DeadHardlink { path: member.path.clone(), target: target.clone() };
                let target = self.member_path(root, target)?;
                if target != path {
                    self.link(&path, &target).ok_or_else(dead)?;
                }
                let mut metadata = metadata.clone();
                if let Some(Owner { uid, gid }) = owner {
                    (metadata.uid, metadata.gid) = (uid, gid);
                }
                self.set_metadata(&path, metadata);
            }
            MemberKind::Node(node) => {
                let mut node = node.clone();
                if let Some(Owner { uid, gid }) = owner {
                    (node.uid, node.gid) = (uid, gid);
                }
                self.replace(&path, node, None);
            }
        }
        Ok(())
    }

    /// Gives a file new metadata under all its names. A symbolic link has no mode and keeps its time.
    fn set_metadata(&mut self, path: &[u8], metadata: Metadata) {
        let Some(old) = self.get(path) else { return };
        let Metadata { mode, uid, gid, mtime, xattrs } = metadata;
        let mut node = Node { uid, gid, ..old.clone() };
        if !matches!(node.kind, NodeKind::Symlink(_)) {
            (node.mode, node.mtime) = (mode, mtime);
            node.xattrs.extend(xattrs);
        }
        if node != *old {
            self.write_links(path, &node);
        }
    }

    /// Where a member belongs: its directory's links followed as if `root` were the root.
    fn member_path(&self, root: &[u8], member: &[u8]) -> Result<EntryPath, CopyError> {
        let (directory, name) = split_last(member);
        let directory = resolve_below(self.tree(), root, directory)?;
        Ok(join(&join(root, &directory), name))
    }
}

/// The canonical form of `path`, relative to `root`, which no link and no `..` leads out of.
fn resolve_below(tree: &View, root: &[u8], path: &[u8]) -> Result<EntryPath, CopyError> {
    let mut done = EntryPath::new();
    let mut pending: Vec<Vec<u8>> = names(path);
    let mut links = 0;
    while let Some(name) = pending.pop() {
        if name == b".." {
            done.truncate(split_last(&done).0.len());
            continue;
        }
        let next = join(&done, &name);
        match tree.get(&join(root, &next)) {
            Some(node) if !is_directory(node) => {
                let NodeKind::Symlink(target) = &node.kind else {
                    return Err(CopyError::NotADirectory { path: join(root, &next) });
                };
                links += 1;
                done.truncate(if target.starts_with(b"/") { 0 } else { done.len() });
                pending.extend(names(target));
            }
            _ => done = next,
        }
        if links > MAX_LINKS || done.len() > MAX_PATH {
            return Err(ResolveError::TooManyLinks { path: join(root, path) }.into());
        }
    }
    Ok(done)
}

/// The names of a path, the first one last.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.rev().map(<[u8]>::to_vec).collect()
}
