//! Fetches everything that is wanted, once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use yadokari::causes::chain;
use yadokari::digest::DiffId;
use yadokari::image::{Descriptor, ImageConfig, Platform, Reference};
use yadokari::parallel::in_parallel;
use yadokari::plan::ImageRef;
use yadokari::registry::{Client, ClientOptions};
use yadokari::report::{Event, Observer};
use yadokari::store::{Access, Store};

use crate::blobs::Blobs;
use crate::command_line::settings::{client_options, credentials, env};
use crate::command_line::values::Bytes;
use crate::extraction::OverlayForm;
use crate::failure::Failure;
use crate::flags::CommandLine;
use crate::hot::Hot;
use crate::images::Wanted;
use crate::prune::prune;
use crate::stop::Stop;
use crate::warm::{Outcome, WarmError, Warmed, Warmer};

/// Images that are looked at side by side: most are there already, and cost one request.
const IMAGES: usize = 8;

/// What became of the images.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) cached: usize,
    pub(crate) renewed: usize,
    pub(crate) stored: usize,
    pub(crate) failed: usize,
    /// That came from registries.
    pub(crate) fetched_bytes: u64,
    /// From the directory, for `--max-bytes`.
    pub(crate) removed_bytes: u64,
}

impl Tally {
    pub(crate) fn tried(&self) -> usize {
        self.cached + self.renewed + self.stored + self.failed
    }
}

/// Fetches what the command line names. The Dockerfile, the credentials and the directory are
/// looked at anew each time.
pub(crate) fn run(
    line: &CommandLine,
    form: Option<OverlayForm>,
    observer: &Arc<dyn Observer>,
    stop: &Stop,
) -> Result<Tally, Failure> {
    let mut options = client_options(&line.pull, &env)?;
    let hot = hot(line, &mut options, observer.as_ref())?;
    let hot_images = hot.as_ref().map(Hot::images).unwrap_or_default();
    let wanted = Wanted::read(line, &env, &hot_images)?;
    let client = Client::new(options, credentials(env)?)?;
    let store = Arc::new(open_store(&line.cache_dir)?);
    // What is written now is named only when an image is whole: nobody may remove it before.
    let declared = store.declare_build();
    let blobs = Blobs::new(&client, &store, observer.as_ref(), stop, line.force);
    let (ttl, force) = (line.cache_ttl.0, line.force);
    let warmer = Warmer { client: &client, store: &store, observer: observer.as_ref(), blobs, ttl, force };
    let asked_for = line.image.iter().cloned().collect();
    let optional = &hot_images - &asked_for;
    let mut round = Round { warmer, warmed: BTreeMap::new(), failed: BTreeSet::new(), optional };
    round.fetch_images(&wanted)?;
    if let Some(hot) = &hot {
        hot.fetch_records(&round.warmer.blobs, &store, observer);
    }
    if let Some(form) = form {
        round.extract_layers(form);
    }
    round.store_contents();
    drop(declared);
    if stop.is_set() {
        return Err(Failure::Interrupted);
    }
    let mut tally = round.tally();
    if let Some(Bytes(limit)) = line.max_bytes {
        tally.removed_bytes = prune(&store, &round.wanted(), limit, observer.as_ref())?;
    }
    Ok(tally)
}

/// What the cache-server says; where it cannot be asked and there is other work, that is a warning.
fn hot(line: &CommandLine, options: &mut ClientOptions, observer: &dyn Observer) -> Result<Option<Hot>, Failure> {
    let has_more = !line.image.is_empty() || line.dockerfile.is_some();
    match Hot::find(line, options) {
        Err(failure @ (Failure::Registry(_) | Failure::NoHotSet(_))) if has_more => {
            let text = failure.to_string();
            observer.event(Event::Warning(text.trim_start_matches("error: ").trim_end().to_owned()));
            Ok(None)
        }
        found => found,
    }
}

fn open_store(directory: &Path) -> Result<Store, Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
    made.map_err(|source| Failure::Directory { path: directory.into(), source })?;
    Ok(Store::open(directory, Access::ReadWrite)?)
}

struct Round<'a> {
    warmer: Warmer<'a>,
    warmed: BTreeMap<ImageRef, Warmed>,
    failed: BTreeSet<ImageRef>,
    /// Failing to fetch these is no failure: runners want them, but nobody asked for them here.
    optional: BTreeSet<Reference>,
}

