//! Pushes an image: only what the registry lacks, by mount where it has it elsewhere.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Mutex;
use std::thread;

use super::super::error::BuildError;
use super::super::materials::Materials;
use super::super::request::{Attestations, Outputs, Services};
use super::super::state::{Origin, StateLayer};
use super::attach::attach;
use super::{Image, Product};
use crate::digest::Digest;
use crate::image::{Descriptor, Reference};
use crate::registry::{Purpose, RegistryError};
use crate::report::{Direction, Event, Transfer};

/// Blobs that are checked and uploaded side by side.
const JOBS: usize = 8;

/// One destination.
struct Push<'a> {
    product: &'a Product,
    destination: &'a Reference,
    materials: &'a Materials<'a>,
    attestations: &'a Attestations,
    services: &'a Services<'a>,
}

/// Pushes blobs, then manifests, then the index when there is one, then what is attached; the name comes last. When the
/// destination names this very document already, only what is attached to it may be missing.
pub(super) fn push(
    product: &Product,
    destination: &Reference,
    outputs: &Outputs,
    materials: &Materials<'_>,
    services: &Services<'_>,
) -> Result<(), BuildError> {
    let push = Push { product, destination, materials, attestations: &outputs.attestations, services };
    let mut attempt = 0;
    loop {
        match push.once() {
            Err(BuildError::Push { source, .. }) if outputs.ignore_immutable_tags && source.is_immutable_tag() => {
                services.observer.event(Event::Warning(format!("{destination} stays as it is: {}", source.fault)));
                return Ok(());
            }
            Err(BuildError::Push { source, .. }) if attempt < outputs.push_retries && source.is_transient() => {
                services
                    .observer
                    .event(Event::Warning(format!("push to {destination} failed, trying again: {source}")));
                thread::sleep(std::time::Duration::from_secs(1 << attempt.min(6)));
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// Asks each repository once whether a push will be allowed, before hours go into a build.
///
/// # Source
/// Kaniko, `CheckPushPermissions`.
pub(in super::super) fn check_push(outputs: &Outputs, services: &Services<'_>) -> Result<(), BuildError> {
    if !outputs.push || outputs.skip_push_check {
        return Ok(());
    }
    let mut asked = BTreeSet::new();
    for destination in outputs.destinations.iter().filter(|destination| asked.insert(destination.name())) {
        let refused = |source| BuildError::PushCheck { destination: destination.to_string(), source };
        services.registry.check_push(destination).map_err(refused)?;
    }
    Ok(())
}

impl Push<'_> {
    fn once(&self) -> Result<(), BuildError> {
        let digest = self.product.digest();
        let is_named = self.names(self.destination)?.is_some_and(|there| there.digest == digest);
        let by_digest = self.destination.with_digest(digest);
        // A registry that has the document has what it names: only the tag is missing.
        let is_there = is_named || self.names(&by_digest)?.is_some();
        if !is_there {
            match self.product {
                Product::Image(image) => self.push_blobs(image)?,
                Product::Index { images, .. } => images.iter().try_for_each(|image| self.push_entry(image))?,
            }
        }
        if self.attestations.is_some() {
            // Whoever finds the name finds the signature.
            if !is_there {
                self.push_document(&by_digest, self.product.media_type(), self.product.bytes())?;
            }
            attach(self.product, self.destination, self.attestations, self.services)?;
        }
        if is_named {
            return Ok(());
        }
        self.push_document(self.destination, self.product.media_type(), self.product.bytes())
    }

    /// An index's image has no name, only its digest.
    fn push_entry(&self, image: &Image) -> Result<(), BuildError> {
        let name = self.destination.with_digest(image.digest());
        if self.names(&name)?.is_some() {
            return Ok(());
        }
        self.push_blobs(image)?;
        self.push_document(&name, image.manifest.media_type(), &image.manifest_bytes)
    }

    fn push_document(&self, name: &Reference, media_type: &str, bytes: &[u8]) -> Result<(), BuildError> {
        let pushed = self.services.registry.push_manifest(name, media_type, bytes);
        pushed.map(drop).map_err(|error| self.failed(error))
    }

    fn names(&self, reference: &Reference) -> Result<Option<Descriptor>, BuildError> {
        self.services.registry.head_manifest(reference, Purpose::Push).map_err(|error| self.failed(error))
    }

    fn failed(&self, source: RegistryError) -> BuildError {
        BuildError::Push { destination: self.destination.to_string(), source }
    }

    /// A few threads take one blob after the other; the first failure stops them all.
    fn push_blobs(&self, image: &Image) -> Result<(), BuildError> {
        let mut seen = BTreeSet::new();
        let layers = image.layers.iter().filter(|layer| seen.insert(layer.blob.digest.clone()));
        let queue: Mutex<Vec<&StateLayer>> = Mutex::new(layers.rev().collect());
        let next = || queue.lock().ok().and_then(|mut queue| queue.pop());
        let work = || -> Result<(), BuildError> {
            while let Some(layer) = next() {
                if let Err(error) = self.push_layer(layer) {
                    queue.lock().map(|mut queue| queue.clear()).ok();
                    return Err(error);
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let jobs = JOBS.min(image.layers.len());
            let running: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            let config = self.push_config(image);
            let results =
                running.into_iter().map(|job| job.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            results.fold(config, |so_far, result| so_far.and(result))
        })
    }

    fn push_config(&self, image: &Image) -> Result<(), BuildError> {
        let config = &image.manifest.config;
        if self.has(&config.digest)? {
            return Ok(());
        }
        let bytes = image.config_bytes.clone();
        let open = || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(io::Cursor::new(bytes.clone()))) };
        self.upload(config, &open)
    }

    fn push_layer(&self, layer: &StateLayer) -> Result<(), BuildError> {
        let blob = &layer.blob;
        if self.has(&blob.digest)? || self.mount(layer)? {
            return Ok(());
        }
        self.materials.keep_blob(layer)?;
        let path = self.services.store.blob_path(&blob.digest);
        let open = || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(File::open(&path)?)) };
        self.upload(blob, &open)
    }

    fn has(&self, digest: &Digest) -> Result<bool, BuildError> {
        self.services.registry.has_blob(self.destination, digest).map_err(|error| self.failed(error))
    }

    fn upload(&self, blob: &Descriptor, open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>) -> Result<(), BuildError> {
        let progress = |done| {
            let transfer = Transfer { direction: Direction::Push, digest: blob.digest.clone(), done, total: blob.size };
            self.services.observer.event(Event::Transfer(transfer));
        };
        let result = self.services.registry.push_blob(self.destination, blob, open, &progress);
        progress(blob.size);
        result.map_err(|error| self.failed(error))
    }

    /// From a repository of the same registry that is known to have the blob.
    fn mount(&self, layer: &StateLayer) -> Result<bool, BuildError> {
        let Some(from) = self.neighbour(layer) else { return Ok(false) };
        self.services
            .registry
            .mount_blob(self.destination, &layer.blob.digest, from.repository())
            .map_err(|error| self.failed(error))
    }

    fn neighbour(&self, layer: &StateLayer) -> Option<Reference> {
        let candidates = match &layer.origin {
            Origin::Image(repository) => std::slice::from_ref(repository),
            Origin::Layout => &[],
            Origin::Record(_) | Origin::Built(_) => self.services.cache_repositories,
        };
        let here = self.destination.registry();
        let other = |from: &&Reference| from.registry() == here && from.repository() != self.destination.repository();
        candidates.iter().find(other).cloned()
    }
}
