//! Where what was selected goes.

use std::borrow::Cow;

use super::chmod::ModeChange;
use super::owner::Owner;
use super::select::{copy_order, select_tree};
use super::staging::Staging;
use super::{CopyError, Member, Prepared, Selected, SourceTrees, clean, is_directory, join, select, split_last};
use crate::layer::{Change, Content, EntryPath};
use crate::plan::{CopyOp, CopySource};
use crate::view::{FileNode, LastLink, Node, NodeKind, View};

/// What the layer of this COPY or ADD contains: in tar order, without directories that stay as
/// they are (see [`crate::view::with_ancestors`]) and without objects that come out exactly as
/// they were. `now` (seconds since the epoch) is the time of what no source gives a time to.
///
/// # Errors
/// What `select` returns, and where the sources do not fit what stands in the destination.
pub fn plan_copy(op: &CopyOp, destination: &View, sources: &SourceTrees, now: i64) -> Result<Vec<Change>, CopyError> {
    let nothing = View::new();
    let base = if op.link { &nothing } else { destination };
    let accounts = base.children(b"").next().is_some().then_some(base);
    let owner = op.chown.as_deref().map(|chown| Owner::parse(chown, accounts)).transpose()?;
    let mut placing = Placing {
        staging: Staging::new(base, now),
        destination: &op.destination,
        mode: ModeChange::new(op.chmod.as_ref())?,
        owner,
        now,
    };
    let mut selected = select(op, sources.tree)?.into_iter().peekable();
    for (index, source) in copy_order(op) {
        while let Some(selected) = selected.next_if(|selected| selected.source == index) {
            placing.selected(op, &selected, sources)?;
        }
        if matches!(source, CopySource::Url(_) | CopySource::Git(_)) {
            let prepared = sources.prepared.get(&index).ok_or(CopyError::Unprepared { index })?;
            placing.prepared(op, index, prepared)?;
        }
    }
    Ok(placing.staging.into_changes())
}

struct Placing<'a> {
    staging: Staging<'a>,
    /// As in the op.
    destination: &'a str,
    mode: ModeChange,
    /// `None` keeps the source's.
    owner: Option<Owner>,
    now: i64,
}

impl Placing<'_> {
    fn selected(&mut self, op: &CopyOp, selected: &Selected, sources: &SourceTrees) -> Result<(), CopyError> {
        if selected.may_be_archive(op)
            && let Some(archive) = sources.archives.get(&selected.root)
        {
            return self.staging.unpack(archive, &clean(self.destination.as_bytes()), self.owner);
        }
        match op.sources.get(selected.source) {
            // Heredoc files are made, not copied, and so have no other time.
            Some(CopySource::Inline { .. }) => {
                let now = self.now;
                self.root(selected, |_, node| node.mtime = now)
            }
            _ => self.root(selected, |path, node| fill_hash(node, sources, &join(&selected.root, path))),
        }
    }

    fn prepared(&mut self, op: &CopyOp, source: usize, prepared: &Prepared) -> Result<(), CopyError> {
        match prepared {
            Prepared::Archive(archive) => self.staging.unpack(archive, &clean(self.destination.as_bytes()), self.owner),
            Prepared::Tree(tree) => self.root(&select_tree(source, tree, &op.excludes)?, |_, _| {}),
            Prepared::File { name, node } => {
                let root = Member { path: EntryPath::new(), node: Cow::Borrowed(node), passage: false };
                let (name, root_path, members) = (name.clone(), EntryPath::new(), vec![root]);
                self.root(&Selected { source, name, root: root_path, members }, |_, _| {})
            }
        }
    }

    /// Copies one root. `complete` gets each node, with its path below the root, before it is placed.
    fn root(&mut self, selected: &Selected, complete: impl Fn(&[u8], &mut Node)) -> Result<(), CopyError> {
        let Some((root, members)) = selected.members.split_first() else { return Ok(()) };
        let mut target = self.target()?;
        if is_directory(&root.node) {
            self.contents_target(&target)?;
        } else if self.staging.get(&target).is_some_and(is_directory) {
            target = join(&target, &selected.name);
        }
        let links = self.staging.new_links();
        if !is_directory(&root.node) {
            self.make_directories(split_last(&target).0)?;
            return self.staging.place(&target, self.node(root, &complete), &links, None);
        }
        for member in members {
            let node = self.node(member, &complete);
            let passage_mode = member.passage.then_some(member.node.mode);
            self.staging.place(&join(&target, &member.path), node, &links, passage_mode)?;
        }
        self.staging.set_time(&target, root.node.mtime);
        Ok(())
    }

    /// The destination with its links followed; its directory, or itself if it is written like
    /// one, is made.
    fn target(&mut self) -> Result<EntryPath, CopyError> {
        let path = clean(self.destination.as_bytes());
        let is_directory = self.destination.ends_with('/') || self.destination.ends_with("/.");
        let directory = if is_directory { &path } else { split_last(&path).0 };
        let directory = self.staging.tree().resolve(directory, LastLink::Follow)?;
        self.make_directories(&directory)?;
        Ok(self.staging.tree().resolve(&path, LastLink::Follow)?)
    }

    fn contents_target(&mut self, target: &[u8]) -> Result<(), CopyError> {
        if self.staging.get(target).is_some_and(|node| !is_directory(node)) {
            return Err(CopyError::OntoNonDirectory { path: target.to_vec() });
        }
        self.make_directories(target)
    }

    fn make_directories(&mut self, path: &[u8]) -> Result<(), CopyError> {
        self.staging.make_directories(path, self.mode.of_new_directories(), self.owner)
    }

    /// The member as it will be in the destination.
    fn node(&self, member: &Member, complete: &impl Fn(&[u8], &mut Node)) -> Node {
        let mut node = member.node.clone().into_owned();
        complete(&member.path, &mut node);
        if matches!(node.kind, NodeKind::Socket) {
            node.kind = NodeKind::File(empty_file());
        }
        if let Some(Owner { uid, gid }) = self.owner {
            (node.uid, node.gid) = (uid, gid);
        }
        if !matches!(node.kind, NodeKind::Symlink(_)) {
            node.mode = self.mode.apply(node.mode, is_directory(&node));
        }
        node
    }
}

fn fill_hash(node: &mut Node, sources: &SourceTrees, origin: &[u8]) {
    if let NodeKind::File(file) = &mut node.kind {
        file.hash = file.hash.or_else(|| sources.hashes.get(origin).copied());
    }
}

fn empty_file() -> FileNode {
    let hash = Some(crate::digest::ContentHash::of(b""));
    FileNode { size: 0, hash, content: Content::Bytes([].into()), inode: None }
}
