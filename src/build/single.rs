//! `--single-snapshot`: one layer for all that the steps of the image did.
//!
//! Made from finished layers, so that each step stays in the cache by itself, and no file is written that the next
//! step removes. The layer is remembered for the layers that it was made of.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::error::BuildError;
use super::layers::{NewLayer, write_layer};
use super::materials::Materials;
use super::records::Records;
use super::request::Services;
use super::rewrite::contents;
use super::state::{StageState, StateLayer};
use super::trees::change;
use crate::key::merged_key;
use crate::layer::{Change, ChangeKind, EntryPath};
use crate::view::{FileNode, Node, NodeKind, View, with_ancestors};

/// The stage with one layer above those of the base image.
///
/// # Source
/// Kaniko's flag: one snapshot, after the last instruction.
pub(super) fn merge(
    state: &StageState,
    materials: &Materials<'_>,
    records: &Records<'_>,
    services: &Services<'_>,
) -> Result<StageState, BuildError> {
    let [_, .., last] = state.step_layers() else { return Ok(state.clone()) };
    let own = state.step_layers();
    let base = &state.layers()[..state.layers().len() - own.len()];
    let mut merged = StageState::of_image(base.to_vec());
    let diff_ids = |layers: &[StateLayer]| layers.iter().map(|layer| layer.diff_id.clone()).collect::<Vec<_>>();
    let key = merged_key(&diff_ids(base), &diff_ids(own));
    let known = records.look_up(&[key]).pop().flatten();
    if let Some((known, _)) = known.as_ref().and_then(Records::only_layer) {
        merged.push(known);
        return Ok(merged);
    }
    let (below, above) = (tree(base, materials)?, tree(state.layers(), materials)?);
    let changes = with_ancestors(&above, difference(&below, &above, &touched(own, materials)?));
    let new = NewLayer { changes, disk_times: None, created: last.created().unwrap_or_default() };
    let new = write_layer(&mut StageState::default(), new, materials, services)?;
    records.save_derived(key, &new);
    merged.push(new);
    Ok(merged)
}

fn tree(layers: &[StateLayer], materials: &Materials<'_>) -> Result<View, BuildError> {
    let mut state = StageState::of_image(layers.to_vec());
    materials.learn(&mut state, false)?;
    Ok(state.contents().view.clone())
}

/// Every path that a step wrote.
fn touched(layers: &[StateLayer], materials: &Materials<'_>) -> Result<BTreeSet<EntryPath>, BuildError> {
    let mut paths = BTreeSet::new();
    for layer in layers {
        paths.extend(contents(layer, materials)?.entries.into_iter().map(|entry| entry.path));
    }
    Ok(paths)
}

/// What makes `above` out of `below`; of what is there, only `touched` can differ.
fn difference(below: &View, above: &View, touched: &BTreeSet<EntryPath>) -> Vec<Change> {
    let mut names: HashMap<u64, EntryPath> = HashMap::new();
    let written = touched.iter().filter_map(|path| {
        let node = above.get(path).filter(|node| below.get(path) != Some(*node))?;
        Some(named(path, node, &mut names))
    });
    let mut changes: Vec<Change> = written.collect();
    let is_gone = |path: &[u8]| above.get(path).is_none() && is_directory(above, parent(path));
    changes.extend(below.walk(b"").filter(|(path, _)| is_gone(path)).map(|(path, _)| whiteout(path)));
    changes
}

/// A further name of a file that is listed already is a link to it.
fn named(path: &[u8], node: &Node, names: &mut HashMap<u64, EntryPath>) -> Change {
    let mut change = change(path.to_vec(), node);
    if let NodeKind::File(FileNode { inode: Some(inode), .. }) = &node.kind {
        match names.get(inode) {
            Some(first) => change.kind = ChangeKind::Hardlink { target: first.clone() },
            None => drop(names.insert(*inode, path.to_vec())),
        }
    }
    change
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(b"", |end| &path[..end])
}

fn is_directory(view: &View, path: &[u8]) -> bool {
    path.is_empty() || view.get(path).is_some_and(|node| matches!(node.kind, NodeKind::Directory))
}

fn whiteout(path: EntryPath) -> Change {
    Change { path, kind: ChangeKind::Whiteout, mode: 0, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() }
}
