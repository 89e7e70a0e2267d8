//! What a page about a build tells besides its events.

use std::cmp::Reverse;
use std::time::Duration;

use super::evaluate::Workshop;
use super::export::Image;
use super::request::BuildDetails;
use super::state::StateLayer;
use super::variant::Variant;
use crate::image::ImageConfig;
use crate::layer::{EntryKind, Toc};
use crate::report::LayerDetails;

/// Files that are named of each layer.
const NAMED: usize = 5;

/// Asks the local cache how long steps took when they ran, and for tables of contents where these can be had without
/// their layers.
pub(super) fn details(shop: Workshop<'_>, variants: &[Variant], images: &[Image]) -> BuildDetails {
    let several = images.len() > 1;
    let layers = images.iter().flat_map(|image| image_layers(shop, image, several));
    BuildDetails { saved: saved(shop, variants), layers: layers.collect() }
}

fn saved(shop: Workshop<'_>, variants: &[Variant]) -> Vec<Option<Duration>> {
    let mut saved = Vec::new();
    for variant in variants {
        for (stage, keys) in variant.plan.stages.iter().zip(&variant.keys) {
            for step in &keys.steps {
                let number = shop.progress.number(&stage.name, &step.keyed.key);
                let known = shop.records.look_up_local(&step.keyed.key);
                let took = known.map(|hit| Duration::from_millis(hit.record.duration_ms));
                saved.resize(saved.len().max(number + 1), None);
                saved[number] = took.filter(|took| !took.is_zero());
            }
        }
    }
    saved
}

fn image_layers(shop: Workshop<'_>, image: &Image, several: bool) -> Vec<LayerDetails> {
    let config: Option<ImageConfig> = serde_json::from_slice(&image.config_bytes).ok();
    let history = config.map(|config| config.history).unwrap_or_default();
    let mut made_by = history.into_iter().filter(|entry| !entry.empty_layer).map(|entry| entry.created_by);
    let platform = several.then(|| image.platform.to_string());
    let layer = |layer: &StateLayer| {
        let toc = shop.materials.known_toc(layer).ok().flatten();
        LayerDetails {
            platform: platform.clone(),
            created_by: made_by.next().flatten().unwrap_or_default(),
            bytes: layer.blob.size,
            files: toc.as_ref().map(|toc| files(toc).count()),
            largest: toc.as_ref().map(|toc| largest(toc)).unwrap_or_default(),
        }
    };
    image.layers.iter().map(layer).collect()
}

fn files(toc: &Toc) -> impl Iterator<Item = (&[u8], u64)> {
    toc.entries.iter().filter_map(|entry| match entry.kind {
        EntryKind::File { size, .. } => Some((entry.path.as_slice(), size)),
        _ => None,
    })
}

fn largest(toc: &Toc) -> Vec<(String, u64)> {
    let mut all: Vec<(&[u8], u64)> = files(toc).collect();
    let by_size = |(path, size): &(&[u8], u64)| (Reverse(*size), path.to_vec());
    if all.len() > NAMED {
        all.select_nth_unstable_by_key(NAMED, |(_, size)| Reverse(*size));
        all.truncate(NAMED);
    }
    all.sort_by_key(by_size);
    all.into_iter().map(|(path, size)| (format!("/{}", String::from_utf8_lossy(path)), size)).collect()
}
