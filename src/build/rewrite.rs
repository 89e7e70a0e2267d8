//! `--rewrite-timestamp`: layers of this build in which no file is later than the epoch.
//!
//! Done to finished layers, not to steps: what a step made stays in the cache under its key, whatever
//! the epoch of the day is. A layer that was rewritten is remembered for its epoch.

use super::error::BuildError;
use super::layers::{NewLayer, write_layer};
use super::materials::Materials;
use super::records::Records;
use super::request::Services;
use super::state::{StageState, StateLayer};
use crate::key::rewritten_key;
use crate::layer::{Change, ChangeKind, Content, Entry, EntryKind, Toc};

/// The stage with its own layers rewritten; those of the base image stay as they are.
///
/// # Source
/// BuildKit's exporter option `rewrite-timestamp`.
pub(super) fn rewrite(
    state: &StageState,
    epoch: i64,
    materials: &Materials<'_>,
    records: &Records<'_>,
    services: &Services<'_>,
) -> Result<StageState, BuildError> {
    let own = state.step_layers();
    let base = &state.layers()[..state.layers().len() - own.len()];
    let mut rewritten = StageState::of_image(base.to_vec());
    for layer in own {
        let key = rewritten_key(&layer.diff_id, epoch);
        let known = records.look_up(&[key]).pop().flatten();
        if let Some((known, _)) = known.as_ref().and_then(Records::only_layer) {
            rewritten.push(known);
            continue;
        }
        let new = match clamped(&contents(layer, materials)?, layer, epoch) {
            Some(changes) => {
                let created = layer.created().unwrap_or(epoch);
                let new = NewLayer { changes, disk_times: None, created };
                let new = write_layer(&mut StageState::default(), new, materials, services)?;
                records.save_derived(key, &new);
                new
            }
            None => layer.clone(),
        };
        rewritten.push(new);
    }
    Ok(rewritten)
}

/// What is in a layer.
pub(super) fn contents(layer: &StateLayer, materials: &Materials<'_>) -> Result<Toc, BuildError> {
    let mut alone = StageState::of_image(vec![layer.clone()]);
    materials.learn(&mut alone, false)?;
    Ok(materials.known_toc(layer)?.as_deref().cloned().unwrap_or_default())
}

/// The members, none later than `epoch`; `None` when none is.
fn clamped(toc: &Toc, layer: &StateLayer, epoch: i64) -> Option<Vec<Change>> {
    if toc.entries.iter().all(|entry| entry.mtime <= epoch) {
        return None;
    }
    toc.entries.iter().map(|entry| change(entry, layer, epoch)).collect()
}

/// `None` for a kind of member that no step of ours writes.
fn change(entry: &Entry, layer: &StateLayer, epoch: i64) -> Option<Change> {
    let kind = match &entry.kind {
        EntryKind::Directory => ChangeKind::Directory,
        EntryKind::File { size, offset, .. } => {
            let content = Content::Layer { layer: layer.diff_id.clone(), offset: *offset };
            ChangeKind::File { size: *size, content }
        }
        EntryKind::Symlink { target } => ChangeKind::Symlink { target: target.clone() },
        EntryKind::Hardlink { target } => ChangeKind::Hardlink { target: target.clone() },
        EntryKind::CharDevice(device) => ChangeKind::CharDevice(*device),
        EntryKind::BlockDevice(device) => ChangeKind::BlockDevice(*device),
        EntryKind::Fifo => ChangeKind::Fifo,
        EntryKind::Whiteout => ChangeKind::Whiteout,
        EntryKind::OpaqueWhiteout => return None,
    };
    let Entry { path, mode, uid, gid, mtime, xattrs, .. } = entry;
    let (path, xattrs, mtime) = (path.clone(), xattrs.clone(), (*mtime).min(epoch));
    Some(Change { path, kind, mode: *mode, uid: *uid, gid: *gid, mtime, xattrs })
}
