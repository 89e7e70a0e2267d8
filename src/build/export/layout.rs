//! `--oci-layout-path`.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

use super::super::error::BuildError;
use super::super::materials::Materials;
use super::super::request::Services;
use super::{Image, Product};
use crate::image::media_type;

/// Writes an OCI image layout with this one image or index: blobs first, `index.json` last.
///
/// # Source
/// OCI image-spec, `image-layout.md`; BuildKit's `index.json` lists the index of several platforms,
/// not its manifests; Kaniko writes no reference name.
pub(super) fn write(
    product: &Product,
    directory: &Path,
    materials: &Materials<'_>,
    services: &Services<'_>,
) -> Result<(), BuildError> {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(BuildError::file("create", &blobs))?;
    for image in product.images() {
        write_image(image, &blobs, materials, services)?;
    }
    write_new(&blobs.join(product.digest().hex()), product.bytes())?;
    write_new(&directory.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [product.descriptor()] });
    write_new(&directory.join("index.json"), index.to_string().as_bytes())
}

fn write_image(
    image: &Image,
    blobs: &Path,
    materials: &Materials<'_>,
    services: &Services<'_>,
) -> Result<(), BuildError> {
    for layer in &image.layers {
        materials.keep_blob(layer)?;
        let from = services.store.blob_path(&layer.blob.digest);
        link_or_copy(&from, &blobs.join(layer.blob.digest.hex()))?;
    }
    write_new(&blobs.join(image.manifest.config.digest.hex()), &image.config_bytes)?;
    write_new(&blobs.join(image.digest().hex()), &image.manifest_bytes)
}

/// A reader never sees half a file.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let temporary = path.with_extension("partial");
    let written = fs::write(&temporary, bytes).map_err(BuildError::file("write", &temporary));
    finish(written, &temporary, path)
}

/// Gives what was written its name; what could not be, on a full disk, takes no more room there.
pub(super) fn finish(written: Result<(), BuildError>, temporary: &Path, path: &Path) -> Result<(), BuildError> {
    let renamed = written.and_then(|()| fs::rename(temporary, path).map_err(BuildError::file("write", path)));
    renamed.inspect_err(|_| {
        // It may not be there.
        let _ = fs::remove_file(temporary);
    })
}

/// Blobs never change, so a second name is as good as a copy, where the file system allows it.
fn link_or_copy(from: &Path, to: &Path) -> Result<(), BuildError> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => copy(from, to),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), BuildError> {
    let temporary = to.with_extension("partial");
    let written = fs::copy(from, &temporary).map(drop).map_err(BuildError::file("write", &temporary));
    finish(written, &temporary, to)
}
