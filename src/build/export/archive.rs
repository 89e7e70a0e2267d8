//! `--tar-path`.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::error::BuildError;
use super::super::materials::Materials;
use super::super::request::Services;
use super::Image;
use crate::image::Reference;

/// Kaniko's name of an image without a destination.
const UNNAMED: &str = "docker.io/unset-repo/unset-image-name:latest";

/// Writes an archive for `docker load`, `podman load` and `skopeo copy docker-archive:`. A new file is there when it is
/// whole. One that is there is written to as it is: it may be a pipe, a device such as `/dev/stdout`, or a mounted file.
///
/// # Source
/// `docker save`: `manifest.json`, `sha256:<config>`, `<hex>.tar.gz` layers, as Kaniko names them.
pub(super) fn write(
    image: &Image,
    path: &Path,
    destinations: &[Reference],
    materials: &Materials<'_>,
    services: &Services<'_>,
) -> Result<(), BuildError> {
    let temporary = path.symlink_metadata().is_err().then(|| partial(path)).transpose()?;
    let filled = fill(image, temporary.as_deref().unwrap_or(path), destinations, materials, services);
    let Some(temporary) = temporary else { return filled };
    super::layout::finish(filled, &temporary, path)
}

fn fill(
    image: &Image,
    place: &Path,
    destinations: &[Reference],
    materials: &Materials<'_>,
    services: &Services<'_>,
) -> Result<(), BuildError> {
    let file = File::create(place).map_err(BuildError::file("create", place))?;
    let failed = |error| BuildError::file("write", place)(error);
    let mut archive = tar::Builder::new(BufWriter::new(file));
    append(&mut archive, &image.manifest.config.digest.to_string(), &image.config_bytes).map_err(failed)?;
    let mut names: Vec<String> = Vec::new();
    for layer in &image.layers {
        let name = format!("{}.tar.gz", layer.blob.digest.hex());
        if !names.contains(&name) {
            materials.keep_blob(layer)?;
            let blob = services.store.blob_path(&layer.blob.digest);
            let blob = File::open(&blob).map_err(BuildError::file("read", &blob))?;
            append_reader(&mut archive, &name, layer.blob.size, blob).map_err(failed)?;
        }
        names.push(name);
    }
    append(&mut archive, "manifest.json", &manifest(image, destinations, &names)).map_err(failed)?;
    archive.into_inner().and_then(|mut writer| writer.flush()).map_err(failed)
}

/// What a file is called until it is whole; its directory is made.
fn partial(path: &Path) -> Result<PathBuf, BuildError> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(BuildError::file("create", parent))?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    Ok(name.into())
}

fn manifest(image: &Image, destinations: &[Reference], layers: &[String]) -> Vec<u8> {
    let mut tags: Vec<String> = destinations.iter().map(ToString::to_string).collect();
    if tags.is_empty() {
        tags.push(UNNAMED.into());
    }
    let config = image.manifest.config.digest.to_string();
    json!([{ "Config": config, "RepoTags": tags, "Layers": layers }]).to_string().into_bytes()
}

fn append<W: Write>(archive: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    append_reader(archive, name, bytes.len() as u64, bytes)
}

fn append_reader<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    size: u64,
    reader: impl Read,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive.append_data(&mut header, name, reader)
}
