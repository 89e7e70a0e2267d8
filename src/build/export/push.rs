//! Pushes an image: only what the registry lacks, by mount where it has it elsewhere.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::super::error::BuildError;
use super::super::materials::Materials;
use super::super::request::{Outputs, Services};
use super::super::state::{Origin, StateLayer};
use super::attach::{Attachments, attach};
use super::destinations::Destination;
use super::{Image, Product};
use crate::digest::Digest;
use crate::image::{Descriptor, Reference, media_type};
use crate::parallel::beside;
use crate::registry::{Fault, Purpose, RegistryError};
use crate::report::{Direction, Event, Transfer};

/// Blobs that are asked for, or mounted, side by side, and more where the registry is far away: short requests, whose
/// time is the network's.
const QUESTIONS: usize = 24;
/// Blobs that are uploaded side by side.
const UPLOADS: usize = 8;
/// Images of an index that are pushed side by side.
const IMAGES: usize = 4;

/// One destination.
struct Push<'a> {
    product: &'a Product,
    destination: &'a Reference,
    /// As it was when the build began; `None` when it has to be asked again.
    known: Option<&'a Destination>,
    materials: &'a Materials<'a>,
    outputs: &'a Outputs,
    attachments: &'a Attachments,
    services: &'a Services<'a>,
}

/// Pushes blobs, then manifests, then the index when there is one, then what is attached; the name comes last. When the
/// destination names this very document already, only what is attached to it may be missing.
pub(super) fn push(
    product: &Product,
    (destination, known): (&Reference, Option<&Destination>),
    (outputs, attachments): (&Outputs, &Attachments),
    materials: &Materials<'_>,
    services: &Services<'_>,
) -> Result<(), BuildError> {
    let mut push = Push { product, destination, known, materials, outputs, attachments, services };
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
                push.known = None;
            }
            result => return result,
        }
    }
}

