use std::io::{self, Read};
use std::sync::Arc;

use super::{CacheError, Hit, LayerCache, LocalCache, Record};
use crate::digest::DiffId;
use crate::image::Descriptor;
use crate::key::CacheKey;
use crate::store::Store;

/// Another directory as a cache: `--cache-repo oci:/path`. It has the form of the local store.
pub struct LayoutCache {
    layout: LocalCache,
    source: Arc<Store>,
}

impl LayoutCache {
    /// Over the store of `layout`. Blobs to save are copied from `source`.
    pub fn new(layout: LocalCache, source: Arc<Store>) -> Self {
        Self { layout, source }
    }

    fn copy(&self, blob: &Descriptor) -> Result<(), CacheError> {
        let to = self.layout.store();
        if to.has(blob) {
            return Ok(());
        }
        let digest = || blob.digest.clone();
        let mut reader = self.source.open_verified(blob)?.ok_or_else(|| CacheError::NotStored(digest()))?;
        let mut writer = to.blob_writer_for(blob)?;
        io::copy(&mut reader, &mut writer).map_err(|source| CacheError::Read { digest: digest(), source })?;
        Ok(writer.commit_as(blob)?)
    }
}

impl LayerCache for LayoutCache {
    fn look_up(&self, keys: &[CacheKey]) -> Vec<Option<Hit>> {
        self.layout.look_up(keys)
    }

    fn all_records(&self, limit: usize) -> Vec<Record> {
        self.layout.all_records(limit)
    }

    fn save(&self, record: &Record) -> Result<(), CacheError> {
        record.blobs().try_for_each(|blob| self.copy(blob))?;
        self.layout.save(record)
    }

    fn layer_toc(&self, layer: &DiffId) -> Option<Vec<u8>> {
        self.layout.layer_toc(layer)
    }

    fn save_layer_toc(&self, layer: &DiffId, toc: &Descriptor) -> Result<(), CacheError> {
        self.copy(toc)?;
        self.layout.save_layer_toc(layer, toc)
    }

    fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + Send>>, CacheError> {
        if self.layout.store().has(blob) { self.layout.open(blob) } else { Ok(None) }
    }
}
