//! The scheduler: hit or run, assemble, export. Only this module knows all others.

mod advice;
mod behind;
mod check;
pub mod copy;
mod describe;
mod details;
mod dry_run;
mod error;
mod evaluate;
mod explain;
mod export;
mod extraction;
mod failure;
mod flights;
mod inputs;
mod jobs;
mod keys;
mod layers;
mod layouts;
mod made;
mod materials;
mod members;
mod progress;
mod records;
mod remembered;
mod request;
mod resolve;
mod rewrite;
mod run;
mod single;
mod sources;
mod state;
mod tables;
mod trees;
mod turn;
mod variant;
mod warmed;
mod written;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use check::{CheckReport, CheckRequest, check};
pub use dry_run::{PlannedStage, PlannedStep, dry_run};
pub use error::BuildError;
pub use layouts::{ImageLayouts, LayoutError, LayoutFault};
pub use request::{
    Attestations, BuildDetails, BuildReport, BuildRequest, BuiltImage, Caching, DockerfileText, ImageForm, Outputs,
    ProvenanceOptions, SandboxChoice, Secret, Services,
};
pub use run::{RemoteMounts, RemoteMountsOptions};

use crate::cache::LayerCache as _;
use crate::causes::chain;
use crate::image::Platform;
use crate::image::media_type::Compression;
use crate::layer::LayerCompression;
use crate::parallel::beside;
use crate::plan::Plan;
use crate::registry::Traffic;
use crate::report::{Event, Observer, Summary};
use evaluate::Workshop;
use export::{Attachments, Destinations, Image, Product};
use extraction::OverlayForm;
use failure::Failure;
use jobs::Jobs;
use made::MadeSteps;
use materials::Materials;
use progress::Progress;
use records::Records;
use resolve::BaseImages;
use rewrite::rewrite;
use run::Rooms;
use sources::Remotes;
use state::StageState;
use variant::Variant;

/// Builds an image and writes it where it was asked for.
///
/// Blobs and records that were finished before an error stay in the store: the next build goes
/// on from them.
///
/// # Errors
/// See [`BuildError`]; nothing was pushed then, and nothing half-written has a final name.
pub fn build(request: &BuildRequest, services: &Services<'_>) -> Result<BuildReport, BuildError> {
    loop {
        match carry_out(request, services) {
            Err(error) if may_do_without(&error, services) => {}
            done => return done.map_err(|error| error.located(&request.dockerfile.bytes)),
        }
    }
}

/// Whether the build failed for a layer that a cache said to have. Then that is a miss, and all starts
/// again: what was made so far is in the store.
fn may_do_without(error: &BuildError, services: &Services<'_>) -> bool {
    let (Some(cache), Some(layer)) = (services.cache, error.lost_layer()) else { return false };
    let may = cache.give_up(&layer) && services.sandbox.cancel.go_on();
    if may {
        let text = format!("the cache has no usable layer {layer}, its step is done again: {}", chain(error));
        services.observer.event(Event::Warning(text));
    }
    may
}

fn carry_out(request: &BuildRequest, services: &Services<'_>) -> Result<BuildReport, BuildError> {
    let (started, started_at) = (Instant::now(), jiff::Timestamp::now());
    let traffic = services.registry.traffic();
    let mut clock = Clock { observer: services.observer, since: started };
    let Resolved { destinations, plans, images } = resolved(request, services)?;
    clock.phase("resolve");
    let git_environment = services.git_environment.to_vec();
    let remotes = Remotes::new(services.http.clone(), git_environment, services.work, request.secrets.clone());
    let salt = salt(request);
    let variants = variant::with_keys(plans, &images, services, &remotes, &salt)?;
    clock.phase("keys");
    let form = OverlayForm::current();
    let keep_blobs = request.outputs.tar.is_some() || request.outputs.oci_layout.is_some();
    let shop = Workshop {
        request,
        salt: &salt,
        services,
        images: &images,
        materials: &Materials::new(services, form, keep_blobs, request.compression),
        records: &Records::new(services, &request.caching),
        progress: &Progress::new(&variants, services.observer),
        remotes: &remotes,
        rooms: &Rooms::new(services.sandbox, form, services.work),
        made: &MadeSteps::default(),
        jobs: &Jobs::new(request.jobs),
        failure: &Failure::new(&services.sandbox.cancel),
    };
    let states = states(shop, &variants)?;
    let product = product(shop, &variants, &states)?;
    clock.phase("steps");
    let attachments = describe::attachments(shop, &variants, &states, &product, started_at)?;
    if let Some(mounts) = services.cache_mounts {
        mounts.start_saving();
    }
    let outputs = export::export(&product, (&request.outputs, &destinations), &attachments, shop.materials, services)?;
    clock.phase("export");
    finish_uploads(services);
    clock.phase("cache upload");
    advice::advise(&variants, shop.progress, shop.records, services);
    let traffic = services.registry.traffic().since(traffic);
    let summary = summary(&product, outputs, shop.progress.counts(), traffic, started.elapsed());
    services.observer.event(Event::Finished(summary));
    let details = request.details.then(|| details::details(shop, &variants, product.images()));
    Ok(BuildReport { details, ..report(&product, &attachments) })
}

