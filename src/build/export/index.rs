//! What a build gives: one image, or an index of images for several platforms.

use super::Image;
use crate::digest::Digest;
use crate::image::media_type::ImageFormat;
use crate::image::{Descriptor, Index};

/// What is written under the names that were asked for.
#[derive(Debug, Clone)]
pub(in super::super) enum Product {
    /// One image.
    Image(Box<Image>),
    /// Images in the order asked for, and the document that lists them.
    Index {
        /// One per platform.
        images: Vec<Image>,
        /// Of the index and of the images.
        format: ImageFormat,
        /// The index as stored.
        bytes: Vec<u8>,
    },
}

impl Product {
    /// Several images get an index; a single one does when `index` says so.
    pub(in super::super) fn new(mut images: Vec<Image>, index: bool, format: ImageFormat) -> Self {
        match images.pop() {
            Some(only) if images.is_empty() && !index => Self::Image(Box::new(only)),
            last => {
                images.extend(last);
                Self::Index { bytes: list(&images, format).to_bytes(), images, format }
            }
        }
    }

    /// One per platform.
    pub(in super::super) fn images(&self) -> &[Image] {
        match self {
            Self::Image(image) => std::slice::from_ref(image),
            Self::Index { images, .. } => images,
        }
    }

    /// Whether there is a document that lists images.
    pub(in super::super) fn is_index(&self) -> bool {
        matches!(self, Self::Index { .. })
    }

    /// Of the document that names are given to.
    pub(in super::super) fn digest(&self) -> Digest {
        Digest::sha256(self.bytes())
    }

    /// What can be signed: the document that names are given to first, then the images that it lists.
    pub(super) fn subjects(&self) -> Vec<Descriptor> {
        let listed = match self {
            Self::Image(_) => &[],
            Self::Index { images, .. } => images.as_slice(),
        };
        let image = |image: &Image| Descriptor::of(image.manifest.media_type(), &image.manifest_bytes);
        std::iter::once(self.descriptor()).chain(listed.iter().map(image)).collect()
    }

    /// The document that names are given to.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Image(image) => &image.manifest_bytes,
            Self::Index { bytes, .. } => bytes,
        }
    }

    /// Of that document.
    pub(super) fn media_type(&self) -> &str {
        match self {
            Self::Image(image) => image.manifest.media_type(),
            Self::Index { format, .. } => format.index(),
        }
    }

    /// Of that document.
    pub(in super::super) fn descriptor(&self) -> Descriptor {
        Descriptor::of(self.media_type(), self.bytes())
    }
}

/// # Source
/// BuildKit: one manifest per platform in the order asked for, each with its platform, no annotations.
fn list(images: &[Image], format: ImageFormat) -> Index {
    let entry = |image: &Image| Descriptor {
        platform: Some(image.platform.clone()),
        ..Descriptor::of(image.manifest.media_type(), &image.manifest_bytes)
    };
    Index {
        schema_version: 2,
        media_type: Some(format.index().into()),
        manifests: images.iter().map(entry).collect(),
        annotations: Default::default(),
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a failed step of a test ends it")]
mod tests {
    use super::*;
    use crate::image::{Document, Manifest, media_type};

    fn image(platform: &str) -> Image {
        let config_bytes = platform.as_bytes().to_vec();
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.into()),
            artifact_type: None,
            config: Descriptor::of(media_type::OCI_CONFIG, &config_bytes),
            layers: Vec::new(),
            subject: None,
            annotations: Default::default(),
        };
        let manifest_bytes = manifest.to_bytes();
        Image {
            platform: platform.parse().expect("platform"),
            config_bytes,
            manifest,
            manifest_bytes,
            layers: Vec::new(),
        }
    }

    #[test]
    fn an_index_lists_the_manifests_in_the_order_asked_for() {
        let platforms = ["linux/arm64", "linux/amd64", "linux/arm/v7"];
        let product = Product::new(platforms.map(image).into(), false, ImageFormat::Oci);
        assert_eq!(product.media_type(), media_type::OCI_INDEX);
        let Ok(Document::Index(index)) = Document::parse(product.bytes(), None) else { panic!("not an index") };
        assert_eq!(index.manifests.len(), 3);
        for (entry, (image, platform)) in index.manifests.iter().zip(product.images().iter().zip(platforms)) {
            assert_eq!(entry.platform.as_ref().map(ToString::to_string).as_deref(), Some(platform));
            assert_eq!((&entry.digest, entry.size), (&image.digest(), image.manifest_bytes.len() as u64));
            assert!(entry.annotations.is_empty());
        }
        let text = String::from_utf8_lossy(product.bytes());
        assert!(
            text.contains("\"architecture\": \"arm\",\n        \"os\": \"linux\",\n        \"variant\": \"v7\""),
            "{text}"
        );
        assert!(!text.contains("annotations"), "{text}");
    }

    #[test]
    fn one_image_has_an_index_only_when_asked_for() {
        let plain = Product::new(vec![image("linux/amd64")], false, ImageFormat::Oci);
        assert_eq!((plain.digest(), plain.media_type()), (image("linux/amd64").digest(), media_type::OCI_MANIFEST));
        let indexed = Product::new(vec![image("linux/amd64")], true, ImageFormat::Oci);
        assert_eq!((indexed.images().len(), indexed.media_type()), (1, media_type::OCI_INDEX));
        assert_ne!(indexed.digest(), plain.digest());
    }
}
