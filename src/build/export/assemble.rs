use super::super::request::ImageForm;
use super::super::resolve::BaseImages;
use super::super::state::{StageState, StateLayer};
use super::Image;
use crate::image::{Descriptor, History, ImageConfig, Manifest};
use crate::plan::{Base, HistoryEntry, Plan, Stage};

/// BuildKit's mark on history entries.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// What registries accept where a time is missing or beyond the calendar.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Makes the image of the plan's target, whose layers are those of `state`.
///
/// A rebuild from the cache gives the same bytes: times are those of the layers, not of now, or all
/// `time`, in seconds since the epoch.
pub(in super::super) fn assemble(
    plan: &Plan,
    images: &BaseImages,
    state: &StageState,
    time: Option<i64>,
    form: &ImageForm,
) -> Image {
    let time = time.map(rfc3339);
    let target = &plan.stages[plan.target.0];
    let mut config = target.config.clone();
    config.rootfs.diff_ids = state.layers().iter().map(|layer| layer.diff_id.clone()).collect();
    config.history = history(plan, images, state.step_layers(), time.as_ref());
    let last = || config.history.iter().rev().find_map(|entry| entry.created.clone());
    config.created = time.clone().filter(|_| plan.epoch.is_some()).or_else(last);
    let config_bytes = config.to_bytes();
    let manifest = manifest(&config_bytes, state.layers(), form);
    let manifest_bytes = manifest.to_bytes();
    Image { platform: config.platform(), config_bytes, manifest, manifest_bytes, layers: state.layers().to_vec() }
}

fn manifest(config_bytes: &[u8], layers: &[StateLayer], form: &ImageForm) -> Manifest {
    let format = form.format;
    Manifest {
        schema_version: 2,
        media_type: Some(format.manifest().into()),
        artifact_type: None,
        config: Descriptor::of(format.config(), config_bytes),
        layers: layers.iter().map(|layer| layer.descriptor(format)).collect(),
        subject: None,
        annotations: form.annotations.clone(),
    }
}

/// The base image's entries, then one per instruction of the target and the stages below it.
fn history(plan: &Plan, images: &BaseImages, step_layers: &[StateLayer], fixed: Option<&String>) -> Vec<History> {
    // Lowest first.
    let chain: Vec<&Stage> = plan.chain(plan.target).into_iter().rev().map(|stage| &plan.stages[stage.0]).collect();
    let base = chain.first().and_then(|stage| base_config(stage, images));
    let mut history = base.map(|config| config.history.clone()).unwrap_or_default();
    // Entries before the first new layer take that layer's time.
    let first = step_layers.first().and_then(StateLayer::created);
    let mut time = first.map(rfc3339).or_else(|| base.and_then(|config| config.created.clone()));
    let mut layers = step_layers.iter();
    let steps = chain.iter().flat_map(|stage| &stage.history).filter(|entry| entry.step.is_some()).count();
    // Of several steps in one layer, the last has it.
    let mut without_layer = steps.saturating_sub(step_layers.len());
    for entry in chain.iter().flat_map(|stage| &stage.history) {
        let has_layer = entry.step.is_some() && without_layer == 0;
        if has_layer {
            time = layers.next().and_then(StateLayer::created).map(rfc3339).or(time);
        } else if entry.step.is_some() {
            without_layer -= 1;
        }
        let created = fixed.or(time.as_ref()).cloned();
        history.push(history_entry(entry, has_layer, created));
    }
    history
}

/// The author is in the configuration alone, as with BuildKit.
fn history_entry(entry: &HistoryEntry, has_layer: bool, created: Option<String>) -> History {
    History {
        created,
        created_by: Some(entry.created_by.clone()),
        author: None,
        comment: Some(COMMENT.into()),
        empty_layer: !has_layer,
    }
}

fn base_config<'a>(stage: &Stage, images: &'a BaseImages) -> Option<&'a ImageConfig> {
    match &stage.base {
        Base::Image(image) => images.get(image).map(|base| &base.config),
        Base::Scratch | Base::Stage(_) => None,
    }
}

/// Seconds since the epoch as RFC 3339 in UTC.
fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_else(|_| EPOCH.to_owned())
}
