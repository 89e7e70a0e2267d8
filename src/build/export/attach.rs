//! What is put beside an image that was pushed: its signature, and what is said about it.

use serde_json::Value;

use super::super::error::BuildError;
use super::super::request::{Outputs, Services};
use super::Product;
use crate::attest::{Attacher, AttestError, PROVENANCE};
use crate::image::{Descriptor, Reference};
use crate::parallel::in_parallel;

/// Images that are signed side by side.
const JOBS: usize = 4;

/// Statements about what was built.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Attachments {
    /// About the index, where there is one.
    pub(in super::super) index: Vec<Said>,
    /// About each image.
    pub(in super::super) images: Vec<Vec<Said>>,
}

/// One statement.
#[derive(Debug, Clone)]
pub(in super::super) struct Said {
    pub(in super::super) predicate_type: &'static str,
    pub(in super::super) predicate: Value,
}

impl Attachments {
    /// How the index was built, and how each image was.
    pub(in super::super) fn provenance(&self) -> (Option<&Value>, Vec<Option<&Value>>) {
        (provenance(&self.index), self.images.iter().map(|said| provenance(said)).collect())
    }

    /// What is said about each of [`Product::subjects`].
    fn by_subject(&self, product: &Product) -> Vec<&[Said]> {
        let images = self.images.iter().map(Vec::as_slice);
        match product {
            Product::Image(_) => images.collect(),
            Product::Index { .. } => std::iter::once(self.index.as_slice()).chain(images).collect(),
        }
    }
}

fn provenance(said: &[Said]) -> Option<&Value> {
    said.iter().find(|said| said.predicate_type == PROVENANCE).map(|said| &said.predicate)
}

/// Signs the image that names are given to, and of an index the images in it, as `cosign sign --recursive`:
/// who pulls by platform may verify what it got. Then comes what is said about each.
pub(super) fn attach(
    product: &Product,
    destination: &Reference,
    outputs: &Outputs,
    attachments: &Attachments,
    services: &Services<'_>,
) -> Result<(), BuildError> {
    let attacher = Attacher::new(services.registry, destination);
    let wanted = &outputs.attestations;
    let key = wanted.signer.as_deref();
    let subjects: Vec<(Descriptor, &[Said])> =
        product.subjects().into_iter().zip(attachments.by_subject(product)).collect();
    let attach = |(subject, said): &(Descriptor, &[Said])| -> Result<(), AttestError> {
        key.map_or(Ok(()), |key| attacher.sign(subject, key))?;
        let attached = said.iter().filter(|said| said.predicate_type != PROVENANCE || wanted.attaches_provenance());
        attached.into_iter().try_for_each(|said| attacher.attest(subject, (said.predicate_type, &said.predicate), key))
    };
    let attached = in_parallel(&subjects, JOBS, attach);
    let failed = |source| BuildError::Attest { destination: destination.to_string(), source };
    attached.into_iter().collect::<Result<(), _>>().map_err(failed)
}
