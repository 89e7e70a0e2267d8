//! What the steps of a plan take from outside, as far as keys care.

use std::collections::BTreeMap;

use super::copy::{Member, Selected, select, split_last};
use super::error::BuildError;
use super::keys::image_key;
use super::request::Services;
use super::resolve::BaseImages;
use super::sources::Remotes;
use crate::context::ContextDirectory;
use crate::digest::ContentHash;
use crate::key::{CacheKey, InputFile, InputKind, SourceInput};
use crate::layer::EntryPath;
use crate::plan::{CopyOp, CopySource, Mount, RunOp, Source, StageIndex};
use crate::view::{LastLink, Node, NodeKind, View};

/// Resolves the sources of ops for definition keys.
pub(super) struct Inputs<'a> {
    pub(super) services: &'a Services<'a>,
    pub(super) images: &'a BaseImages,
    pub(super) remotes: &'a Remotes,
    /// Last definition key of each stage planned so far.
    pub(super) stages: Vec<CacheKey>,
}

impl Inputs<'_> {
    /// What a COPY or ADD takes.
    pub(super) fn of_copy(&self, op: &CopyOp) -> Result<Vec<SourceInput>, BuildError> {
        let mut inputs = self.remotes.inputs(op)?;
        match &op.from {
            Source::Context | Source::Named(_) => inputs.extend(self.selected_files(op)?),
            Source::Stage(stage) => inputs.push(SourceInput::Definition(self.stage_key(*stage))),
            Source::Image(image) => inputs.push(SourceInput::Definition(image_key(self.images, image))),
        }
        Ok(inputs)
    }

    /// What the bind mounts of a RUN show, and what its cache mounts start from.
    pub(super) fn of_run(&self, op: &RunOp) -> Result<Vec<SourceInput>, BuildError> {
        op.mounts.iter().filter_map(mounted_source).map(|(from, path)| self.of_mount(from, path)).collect()
    }

    fn of_mount(&self, from: &Source, path: &str) -> Result<SourceInput, BuildError> {
        match from {
            Source::Context | Source::Named(_) => {
                let directory = self.services.files(from)?;
                let files = directory.map_or_else(|| Ok(Vec::new()), |directory| tree_files(directory, path))?;
                Ok(SourceInput::Files(files))
            }
            Source::Stage(stage) => Ok(SourceInput::Definition(self.stage_key(*stage))),
            Source::Image(image) => Ok(SourceInput::Definition(image_key(self.images, image))),
        }
    }

    fn stage_key(&self, stage: StageIndex) -> CacheKey {
        // A plan's references point backwards only.
        self.stages[stage.0]
    }

    fn selected_files(&self, op: &CopyOp) -> Result<Vec<SourceInput>, BuildError> {
        let Some(directory) = self.services.files(&op.from)? else { return Ok(vec![SourceInput::Files(Vec::new())]) };
        let all = select(op, directory.view())?;
        let all: Vec<&Selected> = all.iter().filter(|selected| is_path(op, selected)).collect();
        let unread = |selected: &&Selected| {
            let members = selected.members.iter().filter(|member| is_unread(&member.node));
            members.map(|member| selected.origin(member)).collect::<Vec<_>>()
        };
        let hashes = directory.hash_files(&all.iter().flat_map(unread).collect::<Vec<_>>())?;
        let files = all.iter().flat_map(|selected| selected_members(selected, &hashes)).collect();
        let links = all.iter().filter(|selected| split_last(&selected.root).1 != selected.name);
        let links = links.map(|link| SourceInput::Link { name: link.name.clone(), path: link.root.clone() });
        Ok(std::iter::once(SourceInput::Files(files)).chain(links).collect())
    }
}

/// A file whose hash nobody knows yet.
fn is_unread(node: &Node) -> bool {
    matches!(&node.kind, NodeKind::File(file) if file.hash.is_none())
}

/// Of files that are one in the source only the first is a file, as in the layer.
fn selected_members(selected: &Selected<'_>, hashes: &BTreeMap<EntryPath, ContentHash>) -> Vec<InputFile> {
    let mut first: BTreeMap<u64, EntryPath> = BTreeMap::new();
    let member = |member: &Member<'_>| {
        let inode = if let NodeKind::File(file) = &member.node.kind { file.inode } else { None };
        let mut input = input_file(selected.origin(member), &member.node, hashes);
        if let Some(target) = inode.and_then(|inode| first.get(&inode)) {
            input.kind = InputKind::Hardlink(target.clone());
        } else if let Some(inode) = inode {
            first.insert(inode, input.path.clone());
        }
        input
    };
    selected.members.iter().map(member).collect()
}

/// All that `directory` has at `path`. Links on the way are followed, as they are for the mount itself.
pub(super) fn tree_files(directory: &ContextDirectory, path: &str) -> Result<Vec<InputFile>, BuildError> {
    let paths = tree_paths(directory.view(), path);
    let hashes = directory.hash_files(&paths)?;
    Ok(tree_inputs(directory.view(), paths, &hashes))
}

/// All that a stage has at `path`; the hashes are in its tables of contents.
pub(super) fn stage_files(tree: &View, path: &str) -> Vec<InputFile> {
    tree_inputs(tree, tree_paths(tree, path), &BTreeMap::new())
}

/// What is at and below `path`. Links on the way are followed.
pub(super) fn tree_paths(tree: &View, path: &str) -> Vec<EntryPath> {
    let written = path.trim_start_matches('/').as_bytes();
    let root = tree.resolve(written, LastLink::Follow).unwrap_or_else(|_| written.to_vec());
    let top = tree.get(&root).map(|_| root.clone());
    top.into_iter().chain(tree.walk(&root).map(|(path, _)| path)).collect()
}

fn tree_inputs(tree: &View, paths: Vec<EntryPath>, hashes: &BTreeMap<EntryPath, ContentHash>) -> Vec<InputFile> {
    paths.into_iter().filter_map(|path| tree.get(&path).map(|node| input_file(path, node, hashes))).collect()
}

/// Heredocs are in the op itself.
fn is_path(op: &CopyOp, selected: &Selected<'_>) -> bool {
    matches!(op.sources.get(selected.source), Some(CopySource::Path(_)))
}

/// Where a mount's initial content comes from, when it has one.
pub(super) fn mounted_source(mount: &Mount) -> Option<(&Source, &str)> {
    match mount {
        Mount::Bind { from, source, .. } => Some((from, source)),
        Mount::Cache { from: Some((from, source)), .. } => Some((from, source)),
        Mount::Cache { .. } | Mount::Tmpfs { .. } | Mount::Secret { .. } | Mount::Ssh { .. } => None,
    }
}

fn input_file(path: EntryPath, node: &Node, hashes: &BTreeMap<EntryPath, ContentHash>) -> InputFile {
    let hash = |file: &crate::view::FileNode| file.hash.or_else(|| hashes.get(&path).copied());
    let kind = match &node.kind {
        NodeKind::Directory => InputKind::Directory,
        NodeKind::File(file) => InputKind::File(hash(file).unwrap_or_else(|| ContentHash::of(b""))),
        NodeKind::Symlink(target) => InputKind::Symlink(target.clone()),
        NodeKind::CharDevice(device) => InputKind::Device('c', device.major, device.minor),
        NodeKind::BlockDevice(device) => InputKind::Device('b', device.major, device.minor),
        NodeKind::Fifo => InputKind::Fifo,
        NodeKind::Socket => InputKind::Socket,
    };
    InputFile { kind, mode: node.mode, uid: node.uid, gid: node.gid, xattrs: node.xattrs.clone(), path }
}
