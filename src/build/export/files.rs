//! `--digest-file` and its relatives.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde_json::json;

use super::super::error::BuildError;
use super::super::request::Outputs;
use crate::digest::Digest;
use crate::image::Reference;

/// Writes the files that pipelines read the image's name from.
///
/// # Source
/// Kaniko: the digest without a newline; names one per line, Docker Hub as `index.docker.io`; when
/// both name files are asked for, both hold the tag. Parents are 0700, files 0644; a URL gets a PUT.
pub(super) fn write(digest: &Digest, outputs: &Outputs, http: &ureq::Agent) -> Result<(), BuildError> {
    let digest = digest.to_string();
    let with_tag = outputs.name_tag_with_digest_file.is_some();
    let names: String =
        outputs.destinations.iter().map(|name| format!("{}@{digest}\n", display_name(name, with_tag))).collect();
    if let Some(path) = &outputs.digest_file {
        deliver(path, &digest, http)?;
    }
    for path in [&outputs.name_with_digest_file, &outputs.name_tag_with_digest_file].into_iter().flatten() {
        deliver(path, &names, http)?;
    }
    Ok(())
}

/// Tells which names were pushed.
///
/// # Source
/// Kaniko, `writeImageOutputs`.
pub(super) fn write_pushed(digest: &Digest, outputs: &Outputs) -> Result<(), BuildError> {
    let Some(directory) = &outputs.images_directory else { return Ok(()) };
    let digest = digest.to_string();
    let line = |name: &Reference| json!({ "name": name.to_string(), "digest": digest }).to_string() + "\n";
    write_file(&directory.join("images"), &outputs.destinations.iter().map(line).collect::<String>())
}

fn display_name(name: &Reference, with_tag: bool) -> String {
    let registry = if name.registry() == "docker.io" { "index.docker.io" } else { name.registry() };
    let tag = name.tag().filter(|_| with_tag).map(|tag| format!(":{tag}")).unwrap_or_default();
    format!("{registry}/{}{tag}", name.repository())
}

/// To a file, or by PUT to a URL, such as one that an object store has signed.
fn deliver(to: &Path, text: &str, http: &ureq::Agent) -> Result<(), BuildError> {
    match to.to_str().filter(|url| url.starts_with("https://") || url.starts_with("http://")) {
        None => write_file(to, text),
        Some(url) => {
            let sent = http.put(url).header("content-type", "text/plain").send(text);
            let place = url.split_once('?').map_or(url, |(place, _)| place);
            sent.map(drop).map_err(|error| BuildError::Upload { place: place.to_owned(), reason: error.to_string() })
        }
    }
}

/// Not by rename: the path may be a device or a mounted file, such as a Pod's termination log.
fn write_file(path: &Path, text: &str) -> Result<(), BuildError> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(BuildError::file("create", parent))?;
    }
    fs::write(path, text).map_err(BuildError::file("write", path))
}
