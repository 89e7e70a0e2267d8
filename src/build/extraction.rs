//! Layers as directories that an overlay is made of.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::BuildError;
use super::materials::{Materials, check_diff_id};
use super::state::StateLayer;
use crate::digest::{ChainId, DiffId, chain_id};
use crate::extract::{ExtractError, Extracted, Form, Ownership, extract, is_intact, overlay_name, settle_root};
use crate::layer::{Scanned, Toc};
use crate::parallel::in_parallel;
use crate::report::Event;
use crate::sandbox;
use crate::store::PendingDirectory;
use crate::view::View;

/// Layers that are extracted at a time. Each has threads of its own for reading and hashing.
const AT_A_TIME: usize = 4;

/// How layers are extracted for an overlay.
#[derive(Debug, Clone, Copy)]
pub(super) struct OverlayForm {
    /// Markers as `user.overlay.*` (inside a user namespace).
    pub(super) user_xattr: bool,
    /// Whether all ids can be given to files.
    pub(super) ownership: Ownership,
}

/// A layer that was extracted before what lies below it was known.
pub(super) struct Ahead {
    pending: PendingDirectory,
    scanned: Scanned,
}

impl OverlayForm {
    /// What this process may do.
    pub(super) fn current() -> Self {
        let ownership = match sandbox::ownership() {
            sandbox::Ownership::Exact => Ownership::Exact,
            sandbox::Ownership::BestEffort => Ownership::BestEffort,
        };
        Self { user_xattr: sandbox::in_user_namespace(), ownership }
    }
}