impl Push<'_> {
    fn once(&self) -> Result<(), BuildError> {
        let digest = self.product.digest();
        let is_named = match self.known.and_then(|known| known.names(&digest)) {
            Some(is_named) => is_named,
            None if self.is_new() && !self.outputs.attestations.is_some() => return self.push_new(&digest),
            None => self.is_named(&digest)?,
        };
        if is_named && !self.outputs.attestations.is_some() {
            return Ok(());
        }
        let by_digest = self.destination.with_digest(digest);
        // A registry that has the document has what it names: only the tag is missing.
        let may_be_there = !self.is_empty() && !self.is_new();
        let is_there = is_named || (may_be_there && self.names(&by_digest)?.is_some());
        if is_there && !self.outputs.attestations.is_some() {
            return self.push_name_beside_upload();
        }
        if !is_there {
            self.push_contents()?;
        }
        if self.outputs.attestations.is_some() {
            // Whoever finds the name finds the signature.
            if !is_there {
                self.push_document(&by_digest, self.product.media_type(), self.product.bytes())?;
            }
            attach(self.product, self.destination, self.outputs, self.attachments, self.services)?;
        }
        if is_named { Ok(()) } else { self.push_name() }
    }

    /// What was just made is hardly there: the tag is asked what it names while the contents are pushed. The same name is
    /// not given twice, since a registry may have tags that cannot be moved.
    fn push_new(&self, digest: &Digest) -> Result<(), BuildError> {
        let (is_named, pushed) = beside(|| self.is_named(digest), || self.push_contents());
        pushed?;
        if is_named? { Ok(()) } else { self.push_name() }
    }

    fn is_named(&self, digest: &Digest) -> Result<bool, BuildError> {
        Ok(self.names(self.destination)?.is_some_and(|there| there.digest == *digest))
    }

    /// All that the document names.
    fn push_contents(&self) -> Result<(), BuildError> {
        match self.product {
            Product::Image(image) => self.push_blobs(&[&**image]),
            Product::Index { images, .. } => self.push_entries(images),
        }
    }

    /// The tag alone; what was opened to ask whether a push is allowed is cancelled meanwhile.
    fn push_name_beside_upload(&self) -> Result<(), BuildError> {
        beside(|| drop(self.known.and_then(Destination::upload)), || self.push_name()).1
    }

    fn push_name(&self) -> Result<(), BuildError> {
        self.push_document(self.destination, self.product.media_type(), self.product.bytes())
    }

    /// An index's images have no names, only their digests. What several of them hold is pushed once.
    fn push_entries(&self, images: &[Image]) -> Result<(), BuildError> {
        let missing = lacking(images, IMAGES, |image| self.has_entry(image))?;
        self.push_blobs(&missing)?;
        each(&missing, IMAGES, |image| {
            let name = self.destination.with_digest(image.digest());
            self.push_document(&name, image.manifest.media_type(), &image.manifest_bytes)
        })
    }

    fn has_entry(&self, image: &Image) -> Result<bool, BuildError> {
        let may_be_there = !self.is_empty() && !image.layers.iter().any(is_new);
        Ok(may_be_there && self.names(&self.destination.with_digest(image.digest()))?.is_some())
    }

    fn is_empty(&self) -> bool {
        self.known.is_some_and(Destination::is_empty)
    }

    /// Whether this build made a layer of it: then no registry has seen the document yet, or it is as well pushed again.
    fn is_new(&self) -> bool {
        self.product.images().iter().flat_map(|image| &image.layers).any(is_new)
    }

    fn push_document(&self, name: &Reference, media_type: &str, bytes: &[u8]) -> Result<(), BuildError> {
        let pushed = self.services.registry.push_manifest(name, media_type, bytes);
        pushed.map(drop).map_err(|error| {
            self.advise(media_type, &error);
            self.failed(error)
        })
    }

    /// Some registries take images of Docker's form only, which Kaniko gives an image whose base has it.
    fn advise(&self, media_type: &str, error: &RegistryError) {
        let is_oci = matches!(media_type, media_type::OCI_MANIFEST | media_type::OCI_INDEX);
        if is_oci && matches!(*error.fault, Fault::Refused(_)) && !error.is_immutable_tag() {
            let host = self.destination.registry();
            let advice = "if it knows no images of OCI's form, --image-format=docker gives it one that it knows";
            self.services.observer.event(Event::Warning(format!("{host} refused the manifest: {advice}")));
        }
    }

    fn names(&self, reference: &Reference) -> Result<Option<Descriptor>, BuildError> {
        self.services.registry.head_manifest(reference, Purpose::Push).map_err(|error| self.failed(error))
    }

    fn failed(&self, source: RegistryError) -> BuildError {
        BuildError::Push { destination: self.destination.to_string(), source }
    }

    fn push_blobs(&self, images: &[&Image]) -> Result<(), BuildError> {
        let push_configs = || each(images, IMAGES, |image| self.push_config(image));
        let (configs, layers) = beside(push_configs, || self.push_layers(images));
        layers.and(configs)
    }

    fn push_layers(&self, images: &[&Image]) -> Result<(), BuildError> {
        let mut seen = BTreeSet::new();
        let layers = images.iter().flat_map(|image| &image.layers);
        let layers = layers.filter(|layer| seen.insert(layer.blob.digest.clone()));
        let layers: Vec<&StateLayer> = layers.collect();
        let missing = lacking(&layers, self.services.registry.in_flight(QUESTIONS), |layer| self.provide(layer))?;
        each(&missing, UPLOADS, |layer| self.upload_layer(layer))
    }

    /// Whether the destination has the layer, perhaps from another repository by now. One that was just made is not
    /// asked for before.
    fn provide(&self, layer: &StateLayer) -> Result<bool, BuildError> {
        let may_be_there = !self.is_empty() && !is_new(layer);
        Ok(may_be_there && self.has(&layer.blob.digest)? || self.mount(layer)?)
    }

    fn upload_layer(&self, layer: &StateLayer) -> Result<(), BuildError> {
        let blob = &layer.blob;
        self.materials.keep_blob(layer)?;
        let path = self.services.store.blob_path(&blob.digest);
        let open = || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(File::open(&path)?)) };
        self.upload(blob, &open, is_new(layer) && !self.is_empty())
    }

    fn push_config(&self, image: &Image) -> Result<(), BuildError> {
        let config = &image.manifest.config;
        let is_new = self.is_new();
        if !self.is_empty() && !is_new && self.has(&config.digest)? {
            return Ok(());
        }
        let bytes = &image.config_bytes;
        let open_upload = self.known.and_then(Destination::upload);
        // What the registry has against it, it says once more.
        if open_upload.is_some_and(|upload| upload.put(config, bytes).is_ok()) {
            return Ok(());
        }
        let open = || -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(io::Cursor::new(bytes.clone()))) };
        self.upload(config, &open, is_new && !self.is_empty())
    }

    fn has(&self, digest: &Digest) -> Result<bool, BuildError> {
        self.services.registry.has_blob(self.destination, digest).map_err(|error| self.failed(error))
    }

    /// `is_unasked`: the destination could have it all the same.
    fn upload(
        &self,
        blob: &Descriptor,
        open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        is_unasked: bool,
    ) -> Result<(), BuildError> {
        let progress = |done| {
            let transfer = Transfer { direction: Direction::Push, digest: blob.digest.clone(), done, total: blob.size };
            self.services.observer.event(Event::Transfer(transfer));
        };
        let registry = self.services.registry;
        let result = match is_unasked {
            true => registry.push_new_blob(self.destination, blob, open, &progress).map(drop),
            false => registry.push_blob(self.destination, blob, open, &progress),
        };
        progress(blob.size);
        result.map_err(|error| self.failed(error))
    }

    /// From a repository of the same registry that has the blob, or is just getting it.
    fn mount(&self, layer: &StateLayer) -> Result<bool, BuildError> {
        let Some(from) = self.neighbour(layer) else { return Ok(false) };
        if let Some(cache) = self.services.cache {
            cache.await_blob(&layer.blob.digest);
        }
        self.services
            .registry
            .mount_blob(self.destination, &layer.blob.digest, from.repository())
            .map_err(|error| self.failed(error))
    }

    fn neighbour(&self, layer: &StateLayer) -> Option<Reference> {
        let candidates = match &layer.origin {
            Origin::Image(repository) => std::slice::from_ref(repository),
            Origin::Layout | Origin::InWriting => &[],
            Origin::Record(_) | Origin::Built(_) => self.services.cache_repositories,
        };
        let here = self.destination.registry();
        let other = |from: &&Reference| from.registry() == here && from.repository() != self.destination.repository();
        candidates.iter().find(other).cloned()
    }
}

