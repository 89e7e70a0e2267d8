//! Writes the layer of a step: changes to tar to blob, table of contents and record entry.

use std::sync::Arc;

use super::error::BuildError;
use super::materials::Materials;
use super::request::Services;
use super::state::{StageState, StateLayer};
use crate::cache::RecordLayer;
use crate::image::media_type::{self, Compression};
use crate::layer::{Change, ChangeKind, Content, Toc, encode};

/// Encodes `changes` (complete, in tar order) as the next layer of `state`, whose contents must
/// be known. `created` is in seconds since the epoch.
pub(super) fn write_layer(
    state: &mut StageState,
    changes: &[Change],
    materials: &Materials<'_>,
    services: &Services<'_>,
    created: i64,
) -> Result<StateLayer, BuildError> {
    materials.spool(&layer_contents(changes))?;
    let mut writer = services.store.blob_writer_hashed_elsewhere()?;
    let open = |content: &Content| materials.open(content);
    let encoded = encode(changes, &open, Compression::Gzip, &mut writer)?;
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
    state.push_written(layer.clone(), &encoded.toc);
    materials.note_written(&layer, Arc::new(encoded.toc));
    Ok(layer)
}

/// The contents that lie inside layers, with their sizes in bytes.
pub(super) fn layer_contents(changes: &[Change]) -> Vec<(Content, u64)> {
    let inside = |change: &Change| match &change.kind {
        ChangeKind::File { size, content: content @ Content::Layer { .. } } => Some((content.clone(), *size)),
        _ => None,
    };
    changes.iter().filter_map(inside).collect()
}

/// `--reproducible`: every member's time is the epoch.
pub(super) fn reset_times(changes: &mut [Change]) {
    changes.iter_mut().for_each(|change| change.mtime = 0);
}

/// As it is stored.
pub(super) fn toc_bytes(toc: &Toc) -> Result<Vec<u8>, BuildError> {
    toc.to_bytes().map_err(BuildError::file("compress", "a table of contents"))
}