/// What a build begins with.
struct Resolved {
    destinations: Destinations,
    /// Of each platform.
    plans: Vec<(Platform, Plan)>,
    images: BaseImages,
}

/// Plans, and looks at what the destinations have; registries are asked for both at once.
fn resolved(request: &BuildRequest, services: &Services<'_>) -> Result<Resolved, BuildError> {
    if request.outputs.tar.is_some() && request.platforms.len() > 1 {
        return Err(BuildError::ArchiveOfSeveral { platforms: request.platforms.len() });
    }
    let dockerfile = crate::dockerfile::parse(&request.dockerfile.bytes)?;
    if let Some(cache) = services.cache {
        cache.prepare();
    }
    let (destinations, planned) = beside(
        || Destinations::look(&request.outputs, services.registry),
        || variant::plan(&dockerfile, request, services),
    );
    let (destinations, (plans, images)) = (destinations?, planned?);
    Ok(Resolved { destinations, plans, images })
}

/// What the targets came to, of all platforms.
fn states<'a>(shop: Workshop<'a>, variants: &'a [Variant]) -> Result<Vec<Arc<StageState>>, BuildError> {
    let states = variant::evaluate(variants, shop).map_err(|error| shop.failure.take(error))?;
    shop.images.values().filter_map(|base| base.unsaved.as_ref()).for_each(|unsaved| unsaved.save(shop.services));
    if let (true, Some(state)) = (shop.request.materialize, states.first()) {
        shop.rooms.materialize(state, shop.materials)?;
    }
    Ok(states)
}

/// What there is to say at the end; of the steps, how many were found and how many ran.
fn summary(
    product: &Product,
    outputs: Vec<String>,
    (cached_steps, run_steps): (usize, usize),
    traffic: Traffic,
    took: Duration,
) -> Summary {
    Summary {
        digest: product.digest(),
        image_bytes: product.images().iter().map(Image::size_bytes).sum(),
        layers: product.images().iter().map(|image| image.layers.len()).sum(),
        outputs,
        cached_steps,
        run_steps,
        requests: traffic.requests,
        round_trips: traffic.round_trips,
        took,
    }
}

/// The images of all platforms.
fn product(shop: Workshop<'_>, variants: &[Variant], states: &[Arc<StageState>]) -> Result<Product, BuildError> {
    let images = variants.iter().zip(states).map(|(variant, state)| assembled(shop, variant, state));
    Ok(Product::new(images.collect::<Result<_, BuildError>>()?, shop.request.index, shop.request.form.format))
}

/// The image of a platform, with what was asked of its layers as a whole.
fn assembled(shop: Workshop<'_>, variant: &Variant, state: &StageState) -> Result<Image, BuildError> {
    let Workshop { request, services, images, materials, records, .. } = shop;
    let epoch = variant.epoch(services);
    let state = match request.single_layer {
        true => &single::merge(state, materials, records, services)?,
        false => state,
    };
    let state = match epoch.filter(|_| request.rewrite_times) {
        Some(epoch) => &rewrite(state, epoch, materials, records, services)?,
        None => state,
    };
    let time = epoch.or(request.reproducible.then_some(0));
    Ok(export::assemble(&variant.plan, images, state, time, &request.form))
}

fn report(product: &Product, attachments: &Attachments) -> BuildReport {
    let (of_index, of_images) = attachments.provenance();
    let image = |(image, provenance): (&Image, Option<&serde_json::Value>)| BuiltImage {
        platform: image.platform.clone(),
        digest: image.digest(),
        config: image.manifest.config.digest.clone(),
        provenance: provenance.cloned(),
    };
    BuildReport {
        digest: product.digest(),
        descriptor: product.descriptor(),
        images: product.images().iter().zip(of_images).map(image).collect(),
        provenance: of_index.cloned(),
        details: None,
    }
}

/// Layers whose times are the epoch's, or that are compressed in another way, must not be taken for others.
fn salt(request: &BuildRequest) -> String {
    let mut salt = request.caching.salt.clone();
    if request.reproducible {
        salt.push_str("\0reproducible");
    }
    let LayerCompression { compression, level } = request.compression;
    if (compression, level) != (Compression::Gzip, None) {
        salt.push_str(&format!("\0{compression:?} {level:?}"));
    }
    salt
}

/// The export has waited for the blobs that it mounts; what is left are records.
fn finish_uploads(services: &Services<'_>) {
    if let Some(cache) = services.cache {
        cache.finish();
    }
}

/// Tells the observer where the time went.
struct Clock<'a> {
    observer: &'a dyn Observer,
    since: Instant,
}

impl Clock<'_> {
    fn phase(&mut self, name: &'static str) {
        let took = self.since.elapsed();
        self.since = Instant::now();
        self.observer.event(Event::Phase { name, took });
    }
}
