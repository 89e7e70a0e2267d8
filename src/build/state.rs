//! The file system of a stage while it is being built.

use crate::cache::RecordLayer;
use crate::digest::{ChainId, ContentHash, DiffId};
use crate::image::media_type::{self, ImageFormat};
use crate::image::{Descriptor, Reference};
use crate::key::state_digest;
use crate::layer::Toc;
use crate::view::View;

/// A layer of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateLayer {
    /// Of the uncompressed tar.
    pub(super) diff_id: DiffId,
    /// The compressed blob, with the media type of its origin.
    pub(super) blob: Descriptor,
    /// Where the blob is.
    pub(super) origin: Origin,
}

/// Where a layer's blob is when the local store lacks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the repository of a base image.
    Image(Reference),
    /// In an image layout of this machine.
    Layout,
    /// In the cache that the record came from.
    Record(RecordLayer),
    /// In the local store: this build made it.
    Built(RecordLayer),
    /// Nowhere yet: its files are where the step left them, and the blob stands for the uncompressed tar.
    InWriting,
}

impl StateLayer {
    /// Seconds since the epoch when a step made it; `None` for a base image's layer.
    pub(super) fn created(&self) -> Option<i64> {
        self.record().map(|record| record.created)
    }

    /// As a record names it; `None` for a base image's layer.
    pub(super) fn record(&self) -> Option<&RecordLayer> {
        match &self.origin {
            Origin::Image(_) | Origin::Layout | Origin::InWriting => None,
            Origin::Record(layer) | Origin::Built(layer) => Some(layer),
        }
    }

    /// The layer of a record that was found.
    pub(super) fn of_record(layer: &RecordLayer) -> Self {
        Self { diff_id: layer.diff_id.clone(), blob: layer.blob.clone(), origin: Origin::Record(layer.clone()) }
    }

    /// The layer of a record that this build made.
    pub(super) fn of_built(layer: RecordLayer) -> Self {
        Self { diff_id: layer.diff_id.clone(), blob: layer.blob.clone(), origin: Origin::Built(layer) }
    }

    /// A layer whose blob is still being compressed; `size` is that of its tar, in bytes.
    pub(super) fn in_writing(diff_id: DiffId, size: u64) -> Self {
        let blob = Descriptor::new(media_type::OCI_LAYER, diff_id.0.clone(), size);
        Self { diff_id, blob, origin: Origin::InWriting }
    }

    /// The descriptor for a manifest: the same bytes under the format's media type, no annotations.
    pub(super) fn descriptor(&self, format: ImageFormat) -> Descriptor {
        let compression = media_type::layer_compression(&self.blob.media_type);
        let media_type = compression.map_or(self.blob.media_type.as_str(), |compression| format.layer(compression));
        Descriptor::new(media_type, self.blob.digest.clone(), self.blob.size)
    }
}

/// A stage's file system so far: its layers, and what is known of their contents.
///
/// Every step makes exactly one layer, as in BuildKit, even when it changes nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct StageState {
    layers: Vec<StateLayer>,
    /// Of the layers.
    chain: Option<ChainId>,
    base_layers: usize,
    contents: Contents,
    /// Some step really ran.
    pub(super) diverged: bool,
}

/// What is known of the lowest layers of a stage.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    /// The merged tree.
    pub(super) view: View,
    /// Its digest; `None` while the file system is empty.
    pub(super) state: Option<ContentHash>,
    /// How many layers these are.
    pub(super) layers: usize,
}

impl Contents {
    /// Puts the next layer on top, by its table of contents.
    pub(super) fn apply(&mut self, layer: &DiffId, toc: &Toc) {
        self.view.apply(layer, toc);
        self.layers += 1;
        // An empty layer leaves the state as it is: that is what early cutoff lives on.
        if !toc.entries.is_empty() {
            self.state = Some(state_digest(self.state.as_ref(), &toc.digest()));
        }
    }
}

impl StageState {
    /// A stage that starts from the layers of an image, base first; none for scratch.
    pub(super) fn of_image(layers: Vec<StateLayer>) -> Self {
        let chain = layers.iter().fold(None, |below, layer| Some(ChainId::on(below.as_ref(), &layer.diff_id)));
        Self { base_layers: layers.len(), layers, chain, ..Self::default() }
    }

    /// Names these very layers, as records note it.
    pub(super) fn identity(&self) -> Option<ContentHash> {
        self.chain.as_ref().map(identity)
    }

    /// What [`StageState::identity`] is with one layer more.
    pub(super) fn identity_with(&self, layer: &DiffId) -> ContentHash {
        identity(&ChainId::on(self.chain.as_ref(), layer))
    }

    /// Base first.
    pub(super) fn layers(&self) -> &[StateLayer] {
        &self.layers
    }

    /// The layers above the base image, one per step of this stage and of those below it.
    pub(super) fn step_layers(&self) -> &[StateLayer] {
        &self.layers[self.base_layers..]
    }

    /// What is known so far; covers the lowest [`Contents::layers`].
    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Lets the caller learn the contents of the layers that nobody has looked at.
    pub(super) fn split(&mut self) -> (&[StateLayer], &mut Contents) {
        (&self.layers, &mut self.contents)
    }

    /// Adds the result of a step whose contents nobody has looked at.
    pub(super) fn push(&mut self, layer: StateLayer) {
        self.chain = Some(ChainId::on(self.chain.as_ref(), &layer.diff_id));
        self.layers.push(layer);
    }

    /// Puts a layer whose blob is written into the place of itself in writing.
    pub(super) fn complete(&mut self, written: StateLayer) {
        let same =
            self.layers.iter_mut().find(|layer| layer.diff_id == written.diff_id && layer.origin == Origin::InWriting);
        if let Some(layer) = same {
            *layer = written;
        }
    }

    /// Adds a layer that was just written. All layers below must be known.
    pub(super) fn push_written(&mut self, layer: StateLayer, toc: &Toc) {
        debug_assert_eq!(self.contents.layers, self.layers.len());
        self.contents.apply(&layer.diff_id, toc);
        self.push(layer);
    }
}

fn identity(chain: &ChainId) -> ContentHash {
    ContentHash::of(chain.to_string().as_bytes())
}
