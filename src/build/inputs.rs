//! What the steps of a plan take from outside, as far as keys care.

use std::collections::BTreeMap;

use super::copy::{Selected, select};
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
use crate::view::{Node, NodeKind};

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
        let tree = match &op.from {
            Source::Context | Source::Named(_) => SourceInput::Files(self.selected_files(op)?),
            Source::Stage(stage) => SourceInput::Definition(self.stage_key(*stage)),
            Source::Image(image) => SourceInput::Definition(image_key(self.images, image)),
        };
        let mut inputs = self.remotes.inputs(op)?;
        inputs.push(tree);
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

    fn selected_files(&self, op: &CopyOp) -> Result<Vec<InputFile>, BuildError> {
        let Some(directory) = self.services.files(&op.from)? else { return Ok(Vec::new()) };
        let selected = select(op, directory.view())?;
        let taken = selected.iter().filter(|selected| is_path(op, selected));
        let files = taken.flat_map(|s| s.members.iter().map(|member| (s.origin(member), member.node.as_ref())));
        hashed(directory, files.collect())
    }
}

/// All that `directory` has at `path`.
pub(super) fn tree_files(directory: &ContextDirectory, path: &str) -> Result<Vec<InputFile>, BuildError> {
    let tree = directory.view();
    let root = path.trim_start_matches('/').as_bytes();
    let top = tree.get(root).map(|node| (root.to_vec(), node));
    hashed(directory, top.into_iter().chain(tree.walk(root)).collect())
}

fn hashed(directory: &ContextDirectory, files: Vec<(EntryPath, &Node)>) -> Result<Vec<InputFile>, BuildError> {
    let is_unread = |node: &Node| matches!(&node.kind, NodeKind::File(file) if file.hash.is_none());
    let unread: Vec<EntryPath> =
        files.iter().filter(|(_, node)| is_unread(node)).map(|(path, _)| path.clone()).collect();
    let hashes = directory.hash_files(&unread)?;
    drop(unread);
    Ok(files.into_iter().map(|(path, node)| input_file(path, node, &hashes)).collect())
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
