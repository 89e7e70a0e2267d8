//! Tables of contents of layers: from the stores, from the cache, else from the layers' bytes.

use std::sync::Arc;

use super::error::BuildError;
use super::layers::toc_bytes;
use super::materials::{Materials, check_diff_id, decode_error};
use super::state::{Contents, StateLayer};
use crate::cache::LayerCache as _;
use crate::image::media_type;
use crate::layer::{Toc, scan};
use crate::parallel::in_parallel;
use crate::report::Event;

/// Tables that are asked for side by side, of a registry that is near.
const TOCS: usize = 4;

impl Materials<'_> {
    /// Gets those tables of contents that can be had without the layers, side by side: each may be two requests to a
    /// registry that is far away.
    pub(super) fn ask_for_tocs(&self, layers: &[StateLayer]) -> Result<(), BuildError> {
        let unknown: Vec<&StateLayer> = {
            let known = self.known();
            layers.iter().filter(|layer| !known.tocs.contains_key(&layer.diff_id)).collect()
        };
        let got = in_parallel(&unknown, self.services.registry.in_flight(TOCS), |layer| {
            let _reading = self.reading.enter(layer.diff_id.clone());
            self.known_toc(layer).map(drop)
        });
        got.into_iter().collect()
    }

    /// The table of contents of the top of `layers`; `below` is what lies underneath.
    pub(super) fn toc(&self, layers: &[StateLayer], below: &Contents, for_run: bool) -> Result<Arc<Toc>, BuildError> {
        let Some(layer) = layers.last() else { return Ok(Arc::default()) };
        self.known().layers.insert(layer.diff_id.clone(), layer.clone());
        let _reading = self.reading.enter(layer.diff_id.clone());
        match self.known_toc(layer)? {
            Some(toc) => Ok(toc),
            None if for_run => Ok(self.extract_layer(layers, &below.view)?.1),
            None => Ok(self.note_toc(layer, self.scan_layer(layer)?)),
        }
    }

    /// The table of contents when it can be had without the layer.
    pub(super) fn known_toc(&self, layer: &StateLayer) -> Result<Option<Arc<Toc>>, BuildError> {
        if let Some(toc) = self.known().tocs.get(&layer.diff_id) {
            return Ok(Some(Arc::clone(toc)));
        }
        Ok(self.stored_toc(layer)?.map(|toc| self.note_toc(layer, toc)))
    }

    pub(super) fn note_toc(&self, layer: &StateLayer, toc: Toc) -> Arc<Toc> {
        let toc = Arc::new(toc);
        self.known().tocs.insert(layer.diff_id.clone(), Arc::clone(&toc));
        toc
    }

    /// From the stores, the record, or the cache repository. A damaged one is made again.
    fn stored_toc(&self, layer: &StateLayer) -> Result<Option<Toc>, BuildError> {
        let read = |bytes: Vec<u8>| Toc::from_bytes(&bytes).ok();
        for store in [Some(self.services.store), self.services.warm].into_iter().flatten() {
            if let Some(toc) = store.toc(&layer.diff_id)?.and_then(read) {
                return Ok(Some(toc));
            }
        }
        Ok(self.cached_toc(layer)?.and_then(read))
    }

    fn cached_toc(&self, layer: &StateLayer) -> Result<Option<Vec<u8>>, BuildError> {
        let Some(cache) = self.services.cache else { return Ok(None) };
        let Some(record) = layer.record() else {
            let is_known = self.known().without_toc.contains(&layer.diff_id);
            let toc = if is_known { None } else { cache.layer_toc(&layer.diff_id) };
            if toc.is_none() {
                self.known().without_toc.insert(layer.diff_id.clone());
            }
            return Ok(toc);
        };
        // It can be made again from the layer.
        let lost = |error| {
            let text = format!("the table of contents of layer {} is made again: {error}", layer.blob.digest);
            self.services.observer.event(Event::Debug(text));
        };
        Ok(cache.fetch_toc(record).map_err(lost).ok())
    }

    fn scan_layer(&self, layer: &StateLayer) -> Result<Toc, BuildError> {
        self.keep_blob(layer)?;
        let scanned = scan(self.open_tar(layer)?).map_err(|error| decode_error(layer, error))?;
        check_diff_id(layer, &scanned)?;
        self.save_toc(layer, &scanned.toc)?;
        Ok(scanned.toc)
    }

    /// Keeps the table of contents of a layer. That of a base image's goes to the cache; any other is in its record.
    pub(super) fn save_toc(&self, layer: &StateLayer, toc: &Toc) -> Result<(), BuildError> {
        let descriptor = self.services.store.put_blob(media_type::TOC, &toc_bytes(toc)?)?;
        self.services.store.put_toc(&layer.diff_id, &descriptor)?;
        if layer.record().is_some() || self.known().tocs.contains_key(&layer.diff_id) {
            return Ok(());
        }
        let fault = self.services.cache.and_then(|cache| cache.save_layer_toc(&layer.diff_id, &descriptor).err());
        if let Some(fault) = fault {
            self.services.observer.event(Event::Warning(format!("failed to save a table of contents: {fault}")));
        }
        Ok(())
    }
}
