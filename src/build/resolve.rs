//! From a Dockerfile to a plan: resolves base images as the plan asks for them.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::SystemTime;

use super::error::{BuildError, check_layers};
use super::request::Services;
use super::state::{Origin, StateLayer};
use crate::dockerfile::Dockerfile;
use crate::dockerfile::lint::Warning;
use crate::image::{Document, ImageConfig, Manifest, Platform};
use crate::plan::{Evaluation, Graph, ImageRef, Plan, PlanOptions};
use crate::registry::RegistryError;
use crate::report::Event;
use crate::store::Store;

/// Larger manifests and configurations are not read, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;

/// A base image for one platform, with its layers.
#[derive(Debug, Clone)]
pub(super) struct BaseImage {
    pub(super) config: ImageConfig,
    /// Base first.
    pub(super) layers: Vec<StateLayer>,
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
        resolve_all(&wanted, services, images)?;
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

/// Asks the registry; a warmed image stands in when it does not answer.
fn resolve(image: &ImageRef, services: &Services<'_>) -> Result<BaseImage, BuildError> {
    if let Some(layout) = services.layouts.get(&image.reference) {
        let (manifest, config) = layout.image(&image.platform)?;
        check_platform(&layout.address, &image.platform, &config, services);
        return base_image(&layout.address, config, &manifest, &Origin::Layout);
    }
    let name = image.reference.to_string();
    match services.registry.resolve_image(&image.reference, &image.platform) {
        Ok(found) => {
            check_platform(&name, &image.platform, &found.config, services);
            base_image(&name, found.config, &found.manifest, &Origin::Image(found.source))
        }
        Err(error) => match warmed(image, services)? {
            Some(base) => {
                let text = format!("{}; taking the image that was warmed into the cache directory", chain(&error));
                services.observer.event(Event::Warning(text));
                Ok(base)
            }
            None => Err(resolve_error(name, error)),
        },
    }
}

/// An image that is for one platform only is taken as it is.
///
/// # Source
/// BuildKit: the lint `InvalidBaseImagePlatform`.
fn check_platform(name: &str, wanted: &Platform, config: &ImageConfig, services: &Services<'_>) {
    let found = config.platform();
    let names_one = !config.os.is_empty() && !config.architecture.is_empty();
    if names_one && wanted.rank(&found).is_none() {
        let text = format!("base image {name} is for {found} only, but {wanted} was wanted: taking it as it is");
        services.observer.event(Event::Warning(text));
    }
}

fn resolve_error(image: String, source: RegistryError) -> BuildError {
    BuildError::Resolve { image, source }
}

fn base_image(name: &str, config: ImageConfig, manifest: &Manifest, origin: &Origin) -> Result<BaseImage, BuildError> {
    check_layers(name, &config, manifest.layers.len())?;
    let layers = manifest.layers.iter().zip(&config.rootfs.diff_ids).map(|(blob, diff_id)| StateLayer {
        diff_id: diff_id.clone(),
        blob: blob.clone(),
        origin: origin.clone(),
    });
    Ok(BaseImage { layers: layers.collect(), config })
}

/// The error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The image from the local layout, when it is there, whole and not older than the TTL.
fn warmed(image: &ImageRef, services: &Services<'_>) -> Result<Option<BaseImage>, BuildError> {
    for store in [Some(services.store), services.warm].into_iter().flatten() {
        if let Some(base) = warmed_in(store, image, services)? {
            return Ok(Some(base));
        }
    }
    Ok(None)
}

fn warmed_in(store: &Store, image: &ImageRef, services: &Services<'_>) -> Result<Option<BaseImage>, BuildError> {
    let name = image.reference.to_string();
    let Some((descriptor, modified)) = store.named_image(&name, Some(&image.platform))? else { return Ok(None) };
    let age = SystemTime::now().duration_since(modified).unwrap_or_default();
    if image.reference.digest().is_none() && age > services.warm_ttl {
        return Ok(None);
    }
    let Some(bytes) = store.read_blob(&descriptor.digest, MAX_DOCUMENT)? else { return Ok(None) };
    let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, Some(&descriptor.media_type)) else {
        return Ok(None);
    };
    let Some(bytes) = store.read_blob(&manifest.config.digest, MAX_DOCUMENT)? else { return Ok(None) };
    let Ok(config) = serde_json::from_slice::<ImageConfig>(&bytes) else { return Ok(None) };
    base_image(&name, config, &manifest, &Origin::Image(image.reference.clone())).map(Some)
}
