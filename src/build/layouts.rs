//! `--build-context NAME=oci-layout://…`: images from OCI image layouts of this machine.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use crate::digest::{ContentHash, Digest, DigestError};
use crate::image::{Descriptor, Document, ImageConfig, Index, Manifest, Platform, Reference, ReferenceError};
use crate::store::{Access, Store, StoreError};

/// Larger manifests and configurations are not read, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;
/// Indexes may hold indexes, this deep.
const MAX_DEPTH: usize = 4;
/// What buildx looks for when no tag is given.
const DEFAULT_TAG: &str = "latest";

/// The image layouts of a build, by the name that stands for each in a plan.
#[derive(Default)]
pub struct ImageLayouts(BTreeMap<Reference, ImageLayout>);

/// One image, for one or more platforms, of a layout.
pub(super) struct ImageLayout {
    /// As given.
    pub(super) address: String,
    store: Store,
    /// A manifest or an index.
    root: Digest,
}

/// Why an image layout cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("failed to take an image from {address}")]
pub struct LayoutError {
    /// As given.
    pub address: String,
    /// Why.
    #[source]
    pub fault: LayoutFault,
}

/// What is wrong with an image layout.
#[derive(Debug, thiserror::Error)]
pub enum LayoutFault {
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Not `PATH[:TAG][@DIGEST]`.
    #[error("expected oci-layout://PATH[:TAG][@DIGEST]")]
    Address,
    /// The digest is none.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Nothing has that tag.
    #[error("index.json has no image {tag:?}, and {images} images instead of one")]
    NoImage {
        /// As given, or `latest`.
        tag: String,
        /// How many there are.
        images: usize,
    },
    /// A document or layer is not there, or its bytes are not those of its digest.
    #[error("blob {0} is missing or damaged")]
    Blob(Digest),
    /// A document that is none.
    #[error("blob {digest} is malformed: {reason}")]
    Malformed {
        /// Which.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// None of the index suits.
    #[error("it has no image for {0}")]
    NoPlatform(Box<Platform>),
    /// Its name in plans could not be made.
    #[error(transparent)]
    Name(#[from] ReferenceError),
}

impl ImageLayouts {
    /// Opens the layout at `PATH[:TAG][@DIGEST]` and finds its image; returns what to call it in
    /// [`crate::plan::NamedContext::Image`].
    ///
    /// Without a digest it is the image of that tag (`latest`), else the only one.
    ///
    /// # Errors
    /// See [`LayoutFault`].
    ///
    /// # Source
    /// buildx, `build/opt.go` and `util/ociindex`.
    pub fn open(&mut self, address: &str) -> Result<Reference, LayoutError> {
        let opened = ImageLayout::open(address).and_then(|layout| {
            // A host that cannot exist (RFC 2606): no image of a Dockerfile has that name.
            let hash = ContentHash::of(address.as_bytes()).to_string();
            Ok((format!("oci-layout.invalid/{hash}").parse::<Reference>()?, layout))
        });
        let (name, layout) =
            opened.map_err(|fault| LayoutError { address: format!("oci-layout://{address}"), fault })?;
        self.0.insert(name.clone(), layout);
        Ok(name)
    }

    pub(super) fn get(&self, name: &Reference) -> Option<&ImageLayout> {
        self.0.get(name)
    }

    /// The configuration of an image, when it is one of these.
    ///
    /// # Errors
    /// See [`LayoutFault`].
    pub fn configuration(&self, name: &Reference, platform: &Platform) -> Option<Result<ImageConfig, LayoutError>> {
        Some(self.get(name)?.image(platform).map(|(_, config)| config))
    }

    /// A blob of any layout; `None` when none has it. Reading ends with an error when it is damaged.
    pub(super) fn blob(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        for layout in self.0.values() {
            if let Some(reader) = layout.store.open_verified(blob)? {
                return Ok(Some(Box::new(reader)));
            }
        }
        Ok(None)
    }
}

impl ImageLayout {
    fn open(address: &str) -> Result<Self, LayoutFault> {
        let (rest, digest) = match address.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (address, None),
        };
        let (path, tag) = rest.split_once(':').unwrap_or((rest, DEFAULT_TAG));
        if path.is_empty() || tag.is_empty() {
            return Err(LayoutFault::Address);
        }
        let store = Store::open(Path::new(path), Access::ReadOnly)?;
        let root = match digest {
            Some(digest) => digest,
            None => tagged(store.images()?, tag)?,
        };
        Ok(Self { address: format!("oci-layout://{address}"), store, root })
    }

    /// The image that suits `platform`; one that is for a single platform is taken as it is.
    pub(super) fn image(&self, platform: &Platform) -> Result<(Manifest, ImageConfig), LayoutError> {
        let image = self.manifest(platform).and_then(|manifest| {
            let digest = manifest.config.digest.clone();
            let config = serde_json::from_slice(&self.read(&digest)?);
            let config = config.map_err(|error| LayoutFault::Malformed { digest, reason: error.to_string() })?;
            Ok((manifest, config))
        });
        image.map_err(|fault| LayoutError { address: self.address.clone(), fault })
    }

    fn manifest(&self, platform: &Platform) -> Result<Manifest, LayoutFault> {
        let mut digest = self.root.clone();
        for _ in 0..MAX_DEPTH {
            let document = Document::parse(&self.read(&digest)?, None);
            match document {
                Ok(Document::Manifest(manifest)) => return Ok(manifest),
                Ok(Document::Index(index)) => digest = chosen(&index, platform)?,
                Err(error) => return Err(LayoutFault::Malformed { digest, reason: error.to_string() }),
            }
        }
        Err(LayoutFault::Malformed { digest, reason: format!("indexes nested deeper than {MAX_DEPTH}") })
    }

    fn read(&self, digest: &Digest) -> Result<Vec<u8>, LayoutFault> {
        self.store.read_blob(digest, MAX_DOCUMENT)?.ok_or_else(|| LayoutFault::Blob(digest.clone()))
    }
}

fn tagged(images: Vec<(Option<String>, Descriptor)>, tag: &str) -> Result<Digest, LayoutFault> {
    if let Some((_, image)) = images.iter().find(|(name, _)| name.as_deref() == Some(tag)) {
        return Ok(image.digest.clone());
    }
    match images.as_slice() {
        [(_, only)] => Ok(only.digest.clone()),
        several => Err(LayoutFault::NoImage { tag: tag.to_owned(), images: several.len() }),
    }
}

fn chosen(index: &Index, platform: &Platform) -> Result<Digest, LayoutFault> {
    if let Some(suitable) = index.select(platform) {
        return Ok(suitable.digest.clone());
    }
    match index.manifests.as_slice() {
        // Nothing says what it is for.
        [only] if only.platform.is_none() => Ok(only.digest.clone()),
        _ => Err(LayoutFault::NoPlatform(Box::new(platform.clone()))),
    }
}
