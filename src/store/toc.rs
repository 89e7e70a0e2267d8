use super::layout::read_small;
use super::{Store, StoreError};
use crate::digest::DiffId;
use crate::image::Descriptor;

/// Largest table of contents that is read, compressed: it is held in memory.
pub const MAX_TOC_BYTES: u64 = 256 << 20;

/// A descriptor file.
const MAX_DESCRIPTOR_BYTES: u64 = 64 << 10;

impl Store {
    /// The table of contents of a layer, as its blob (compressed); `None` when there is none
    /// here, or it is damaged. For layers of images that are not made of records.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn toc(&self, layer: &DiffId) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(descriptor) = self.toc_descriptor(layer)? else { return Ok(None) };
        self.note_use(&self.layout.toc(layer));
        self.read_blob(&descriptor.digest, MAX_TOC_BYTES)
    }

    /// Names the blob that [`Store::toc`] reads. The blob may be gone.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn toc_descriptor(&self, layer: &DiffId) -> Result<Option<Descriptor>, StoreError> {
        let path = self.layout.toc(layer);
        let Some(bytes) = read_small(&path, MAX_DESCRIPTOR_BYTES)? else { return Ok(None) };
        let descriptor = serde_json::from_slice(&bytes);
        if descriptor.is_err() {
            self.notice(format!("{} is damaged and is not used", path.display()));
        }
        Ok(descriptor.ok())
    }

    /// Binds a stored table of contents to its layer. One that is complete stays as it is.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`] when the blob is not stored; [`StoreError::ReadOnly`],
    /// [`StoreError::Io`] and [`StoreError::DiskFull`].
    pub fn put_toc(&self, layer: &DiffId, toc: &Descriptor) -> Result<(), StoreError> {
        let what = format!("table of contents of layer {layer}");
        self.require_writable(&what)?;
        self.require_blob(&what, toc)?;
        if self.toc_descriptor(layer)?.is_some_and(|old| self.has(&old)) {
            return Ok(());
        }
        // Strings and numbers only: nothing can fail.
        let bytes = serde_json::to_vec(toc).unwrap_or_default();
        self.layout.write_file(&what, &self.layout.toc(layer), &bytes)
    }

    pub(super) fn require_blob(&self, what: &str, blob: &Descriptor) -> Result<(), StoreError> {
        if self.has(blob) {
            return Ok(());
        }
        Err(StoreError::MissingBlob { what: what.to_owned(), digest: blob.digest.clone() })
    }
}
