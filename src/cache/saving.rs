//! Saves into a repository of a registry: side by side what does not depend on one another. Blobs come before the
//! manifests that name them, and nothing else waits.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::Ordering;

use super::manifest::{self, EMPTY_JSON, Form, Packed};
use super::registry::{RegistryCache, is_overtaken};
use super::{CacheError, Record};
use crate::causes::chain;
use crate::digest::{DiffId, Digest};
use crate::image::{Descriptor, Reference, media_type};
use crate::key::CacheKey;
use crate::parallel::{beside, in_parallel};
use crate::registry::{Fault, RegistryError};
use crate::report::{Direction, Event, Transfer};

/// Blobs of a record that are brought side by side into a registry that is near.
const BLOBS: usize = 4;
/// A record has at most so many keys.
const KEYS: usize = 2;

type Open<'a> = &'a dyn Fn() -> io::Result<Box<dyn Read + Send>>;

/// A blob that a manifest names.
enum Part<'a> {
    /// From the local store, or from another repository.
    Stored(&'a Descriptor),
    Own(&'a Descriptor, &'a [u8]),
}

impl Part<'_> {
    fn digest(&self) -> &Digest {
        match self {
            Self::Stored(blob) | Self::Own(blob, _) => &blob.digest,
        }
    }
}

/// The blobs that belong to the manifest alone.
fn own(packed: &Packed) -> impl Iterator<Item = Part<'_>> {
    let empty = packed.manifest.layers.iter().filter(|layer| layer.media_type == media_type::OCI_EMPTY);
    let config = Part::Own(&packed.manifest.config, &packed.config);
    [config].into_iter().chain(empty.map(|layer| Part::Own(layer, EMPTY_JSON)))
}

impl RegistryCache {
    /// Blobs, meanwhile whether the record is known; then the manifests.
    pub(super) fn push_record(&self, record: &Record, uploaded: &(dyn Fn() + Sync)) -> Result<(), CacheError> {
        self.require_on()?;
        let packed = manifest::pack_record(record, self.form());
        let parts: Vec<Part<'_>> = record.blobs().map(Part::Stored).chain(own(&packed)).collect();
        let (pushed, unknown) =
            beside(|| self.push_parts(&parts).inspect(|()| uploaded()), || self.unknown_keys(record));
        let (keys, saved) = (pushed.and(unknown)?, |keys: &[CacheKey]| self.save_under_all(record, keys));
        match saved(&keys) {
            // It was taken for granted that a blob which a record of this repository names is there.
            Err(CacheError::Registry(error)) if lacks_blob(&error) => {
                parts.iter().for_each(|part| self.uploads.forget(part.digest()));
                self.push_parts(&parts)?;
                saved(&keys)
            }
            saved => saved,
        }
    }

    pub(super) fn push_toc(&self, layer: &DiffId, toc: &Descriptor, tag: &str) -> Result<(), CacheError> {
        self.require_on()?;
        let signature = self.options.trust.sign_toc(layer, toc);
        let pack = |form| manifest::pack_toc(layer, toc, signature.as_ref(), form);
        let packed = pack(self.form());
        let parts: Vec<Part<'_>> = [Part::Stored(toc)].into_iter().chain(own(&packed)).collect();
        let is_known = || !self.vacancy.is_known() && self.toc_descriptor(layer).is_ok_and(|known| known.is_some());
        let (pushed, is_known) = beside(|| self.push_parts(&parts), is_known);
        pushed?;
        if is_known { Ok(()) } else { self.push_manifest(tag, pack) }
    }

