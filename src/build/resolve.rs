//! From a Dockerfile to a plan: resolves base images as the plan asks for them.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use super::error::{BuildError, check_layers};
use super::remembered::{self, Unsaved};
use super::request::Services;
use super::state::{Origin, StateLayer};
use super::warmed;
use crate::causes::chain;
use crate::digest::Digest;
use crate::dockerfile::Dockerfile;
use crate::dockerfile::lint::Warning;
use crate::image::{ImageConfig, Manifest, Platform};
use crate::plan::{Evaluation, Graph, ImageRef, Plan, PlanOptions};
use crate::registry::RegistryError;
use crate::report::Event;

/// A base image for one platform, with its layers.
#[derive(Debug, Clone)]
pub(super) struct BaseImage {
    /// Of its manifest, where it is known.
    pub(super) digest: Option<Digest>,
    pub(super) config: ImageConfig,
    /// Base first.
    pub(super) layers: Vec<StateLayer>,
    /// What caches should remember of it.
    pub(super) unsaved: Option<Unsaved>,
}

/// The base images of all plans of a build.
pub(super) type BaseImages = BTreeMap<ImageRef, BaseImage>;

/// Plans the build. ONBUILD triggers of base images can ask for more images, so planning
/// and resolving take turns. What `images` has is not resolved again; it gets what is missing.
/// `warnings` get what is bad style in the stages that are built.
pub(super) fn plan(
    dockerfile: &Dockerfile,
    options: &PlanOptions,
    services: &Services<'_>,
    images: &mut BaseImages,
    warnings: &mut Vec<Warning>,
) -> Result<Plan, BuildError> {
    let graph = Graph::new(dockerfile, options)?;
    let mut wanted = graph.images().clone();
    loop {
        resolve_all(&wanted, services, images).map_err(|error| mentioned(error, &graph, &wanted))?;
        let configs = images.iter().map(|(image, base)| (image.clone(), base.config.clone())).collect();
        match graph.evaluate(&configs, warnings)? {
            Evaluation::Ready(plan) => return Ok(plan),
            Evaluation::NeedsImages(more) => wanted = more,
        }
    }
}

/// Resolves side by side what is not there yet.
fn resolve_all(
    wanted: &BTreeSet<ImageRef>,
    services: &Services<'_>,
    images: &mut BaseImages,
) -> Result<(), BuildError> {
    let missing: Vec<&ImageRef> = wanted.iter().filter(|image| !images.contains_key(*image)).collect();
    let resolved: Vec<Result<BaseImage, BuildError>> = match missing.as_slice() {
        [one] => vec![resolve(one, services)],
        several => thread::scope(|scope| {
            let running: Vec<_> = several.iter().map(|image| scope.spawn(|| resolve(image, services))).collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        }),
    };
    for (image, base) in missing.into_iter().zip(resolved) {
        images.insert(image.clone(), base?);
    }
    Ok(())
}

/// An image in the cache directory spares the question to the registry as long as it counts, and
/// stands in for it when there is no answer.
fn resolve(image: &ImageRef, services: &Services<'_>) -> Result<BaseImage, BuildError> {
    if let Some(layout) = services.layouts.get(&image.reference) {
        let (manifest, config) = layout.image(&image.platform)?;
        check_platform(&layout.address, &image.platform, &config, services);
        return base_image(&layout.address, config, &manifest, &Origin::Layout);
    }
    let name = image.reference.to_string();
    let warmed = warmed::find(image, services)?;
    let found = match warmed {
        Some(warmed) if warmed.counts(image, services) => {
            services.observer.event(Event::Debug(format!("{name}: taken from the cache directory")));
            return warmed.into_base(image, services);
        }
        warmed => (remembered::resolve(image, services), warmed),
    };
    match found {
        (Ok((found, unsaved)), _) => {
            check_platform(&name, &image.platform, &found.config, services);
            let base = base_image(&name, found.config, &found.manifest, &Origin::Image(found.source))?;
            Ok(BaseImage { unsaved, ..base })
        }
        (Err(error), Some(warmed)) => {
            let text = format!("{}; taking {name} from the cache directory, {}", chain(&error), warmed.age_text());
            services.observer.event(Event::Warning(text));
            warmed.into_base(image, services)
        }
        (Err(error), None) => Err(resolve_error(name, error)),
    }
}

/// An image that is for one platform only is taken as it is.
///
/// # Source
/// BuildKit: the lint `InvalidBaseImagePlatform`.
pub(super) fn check_platform(name: &str, wanted: &Platform, config: &ImageConfig, services: &Services<'_>) {
    let found = config.platform();
    let names_one = !config.os.is_empty() && !config.architecture.is_empty();
    if names_one && wanted.rank(&found).is_none() {
        let text = format!("base image {name} is for {found} only, but {wanted} was wanted: taking it as it is");
        services.observer.event(Event::Warning(text));
    }
}

fn resolve_error(image: String, source: RegistryError) -> BuildError {
    BuildError::Resolve { image, mention: None, source }
}

/// The error with the place where the Dockerfile names the image.
fn mentioned(error: BuildError, graph: &Graph<'_>, wanted: &BTreeSet<ImageRef>) -> BuildError {
    let BuildError::Resolve { image, source, .. } = error else { return error };
    let named = wanted.iter().find(|wanted| wanted.reference.to_string() == image);
    let mention = named.and_then(|named| graph.mention(named)).map(Box::new);
    BuildError::Resolve { image, mention, source }
}

pub(super) fn base_image(
    name: &str,
    config: ImageConfig,
    manifest: &Manifest,
    origin: &Origin,
) -> Result<BaseImage, BuildError> {
    check_layers(name, &config, manifest.layers.len())?;
    let layers = manifest.layers.iter().zip(&config.rootfs.diff_ids).map(|(blob, diff_id)| StateLayer {
        diff_id: diff_id.clone(),
        blob: blob.clone(),
        origin: origin.clone(),
    });
    let digest = match origin {
        Origin::Image(reference) => reference.digest().cloned(),
        _ => None,
    };
    Ok(BaseImage { digest, layers: layers.collect(), config, unsaved: None })
}
