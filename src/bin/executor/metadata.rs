//! `--metadata-file`.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use yadokari::build::{BuildReport, Outputs};

use crate::whole;

/// Why it was not written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write --metadata-file {}", path.display())]
pub(crate) struct MetadataError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Writes what was built, for the next program.
pub(crate) fn write(path: &Path, report: &BuildReport, outputs: &Outputs) -> Result<(), MetadataError> {
    let text = format!("{:#}\n", metadata(report, outputs));
    whole::write(path, &text).map_err(|source| MetadataError { path: path.into(), source })
}

/// # Source
/// buildx, `docs/reference/buildx_build.md`, "Write build result metadata to a file".
fn metadata(report: &BuildReport, outputs: &Outputs) -> Value {
    let mut fields = Map::new();
    fields.insert("containerimage.digest".into(), report.digest.to_string().into());
    fields.insert("containerimage.descriptor".into(), json!(report.descriptor));
    let names: Vec<String> = outputs.destinations.iter().map(ToString::to_string).collect();
    if !names.is_empty() {
        fields.insert("image.name".into(), names.join(",").into());
    }
    let is_one = report.images.len() == 1;
    for image in &report.images {
        let ending = if is_one { String::new() } else { format!("/{}", image.platform) };
        fields.insert(format!("containerimage.config.digest{ending}"), image.config.to_string().into());
        if let Some(provenance) = &image.provenance {
            fields.insert(format!("buildx.build.provenance{ending}"), provenance.clone());
        }
    }
    fields.into()
}