impl Materials<'_> {
    /// Takes note of the directory that serves as the overlay's lower for the top of `layers`.
    pub(super) fn note_directory(&self, layers: &[StateLayer], directory: PathBuf) {
        if let (Some(chain), Some(top)) = (chain_of(layers), layers.last()) {
            let mut known = self.known();
            known.holders.insert(top.diff_id.clone(), directory.clone());
            known.directories.insert(chain, directory);
        }
    }

    /// Extracts those of `layers` of which nothing is known, side by side, each as if it lay alone. What
    /// depends on the layers below is left for [`Self::extract_layer`].
    pub(super) fn extract_ahead(&self, layers: &[StateLayer]) -> Result<(), BuildError> {
        let mut unknown: Vec<&StateLayer> = Vec::new();
        for layer in layers {
            if self.known_toc(layer)?.is_none() {
                unknown.push(layer);
            }
        }
        if unknown.len() > 1 {
            in_parallel(&unknown, AT_A_TIME, |layer| self.extract_alone(layer));
        }
        Ok(())
    }

    /// Tries to. A fault shows again, with its error, when the layer's turn comes.
    fn extract_alone(&self, layer: &StateLayer) {
        let _reading = self.reading.enter(layer.diff_id.clone());
        let mut known = self.known();
        if known.tocs.contains_key(&layer.diff_id) || known.ahead.contains_key(&layer.diff_id) {
            return;
        }
        known.layers.insert(layer.diff_id.clone(), layer.clone());
        drop(known);
        let name = layer.diff_id.0.hex();
        let Ok(pending) = self.services.store.begin_extracted_layer(name) else { return };
        if let Ok(extracted) = self.extract_into(layer, pending.path(), None) {
            self.known().ahead.insert(layer.diff_id.clone(), Ahead { pending, scanned: extracted.scanned });
        }
    }

    fn extract_into(&self, layer: &StateLayer, path: &Path, below: Option<&View>) -> Result<Extracted, BuildError> {
        if self.keep_blobs {
            self.keep_blob(layer)?;
        }
        let form = Form::Overlay { below, user_xattr: self.form.user_xattr };
        let extracted = extract(self.open_tar(layer)?, path, form, self.form.ownership)
            .map_err(|error| extract_error(layer, error))?;
        check_diff_id(layer, &extracted.scanned)?;
        Ok(extracted)
    }

    /// The directories of `layers` for an overlay, base first; extracts what is missing. Their tables of
    /// contents must be known.
    pub(super) fn lowers(&self, layers: &[StateLayer]) -> Result<Vec<PathBuf>, BuildError> {
        let prefixes = || (1..=layers.len()).map(|n| &layers[..n]);
        let there: Vec<Option<PathBuf>> = prefixes().map(|upto| self.directory(upto)).collect();
        if there.iter().all(Option::is_some) {
            return Ok(there.into_iter().flatten().collect());
        }
        let mut below = View::new();
        let mut places = Vec::with_capacity(layers.len());
        for (upto, directory) in prefixes().zip(there) {
            let Some(top) = upto.last() else { continue };
            places.push((upto, top, directory, below.clone()));
            // Nothing lies above the last.
            if upto.len() < layers.len() {
                below.apply(&top.diff_id, &self.known_toc(top)?.unwrap_or_default());
            }
        }
        let made = in_parallel(&places, AT_A_TIME, |(upto, top, directory, below)| match directory {
            Some(directory) => Ok(directory.clone()),
            None => self.directory_made(upto, top, below),
        });
        made.into_iter().collect()
    }

    fn directory_made(&self, layers: &[StateLayer], top: &StateLayer, below: &View) -> Result<PathBuf, BuildError> {
        let _reading = self.reading.enter(top.diff_id.clone());
        match self.directory(layers) {
            Some(directory) => Ok(directory),
            None => Ok(self.extract_layer(layers, below)?.0),
        }
    }

    fn directory(&self, layers: &[StateLayer]) -> Option<PathBuf> {
        let (chain, top) = (chain_of(layers)?, layers.last()?);
        if let Some(directory) = self.known().directories.get(&chain) {
            return Some(directory.clone());
        }
        let directory = self.intact_directory(&chain, top)?;
        self.note_directory(layers, directory.clone());
        Some(directory)
    }

    /// One that another build left. It is looked over before it is used; a damaged one is thrown away.
    fn intact_directory(&self, chain: &ChainId, top: &StateLayer) -> Option<PathBuf> {
        let id = overlay_name(chain, self.form.user_xattr);
        let stores = [Some(self.services.store), self.services.warm].into_iter().flatten();
        let directories: Vec<PathBuf> = stores.filter_map(|store| store.extracted_layer(&id)).collect();
        if directories.is_empty() {
            return None;
        }
        let toc = self.known_toc(top).ok().flatten()?;
        let intact = directories.into_iter().find(|directory| self.looks_intact(directory, &toc));
        if intact.is_none() {
            self.services.store.discard_extracted_layer(&id);
        }
        intact
    }

    fn looks_intact(&self, directory: &Path, toc: &Toc) -> bool {
        let is_intact = is_intact(directory, toc, self.form.ownership);
        if !is_intact {
            let text = format!("extracted layer {} has changed: extracting it again", directory.display());
            self.services.observer.event(Event::Warning(text));
        }
        is_intact
    }

    /// The caller has entered [`Materials::reading`] for the top of `layers`.
    pub(super) fn extract_layer(&self, layers: &[StateLayer], below: &View) -> Result<(PathBuf, Arc<Toc>), BuildError> {
        let (Some(layer), Some(chain)) = (layers.last(), chain_of(layers)) else {
            return Ok((PathBuf::new(), Arc::default()));
        };
        let id = overlay_name(&chain, self.form.user_xattr);
        let ahead = self.known().ahead.remove(&layer.diff_id);
        let (pending, scanned) = match ahead {
            Some(Ahead { pending, scanned }) => {
                self.settle(layer, pending.path(), &scanned, below)?;
                (pending.renamed(&id)?, scanned)
            }
            None => {
                let pending = self.services.store.begin_extracted_layer(&id)?;
                let extracted = self.extract_into(layer, pending.path(), Some(below))?;
                (pending, extracted.scanned)
            }
        };
        let directory = pending.commit()?;
        self.save_toc(layer, &scanned.toc)?;
        self.note_directory(layers, directory.clone());
        Ok((directory, self.note_toc(layer, scanned.toc)))
    }

    /// What a layer that was extracted alone could not know: how its root looks.
    fn settle(&self, layer: &StateLayer, root: &Path, scanned: &Scanned, below: &View) -> Result<(), BuildError> {
        let mut view = below.clone();
        view.apply(&layer.diff_id, &scanned.toc);
        let Some(node) = view.get(b"") else { return Ok(()) };
        settle_root(root, node, self.form.ownership).map_err(|error| extract_error(layer, error))
    }
}

fn chain_of(layers: &[StateLayer]) -> Option<ChainId> {
    let diff_ids: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    chain_id(&diff_ids)
}

fn extract_error(layer: &StateLayer, source: ExtractError) -> BuildError {
    BuildError::Extract { layer: layer.blob.digest.to_string(), source }
}
