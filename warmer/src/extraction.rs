//! `--extract`: layers as the directories that executors put under an overlay.

use std::path::Path;

use yadokari::digest::{DiffId, chain_id};
use yadokari::extract::{Form, Ownership, extract, is_intact, overlay_name};
use yadokari::image::Descriptor;
use yadokari::layer::{Toc, decompress};
use yadokari::sandbox::{self, Kind, Probe, Requested};
use yadokari::view::View;

use crate::contents::Stoppable;
use crate::failure::Failure;
use crate::warm::{WarmError, Warmed, Warmer};

/// How layers lie on disk for the executors of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverlayForm {
    user_xattr: bool,
    ownership: Ownership,
}

impl OverlayForm {
    /// What an executor would choose here. May execute this program again, inside a user namespace: to be
    /// called while there is one thread.
    ///
    /// # Errors
    /// When an executor would run steps without an overlay.
    pub(crate) fn find() -> Result<Self, Failure> {
        match sandbox::probe(Requested::Auto, true, true)? {
            Probe { kind: Kind::Overlay, .. } => {}
            Probe { kind: Kind::UserNamespace, .. } => drop(sandbox::enter_user_namespace()?),
            Probe { reason, .. } => return Err(Failure::NoOverlay(reason)),
        }
        let ownership = match sandbox::ownership() {
            sandbox::Ownership::Exact => Ownership::Exact,
            sandbox::Ownership::BestEffort => Ownership::BestEffort,
        };
        Ok(Self { user_xattr: sandbox::in_user_namespace(), ownership })
    }
}

impl Warmer<'_> {
    /// Makes sure that the store has the trees of all layers of the image, and their tables of contents.
    pub(crate) fn extract_layers(&self, image: &Warmed, form: OverlayForm) -> Result<(), WarmError> {
        let mut below = View::new();
        let mut diff_ids: Vec<DiffId> = Vec::new();
        for (blob, diff_id) in &image.layers {
            diff_ids.push(diff_id.clone());
            let Some(chain) = chain_id(&diff_ids) else { break };
            let id = overlay_name(&chain, form.user_xattr);
            let Some(toc) = self.extracted(blob, diff_id, &id, &below, form)? else { break };
            below.apply(diff_id, &toc);
        }
        Ok(())
    }

    /// The contents of a layer whose tree is there now; `None` when another process removed its blob.
    fn extracted(
        &self,
        blob: &Descriptor,
        diff_id: &DiffId,
        id: &str,
        below: &View,
        form: OverlayForm,
    ) -> Result<Option<Toc>, WarmError> {
        if let Some(directory) = self.store.extracted_layer(id) {
            self.store_contents(blob, diff_id)?;
            let toc = self.store.toc(diff_id)?.and_then(|bytes| Toc::from_bytes(&bytes).ok());
            match toc {
                Some(toc) if self.looks_right(&directory, &toc, form) => return Ok(Some(toc)),
                _ => self.store.discard_extracted_layer(id),
            }
        }
        self.extract_layer(blob, diff_id, id, below, form)
    }

    /// Looks every file over only when no stored byte is trusted; executors do it before every use.
    fn looks_right(&self, directory: &Path, toc: &Toc, form: OverlayForm) -> bool {
        !self.force || is_intact(directory, toc, form.ownership)
    }

    fn extract_layer(
        &self,
        blob: &Descriptor,
        diff_id: &DiffId,
        id: &str,
        below: &View,
        form: OverlayForm,
    ) -> Result<Option<Toc>, WarmError> {
        let Some(reader) = self.store.open_verified(blob)? else { return Ok(None) };
        let stoppable = Stoppable { reader, stop: self.blobs.stop };
        let tar = decompress(stoppable).map_err(|source| WarmError::Blob { digest: blob.digest.clone(), source })?;
        let pending = self.store.begin_extracted_layer(id)?;
        let overlay = Form::Overlay { below: Some(below), user_xattr: form.user_xattr };
        let extracted = extract(tar, pending.path(), overlay, form.ownership).map_err(|source| {
            let layer = blob.digest.clone();
            if self.blobs.stop.is_set() { WarmError::Stopped } else { WarmError::Extract { layer, source } }
        })?;
        self.save_contents(blob, diff_id, &extracted.scanned)?;
        pending.commit()?;
        Ok(Some(extracted.scanned.toc))
    }
}
