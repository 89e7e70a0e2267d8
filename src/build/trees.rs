//! Whose files an op takes, as a tree; and trees written out onto the host.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::error::BuildError;
use super::evaluate::Evaluator;
use super::inputs::tree_paths;
use super::materials::{Materials, os_path};
use super::state::StageState;
use crate::extract::{Form, Ownership, extract};
use crate::image::media_type::Compression;
use crate::layer::{Change, ChangeKind, EntryPath, encode_files};
use crate::plan::Source;
use crate::view::{FileNode, LastLink, Node, NodeKind, View};

/// Whose files an op takes.
pub(super) enum StageSource {
    /// A build context.
    Files(View),
    /// Layers of a stage or an image.
    Layers(StageState),
}

impl Evaluator<'_> {
    pub(super) fn source(&self, from: &Source) -> Result<StageSource, BuildError> {
        if let Some(directory) = self.shop.services.files(from)? {
            return Ok(StageSource::Files(directory.view().clone()));
        }
        match from {
            Source::Context | Source::Named(_) => Ok(StageSource::Files(View::new())),
            Source::Stage(stage) => Ok(StageSource::Layers(self.stage(*stage)?.as_ref().clone())),
            Source::Image(image) => {
                let layers = self.shop.images.get(image).map(|base| base.layers.clone()).unwrap_or_default();
                Ok(StageSource::Layers(StageState::of_image(layers)))
            }
        }
    }

    /// The files as a tree; nothing is unpacked for it.
    pub(super) fn source_view(&self, from: &Source) -> Result<View, BuildError> {
        match self.source(from)? {
            StageSource::Files(view) => Ok(view),
            StageSource::Layers(mut state) => {
                self.shop.materials.learn(&mut state, false)?;
                Ok(state.contents().view.clone())
            }
        }
    }

    /// [`write_tree`] of the files that `from` has.
    pub(super) fn write_source(
        &self,
        from: &Source,
        source: &str,
        directory: &Path,
    ) -> Result<Option<PathBuf>, BuildError> {
        if let Some(context) = self.shop.services.files(from)? {
            self.shop.materials.note_files(context, &tree_paths(context.view(), source))?;
        }
        write_tree(&self.source_view(from)?, source, directory, self.shop.materials)
    }
}

/// Writes what `view` has at `source` below `directory` (made for it), with its owners and modes;
/// returns where it is, or nothing when there is no such path. Links in `source` are followed.
fn write_tree(
    view: &View,
    source: &str,
    directory: &Path,
    materials: &Materials<'_>,
) -> Result<Option<PathBuf>, BuildError> {
    let Ok(path) = view.resolve(source.trim_start_matches('/').as_bytes(), LastLink::Follow) else { return Ok(None) };
    let Some(node) = view.get(&path) else { return Ok(None) };
    let name = b"root".to_vec();
    let mut changes = vec![change(name.clone(), node)];
    changes.extend(view.walk(&path).map(|(below, node)| change(renamed(&path, &below, &name), node)));
    fs::create_dir_all(directory).map_err(BuildError::file("create", directory))?;
    unpack(&changes, directory, materials)?;
    Ok(Some(directory.join("root")))
}

/// `below` with its prefix `path` replaced by `name`.
fn renamed(path: &[u8], below: &[u8], name: &[u8]) -> EntryPath {
    let rest = below.strip_prefix(path).unwrap_or(below);
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    [name, b"/", rest].concat()
}

/// `node` as a member of a layer.
pub(super) fn change(path: EntryPath, node: &Node) -> Change {
    let kind = match &node.kind {
        NodeKind::Directory => ChangeKind::Directory,
        NodeKind::File(FileNode { size, content, .. }) => ChangeKind::File { size: *size, content: content.clone() },
        NodeKind::Symlink(target) => ChangeKind::Symlink { target: target.clone() },
        NodeKind::CharDevice(device) => ChangeKind::CharDevice(*device),
        NodeKind::BlockDevice(device) => ChangeKind::BlockDevice(*device),
        NodeKind::Fifo => ChangeKind::Fifo,
        NodeKind::Socket => ChangeKind::File { size: 0, content: crate::layer::Content::Bytes(Vec::new().into()) },
    };
    let Node { kind: _, mode, uid, gid, mtime, xattrs } = node;
    Change { path, kind, mode: *mode, uid: *uid, gid: *gid, mtime: *mtime, xattrs: xattrs.clone() }
}

/// By way of a layer: the codec knows how to keep every attribute.
fn unpack(changes: &[Change], directory: &Path, materials: &Materials<'_>) -> Result<(), BuildError> {
    let archive = directory.join("archive");
    materials.spool(&super::layers::layer_contents(changes))?;
    let mut file = File::create(&archive).map_err(BuildError::file("create", &archive))?;
    let encoded = encode_files(changes, &|content| materials.open(content), Compression::None, &mut file)?;
    materials.check_unchanged(changes, &encoded.toc)?;
    let file = File::open(&archive).map_err(BuildError::file("read", &archive))?;
    extract(file, directory, Form::Plain, Ownership::BestEffort)
        .map_err(|source| BuildError::Extract { layer: os_path(b"mount").display().to_string(), source })?;
    fs::remove_file(&archive).map_err(BuildError::file("remove", &archive))
}
