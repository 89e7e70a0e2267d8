//! `--oci-layout-path`.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

use super::super::error::BuildError;
use super::super::materials::Materials;
use super::super::request::Services;
use super::Image;
use crate::image::Descriptor;

/// Writes an OCI image layout with this one image: blobs first, `index.json` last.
///
/// # Source
/// OCI image-spec, `image-layout.md`; Kaniko writes no reference name.
pub(super) fn write(
    image: &Image,
    directory: &Path,
    materials: &Materials<'_>,
    services: &Services<'_>,
) -> Result<(), BuildError> {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(BuildError::file("create", &blobs))?;
    for layer in &image.layers {
        materials.keep_blob(layer)?;
        let from = services.store.blob_path(&layer.blob.digest);
        link_or_copy(&from, &blobs.join(layer.blob.digest.hex()))?;
    }
    write_new(&blobs.join(image.manifest.config.digest.hex()), &image.config_bytes)?;
    write_new(&blobs.join(image.digest().hex()), &image.manifest_bytes)?;
    write_new(&directory.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let entry = Descriptor::of(image.manifest.media_type(), &image.manifest_bytes);
    let index = json!({ "schemaVersion": 2, "mediaType": crate::image::media_type::OCI_INDEX, "manifests": [entry] });
    write_new(&directory.join("index.json"), index.to_string().as_bytes())
}

/// A reader never sees half a file.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let temporary = path.with_extension("partial");
    fs::write(&temporary, bytes).map_err(BuildError::file("write", &temporary))?;
    fs::rename(&temporary, path).map_err(BuildError::file("write", path))
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
    fs::copy(from, &temporary).map_err(BuildError::file("write", &temporary))?;
    fs::rename(&temporary, to).map_err(BuildError::file("write", to))
}
