//! Writes the layer of a step: changes to tar to blob, table of contents and record entry.

use std::sync::Arc;

use super::error::BuildError;
use super::materials::Materials;
use super::request::Services;
use super::state::{StageState, StateLayer};
use crate::cache::RecordLayer;
use crate::image::media_type;
use crate::layer::{Change, ChangeKind, Content, Toc, encode};

/// A layer about to be written.
pub(super) struct NewLayer {
    /// Complete, in tar order.
    pub(super) changes: Vec<Change>,
    /// The times that the files have on disk, one per change, where the layer says otherwise
    /// (`--reproducible`): the next snapshot compares with these.
    pub(super) disk_times: Option<Vec<i64>>,
    /// Seconds since the epoch.
    pub(super) created: i64,
}

/// Encodes the next layer of `state`, whose contents must be known.
pub(super) fn write_layer(
    state: &mut StageState,
    layer: NewLayer,
    materials: &Materials<'_>,
    services: &Services<'_>,
) -> Result<StateLayer, BuildError> {
    let NewLayer { changes, disk_times, created } = layer;
    materials.spool(&layer_contents(&changes))?;
    let mut writer = services.store.blob_writer_hashed_elsewhere()?;
    let open = |content: &Content| materials.open(content);
    let encoded = encode(&changes, &open, materials.compression(), &mut writer)?;
    // There may be very many, and the table of contents says it all.
    drop(changes);
    writer.commit(&encoded.blob.media_type, encoded.blob.digest.clone())?;
    let toc = services.store.put_blob(media_type::TOC, &toc_bytes(&encoded.toc)?)?;
    services.store.put_toc(&encoded.diff_id, &toc)?;
    let record = RecordLayer {
        blob: encoded.blob,
        diff_id: encoded.diff_id,
        uncompressed_size: encoded.uncompressed_size,
        toc,
        created,
    };
    let layer = StateLayer::of_built(record);
    match disk_times {
        Some(times) => state.push_written(layer.clone(), &with_times(encoded.toc.clone(), &times)),
        None => state.push_written(layer.clone(), &encoded.toc),
    }
    materials.note_written(&layer, Arc::new(encoded.toc));
    Ok(layer)
}

fn with_times(mut toc: Toc, times: &[i64]) -> Toc {
    for (entry, time) in toc.entries.iter_mut().zip(times) {
        entry.mtime = *time;
    }
    toc
}

/// The contents that lie inside layers, with their sizes in bytes.
pub(super) fn layer_contents(changes: &[Change]) -> Vec<(Content, u64)> {
    let inside = |change: &Change| match &change.kind {
        ChangeKind::File { size, content: content @ Content::Layer { .. } } => Some((content.clone(), *size)),
        _ => None,
    };
    changes.iter().filter_map(inside).collect()
}

/// `--reproducible`: every member's time is the epoch. Returns the times before.
pub(super) fn reset_times(changes: &mut [Change]) -> Vec<i64> {
    changes.iter_mut().map(|change| std::mem::take(&mut change.mtime)).collect()
}

/// As it is stored.
pub(super) fn toc_bytes(toc: &Toc) -> Result<Vec<u8>, BuildError> {
    toc.to_bytes().map_err(BuildError::file("compress", "a table of contents"))
}
