//! From a finished stage to an image, and the image to where it was asked for.

mod archive;
mod assemble;
mod attach;
mod destinations;
mod files;
mod index;
mod layout;
mod push;

use super::error::BuildError;
use super::materials::Materials;
use super::request::{Outputs, Services};
use super::state::StateLayer;
use crate::digest::Digest;
use crate::image::{Manifest, Platform};

pub(super) use assemble::assemble;
pub(super) use attach::{Attachments, Said};
pub(super) use destinations::Destinations;
pub(super) use index::Product;

/// An image ready to be written: documents, and layers that may still be elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) platform: Platform,
    pub(super) config_bytes: Vec<u8>,
    pub(super) manifest: Manifest,
    pub(super) manifest_bytes: Vec<u8>,
    /// Base first, one per manifest layer.
    pub(super) layers: Vec<StateLayer>,
}

impl Image {
    /// Of the manifest.
    pub(super) fn digest(&self) -> Digest {
        Digest::sha256(&self.manifest_bytes)
    }

    /// Sum of the layer blobs in bytes.
    pub(super) fn size_bytes(&self) -> u64 {
        self.manifest.layers.iter().map(|layer| layer.size).sum()
    }
}

/// Writes what was built everywhere it was asked for: files first, so that they exist after a failed
/// push (Kaniko's order). Returns what was written, for display.
pub(super) fn export(
    product: &Product,
    (outputs, destinations): (&Outputs, &Destinations),
    attachments: &Attachments,
    materials: &Materials<'_>,
    services: &Services<'_>,
) -> Result<Vec<String>, BuildError> {
    let mut written = Vec::new();
    files::write(&product.digest(), outputs, services.http)?;
    if let Some(directory) = &outputs.oci_layout {
        layout::write(product, directory, materials, services)?;
        written.push(format!("oci layout {}", directory.display()));
    }
    if let (Some(path), [image]) = (&outputs.tar, product.images()) {
        archive::write(image, path, &outputs.destinations, materials, services)?;
        written.push(format!("archive {}", path.display()));
    }
    if outputs.push {
        for destination in &outputs.destinations {
            let known = destinations.get(destination);
            push::push(product, (destination, known), (outputs, attachments), materials, services)?;
            written.push(format!("{destination}@{}", product.digest()));
        }
        files::write_pushed(&product.digest(), outputs)?;
    }
    Ok(written)
}