/// Whether this build made the layer.
fn is_new(layer: &StateLayer) -> bool {
    matches!(layer.origin, Origin::Built(_))
}

/// Those of which `is_there` is false, in their order.
fn lacking<T: Sync>(
    items: &[T],
    threads: usize,
    is_there: impl Fn(&T) -> Result<bool, BuildError> + Sync,
) -> Result<Vec<&T>, BuildError> {
    let items: Vec<(usize, &T)> = items.iter().enumerate().collect();
    let found = Mutex::new(Vec::new());
    each(&items, threads, |(number, item)| {
        if !is_there(item)? {
            found.lock().unwrap_or_else(PoisonError::into_inner).push((*number, *item));
        }
        Ok(())
    })?;
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_unstable_by_key(|(number, _)| *number);
    Ok(found.into_iter().map(|(_, item)| item).collect())
}

/// Calls `work` for each item, on a few threads; the first failure stops them all.
fn each<T: Sync>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<(), BuildError> + Sync,
) -> Result<(), BuildError> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let take = || items.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !failed.load(Ordering::Relaxed));
    let run = || -> Result<(), BuildError> {
        while let Some(item) = take() {
            work(item).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let running: Vec<_> = (1..threads.min(items.len())).map(|_| scope.spawn(run)).collect();
        let own = run();
        let others = running.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        others.fold(own, |so_far, result| so_far.and(result))
    })
}
