//! Writes the layer of a step: changes to tar to blob, table of contents and record entry.

use std::mem;
use std::sync::Arc;
use std::thread::Scope;

use super::error::BuildError;
use super::materials::Materials;
use super::request::Services;
use super::state::{StageState, StateLayer};
use crate::cache::RecordLayer;
use crate::digest::DiffId;
use crate::image::{Descriptor, media_type};
use crate::layer::{Change, ChangeKind, Content, Toc, Unwritten, encode, encode_ahead};
use crate::store::HashedElsewhere;

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

/// Files of so many bytes take long enough to compress that the next step need not wait for it.
const WORTH_WRITING_BEHIND: u64 = 4 << 20;

impl NewLayer {
    /// Whether the blob had better be written while the next step runs.
    pub(super) fn is_long(&self) -> bool {
        let size = |change: &Change| if let ChangeKind::File { size, .. } = change.kind { size } else { 0 };
        let mut left = WORTH_WRITING_BEHIND;
        self.changes.iter().map(size).any(|size| {
            left = left.saturating_sub(size);
            left == 0
        })
    }
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
    materials.check_unchanged(&changes, &encoded.toc)?;
    // There may be very many, and the table of contents says it all.
    drop(changes);
    let blob = writer.commit(&encoded.blob.media_type, encoded.blob.digest)?;
    let (diff_id, uncompressed_size) = (encoded.diff_id, encoded.uncompressed_size);
    let toc = save_toc(services, &diff_id, &encoded.toc)?;
    let layer = StateLayer::of_built(RecordLayer { blob, diff_id, uncompressed_size, toc, created });
    note_written(state, materials, &layer, (encoded.toc, disk_times));
    Ok(layer)
}

/// A layer whose files were read, and whose blob is still being compressed.
pub(super) struct LayerInWriting<'scope> {
    unwritten: Unwritten<'scope, HashedElsewhere>,
    toc: Descriptor,
    created: i64,
}

/// [`write_layer`] that returns once the files are read; threads of `scope` go on with the blob.
pub(super) fn write_layer_behind<'scope>(
    scope: &'scope Scope<'scope, '_>,
    state: &mut StageState,
    layer: NewLayer,
    materials: &Materials<'_>,
    services: &Services<'_>,
) -> Result<(StateLayer, LayerInWriting<'scope>), BuildError> {
    let NewLayer { changes, disk_times, created } = layer;
    materials.spool(&layer_contents(&changes))?;
    let writer = services.store.blob_writer_hashed_elsewhere()?;
    let spool = tempfile::tempfile_in(services.work).map_err(BuildError::file("create a file in", services.work))?;
    let open = |content: &Content| materials.open(content);
    let mut unwritten = encode_ahead(scope, &changes, &open, materials.compression(), (writer, spool))?;
    drop(changes);
    let contents = mem::take(&mut unwritten.toc);
    let toc = save_toc(services, unwritten.diff_id(), &contents)?;
    let layer = StateLayer::in_writing(unwritten.diff_id().clone(), unwritten.uncompressed_size());
    note_written(state, materials, &layer, (contents, disk_times));
    Ok((layer, LayerInWriting { unwritten, toc, created }))
}

impl LayerInWriting<'_> {
    /// Waits until the blob is in the store.
    pub(super) fn finish(self) -> Result<StateLayer, BuildError> {
        let Self { unwritten, toc, created } = self;
        let (diff_id, uncompressed_size) = (unwritten.diff_id().clone(), unwritten.uncompressed_size());
        let (blob, writer) = unwritten.finish()?;
        writer.commit(&blob.media_type, blob.digest.clone())?;
        Ok(StateLayer::of_built(RecordLayer { blob, diff_id, uncompressed_size, toc, created }))
    }
}

fn save_toc(services: &Services<'_>, diff_id: &DiffId, toc: &Toc) -> Result<Descriptor, BuildError> {
    let descriptor = services.store.put_blob(media_type::TOC, &toc_bytes(toc)?)?;
    services.store.put_toc(diff_id, &descriptor)?;
    Ok(descriptor)
}

fn note_written(
    state: &mut StageState,
    materials: &Materials<'_>,
    layer: &StateLayer,
    (toc, disk_times): (Toc, Option<Vec<i64>>),
) {
    match disk_times {
        Some(times) => state.push_written(layer.clone(), &with_times(toc.clone(), &times)),
        None => state.push_written(layer.clone(), &toc),
    }
    materials.note_written(layer, Arc::new(toc));
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

/// Of these contents those that lie inside layers.
pub(super) fn layer_contents_of<'a>(contents: impl Iterator<Item = (&'a Content, u64)>) -> Vec<(Content, u64)> {
    let inside = contents.filter(|(content, _)| matches!(content, Content::Layer { .. }));
    inside.map(|(content, size)| (content.clone(), size)).collect()
}

/// `--reproducible`: every member's time is the epoch. Returns the times before.
pub(super) fn reset_times(changes: &mut [Change]) -> Vec<i64> {
    changes.iter_mut().map(|change| std::mem::take(&mut change.mtime)).collect()
}

/// As it is stored.
pub(super) fn toc_bytes(toc: &Toc) -> Result<Vec<u8>, BuildError> {
    toc.to_bytes().map_err(BuildError::file("compress", "a table of contents"))
}