    fn push_parts(&self, parts: &[Part<'_>]) -> Result<(), CacheError> {
        let missing: Vec<&Part<'_>> = parts.iter().filter(|part| !self.uploads.has(part.digest())).collect();
        let pushed = in_parallel(&missing, self.client.in_flight(BLOBS), |part| match part {
            Part::Stored(blob) => self.push_stored(blob),
            Part::Own(blob, bytes) => self.push_bytes(blob, bytes),
        });
        pushed.into_iter().collect()
    }

    /// The keys under which there is no usable record.
    fn unknown_keys(&self, record: &Record) -> Result<Vec<CacheKey>, CacheError> {
        let keys: Vec<CacheKey> = [record.key].into_iter().chain(record.content_key).collect();
        // Where nothing can be read, a result that is there already is written again.
        if self.reading.is_closed() || self.vacancy.is_known() {
            return Ok(keys);
        }
        let known = in_parallel(&keys, KEYS, |key| self.known(key).map(|known| (*key, known)));
        let unknown =
            known.into_iter().filter_map(|known| known.map(|(key, known)| (!known).then_some(key)).transpose());
        unknown.collect()
    }

    /// Whether a usable record is there. A registry that refuses to say so has none.
    fn known(&self, key: &CacheKey) -> Result<bool, CacheError> {
        match self.record(key) {
            Err(CacheError::Registry(error)) if matches!(*error.fault, Fault::Refused(_)) => Ok(false),
            Err(_) if self.reading.is_closed() => Ok(false),
            found => Ok(found?.is_some()),
        }
    }

    fn save_under_all(&self, record: &Record, keys: &[CacheKey]) -> Result<(), CacheError> {
        in_parallel(keys, KEYS, |key| self.save_under(record, key)).into_iter().collect()
    }

    fn save_under(&self, record: &Record, key: &CacheKey) -> Result<(), CacheError> {
        let fence = self.server.found().and_then(|server| server.fence(key));
        match self.push_fenced(&key.to_string(), fence, |form| manifest::pack_record(record, form)) {
            Err(CacheError::Registry(error)) if fence.is_some() && is_overtaken(&error) => {
                self.debug(format!("record {key} is not saved: another build took over its step"));
                Ok(())
            }
            saved => saved,
        }
    }

    /// As [`RegistryCache::push_either`]; where tags cannot be moved, what stands there stays.
    pub(super) fn push_manifest(&self, tag: &str, pack: impl Fn(Form) -> Packed) -> Result<(), CacheError> {
        self.push_fenced(tag, None, pack)
    }

    fn push_fenced(&self, tag: &str, fence: Option<u64>, pack: impl Fn(Form) -> Packed) -> Result<(), CacheError> {
        match self.push_either(tag, fence, pack) {
            Err(CacheError::Registry(error)) if error.is_immutable_tag() => {
                if !self.told_immutable.swap(true, Ordering::Relaxed) {
                    let (name, reason) = (self.repository.name(), chain(&error));
                    let text =
                        format!("{name} has immutable tags, records that are old or damaged stay there: {reason}");
                    self.observer.event(Event::Info(text));
                }
                Ok(())
            }
            pushed => pushed,
        }
    }

    fn form(&self) -> Form {
        if self.images_only.load(Ordering::Relaxed) { Form::Image } else { Form::Artifact }
    }

    /// Pushes as an artifact; where that is refused, as an image, from then on.
    fn push_either(&self, tag: &str, fence: Option<u64>, pack: impl Fn(Form) -> Packed) -> Result<(), CacheError> {
        if self.form() == Form::Artifact {
            match self.push_packed(tag, fence, &pack(Form::Artifact)) {
                Err(CacheError::Registry(error)) if fence.is_some() && is_overtaken(&error) => return Err(error.into()),
                Err(CacheError::Registry(error))
                    if matches!(*error.fault, Fault::Refused(_))
                        && !error.is_immutable_tag()
                        && !lacks_blob(&error) =>
                {
                    if !self.images_only.swap(true, Ordering::Relaxed) {
                        let (name, reason) = (self.repository.name(), chain(&error));
                        self.observer.event(Event::Info(format!("{name} takes no artifacts, saving images: {reason}")));
                    }
                }
                pushed => return pushed,
            }
        }
        self.push_packed(tag, fence, &pack(Form::Image))
    }

    fn push_packed(&self, tag: &str, fence: Option<u64>, packed: &Packed) -> Result<(), CacheError> {
        self.push_parts(&own(packed).collect::<Vec<_>>())?;
        let target = self.repository.with_tag(tag);
        let (media_type, bytes) = (packed.manifest.media_type(), packed.manifest.to_bytes());
        match fence {
            Some(fence) => self.client.push_fenced_manifest(&target, media_type, &bytes, fence)?,
            None => self.client.push_manifest(&target, media_type, &bytes)?,
        };
        Ok(())
    }

    fn push_bytes(&self, blob: &Descriptor, bytes: &[u8]) -> Result<(), CacheError> {
        let open = || Ok(Box::new(io::Cursor::new(bytes.to_vec())) as Box<dyn Read + Send>);
        self.uploads.once(&blob.digest, || self.upload(blob, &open))
    }

    fn push_stored(&self, blob: &Descriptor) -> Result<(), CacheError> {
        let open = || {
            let reader = self.store.open_verified(blob).map_err(io::Error::other)?;
            let reader = reader.ok_or(io::ErrorKind::NotFound)?;
            Ok(Box::new(reader) as Box<dyn Read + Send>)
        };
        self.uploads
            .once(&blob.digest, || if self.store.has(blob) { self.upload(blob, &open) } else { self.take_over(blob) })
    }

    /// Uploads a blob that `path` holds.
    pub(super) fn push_file(&self, blob: &Descriptor, path: &Path) -> Result<(), CacheError> {
        let open = || Ok(Box::new(File::open(path)?) as Box<dyn Read + Send>);
        self.uploads.once(&blob.digest, || self.upload(blob, &open))
    }

    /// Unless the repository has it, which a hit of an earlier look-up may name without its ever having been in the
    /// local store.
    fn upload(&self, blob: &Descriptor, open: Open<'_>) -> Result<(), CacheError> {
        let progress = |done| {
            let (digest, total) = (blob.digest.clone(), blob.size);
            self.observer.event(Event::Transfer(Transfer { direction: Direction::Push, digest, done, total }));
        };
        let in_vain = self.client.push_new_blob(&self.repository, blob, open, &progress)?;
        // Taken back when the manifests are there: nothing depends on it.
        self.in_vain().extend(in_vain);
        self.gone().remove(&blob.digest);
        Ok(())
    }

    /// Another cache has it that a hit came from, where this one has not.
    fn take_over(&self, blob: &Descriptor) -> Result<(), CacheError> {
        if !self.client.has_blob(&self.repository, &blob.digest)? {
            self.mount_from_neighbour(blob)?;
        }
        self.gone().remove(&blob.digest);
        Ok(())
    }

    fn mount_from_neighbour(&self, blob: &Descriptor) -> Result<(), CacheError> {
        let (here, own) = (self.repository.registry(), self.repository.repository());
        let others = self.options.neighbours.iter().filter(|other| other.registry() == here);
        for other in others.map(Reference::repository).filter(|name| *name != own) {
            if self.client.mount_blob(&self.repository, &blob.digest, other)? {
                return Ok(());
            }
        }
        Err(CacheError::NotStored(blob.digest.clone()))
    }
}

/// Whether the registry refuses a manifest for a blob that is not there.
fn lacks_blob(error: &RegistryError) -> bool {
    let code = error.fault.answer().and_then(|answer| answer.code.as_deref());
    matches!(code, Some("MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN"))
}