impl Round<'_> {
    /// Fetches what is wanted, and what turns out to be wanted on the way.
    fn fetch_images(&mut self, wanted: &Wanted) -> Result<(), Failure> {
        loop {
            let known: BTreeMap<ImageRef, ImageConfig> =
                self.warmed.iter().map(|(image, warmed)| (image.clone(), warmed.config.clone())).collect();
            let is_new = |image: &ImageRef| !self.warmed.contains_key(image) && !self.failed.contains(image);
            let images: Vec<ImageRef> = wanted.images(&known)?.into_iter().filter(is_new).collect();
            if images.is_empty() {
                return Ok(());
            }
            let results = in_parallel(&images, IMAGES, |image| self.warm(image));
            for (image, result) in images.into_iter().zip(results) {
                self.take(image, result);
            }
        }
    }

    fn warm(&self, image: &ImageRef) -> Result<Warmed, WarmError> {
        let warmed = self.warmer.warm(image)?;
        let what = match warmed.outcome {
            Outcome::AlreadyCached => "already cached",
            Outcome::Renewed => "already cached, renewed",
            Outcome::Stored => "stored",
        };
        let text = format!("{} ({}): {what}, {}", image.reference, image.platform, warmed.digest);
        self.warmer.observer.event(Event::Info(text));
        Ok(warmed)
    }

    /// A failure is a warning: the other images are worth having without this one.
    fn take(&mut self, image: ImageRef, result: Result<Warmed, WarmError>) {
        match result {
            Ok(warmed) => drop(self.warmed.insert(image, warmed)),
            Err(error) => self.fail(image, &error),
        }
    }

    fn fail(&mut self, image: ImageRef, error: &WarmError) {
        if !matches!(error, WarmError::Stopped) {
            let text = format!("{} ({}): {}", image.reference, image.platform, chain(error));
            self.warmer.observer.event(Event::Warning(text));
        }
        self.failed.insert(image);
    }

    /// One after the other: images share their lower layers, and each extraction has threads of its own.
    fn extract_layers(&mut self, form: OverlayForm) {
        let extracted = |(image, warmed)| (image, self.warmer.extract_layers(warmed, form));
        let results = self.warmed.iter().map(extracted);
        let failures = results.filter_map(|(image, result): (&ImageRef, _)| Some((image.clone(), result.err()?)));
        let failures: Vec<(ImageRef, WarmError)> = failures.collect();
        for (image, error) in failures {
            self.fail(image, &error);
        }
    }

    /// Makes the tables of contents that are missing: after all downloads, which they would slow down.
    fn store_contents(&mut self) {
        let mut seen = BTreeSet::new();
        let all = self.warmed.iter().flat_map(|(image, warmed)| warmed.layers.iter().map(move |layer| (image, layer)));
        let layers: Vec<(&ImageRef, &(Descriptor, DiffId))> =
            all.filter(|(_, (blob, diff_id))| seen.insert((&blob.digest, diff_id))).collect();
        // Each scan has three threads of its own, of which decompression needs most.
        let workers = available_parallelism().map_or(1, usize::from);
        let results = in_parallel(&layers, workers, |(_, (blob, diff_id))| self.warmer.store_contents(blob, diff_id));
        let failures = layers.into_iter().zip(results).filter_map(|((image, _), result)| Some((image, result.err()?)));
        let failures: Vec<(ImageRef, WarmError)> = failures.map(|(image, error)| (image.clone(), error)).collect();
        for (image, error) in failures {
            self.fail(image, &error);
        }
        self.tell_notices();
    }

    fn tell_notices(&self) {
        let notices = self.warmer.store.take_notices();
        notices.into_iter().for_each(|text| self.warmer.observer.event(Event::Warning(text)));
    }

    /// Names and platforms, also of what could not be fetched this time.
    fn wanted(&self) -> BTreeSet<(String, Option<Platform>)> {
        let all = self.warmed.keys().chain(&self.failed);
        all.map(|image| (image.reference.to_string(), Some(image.platform.clone()))).collect()
    }

    fn tally(&self) -> Tally {
        let good = || self.warmed.iter().filter(|(image, _)| !self.failed.contains(image));
        let count = |outcome| good().filter(|(_, warmed)| warmed.outcome == outcome).count();
        Tally {
            cached: count(Outcome::AlreadyCached),
            renewed: count(Outcome::Renewed),
            stored: count(Outcome::Stored),
            failed: self.failed.iter().filter(|image| !self.optional.contains(&image.reference)).count(),
            fetched_bytes: self.warmer.blobs.fetched_bytes(),
            removed_bytes: 0,
        }
    }
}
