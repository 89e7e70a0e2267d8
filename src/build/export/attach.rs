//! Signatures of what was pushed.

use super::super::error::BuildError;
use super::super::request::{Attestations, Services};
use super::Product;
use crate::attest::{Attacher, AttestError};
use crate::image::{Descriptor, Reference};
use crate::parallel::in_parallel;

/// Images that are signed side by side.
const JOBS: usize = 4;

/// Signs the image that names are given to, and of an index the images in it, as `cosign sign --recursive`:
/// who pulls by platform may verify what it got.
pub(super) fn attach(
    product: &Product,
    destination: &Reference,
    attestations: &Attestations,
    services: &Services<'_>,
) -> Result<(), BuildError> {
    let attacher = Attacher::new(services.registry, destination);
    let attach = |subject: &Descriptor| -> Result<(), AttestError> {
        attestations.signer.as_ref().map_or(Ok(()), |key| attacher.sign(subject, key))
    };
    let attached = in_parallel(&product.subjects(), JOBS, attach);
    let failed = |source| BuildError::Attest { destination: destination.to_string(), source };
    attached.into_iter().collect::<Result<(), _>>().map_err(failed)
}
