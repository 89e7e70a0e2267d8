//! One run: opens what it works with, fetches image after image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use yadokari::image::ImageConfig;
use yadokari::plan::ImageRef;
use yadokari::registry::Client;
use yadokari::report::{Event, Observer};
use yadokari::store::{Access, Store};

use crate::command_line::display;
use crate::command_line::failure::chain;
use crate::command_line::settings::{client_options, credentials, env, usage};
use crate::failure::Failure;
use crate::flags::CommandLine;
use crate::images::Wanted;
use crate::warm::{Outcome, Warmed, Warmer};

/// Carries out the command line.
pub(crate) fn run(line: &CommandLine) -> Result<(), Failure> {
    if line.image.is_empty() && line.dockerfile.is_none() {
        return Err(usage("nothing to fetch: name an --image, or a --dockerfile").into());
    }
    let wanted = Wanted::read(line, &env)?;
    // What is wrong in the Dockerfile comes before anything happens.
    wanted.images(&BTreeMap::new())?;
    let client = Client::new(client_options(&line.pull, &env)?, credentials(&env)?)?;
    let store = open_store(&line.cache_dir)?;
    let observer = display::observer(&line.log, &env);
    let observer = observer.as_ref();
    let warmer = Warmer { client: &client, store: &store, observer, ttl: line.cache_ttl.0, force: line.force };
    warm_all(&wanted, &warmer)
}

fn open_store(directory: &Path) -> Result<Store, Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
    made.map_err(|source| Failure::Directory { path: directory.into(), source })?;
    Ok(Store::open(directory, Access::ReadWrite)?)
}

/// Fetches what is wanted, and what turns out to be wanted on the way. One image after another:
/// they often share layers, which are then fetched once.
fn warm_all(wanted: &Wanted, warmer: &Warmer<'_>) -> Result<(), Failure> {
    let mut warmed: BTreeMap<ImageRef, ImageConfig> = BTreeMap::new();
    let mut tried: BTreeSet<ImageRef> = BTreeSet::new();
    loop {
        let images: Vec<ImageRef> = wanted.images(&warmed)?.difference(&tried).cloned().collect();
        if images.is_empty() {
            return conclude(warmed.len(), tried.len(), warmer.observer);
        }
        for image in images {
            if let Some(config) = warm(&image, warmer) {
                warmed.insert(image.clone(), config);
            }
            tried.insert(image);
        }
    }
}

fn conclude(warmed: usize, tried: usize, observer: &dyn Observer) -> Result<(), Failure> {
    match (warmed, tried) {
        (_, 0) => observer.event(Event::Info("no images to fetch".into())),
        (0, _) => return Err(Failure::NoImage),
        _ => observer.event(Event::Info(format!("{warmed} of {tried} images are in the cache directory"))),
    }
    Ok(())
}

/// A failure is a warning: the other images are worth having without this one.
fn warm(image: &ImageRef, warmer: &Warmer<'_>) -> Option<ImageConfig> {
    let result = warmer.warm(image);
    let name = format!("{} ({})", image.reference, image.platform);
    warmer.store.take_notices().into_iter().for_each(|text| warmer.observer.event(Event::Warning(text)));
    match result {
        Ok(Warmed { digest, config, outcome }) => {
            let what = match outcome {
                Outcome::AlreadyCached => "already cached",
                Outcome::Renewed => "already cached, renewed",
                Outcome::Stored => "stored",
            };
            warmer.observer.event(Event::Info(format!("{name}: {what}, {digest}")));
            Some(config)
        }
        Err(error) => {
            warmer.observer.event(Event::Warning(format!("{name}: {}", chain(&error))));
            None
        }
    }
}
