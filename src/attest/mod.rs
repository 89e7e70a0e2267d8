//! What is said about an image and who says it: signatures and attestations beside it in its registry.
//!
//! | file | what it knows |
//! |---|---|
//! | `statement` | in-toto: a predicate about digests |
//! | `bundle` | Sigstore's bundle: an envelope and which key to ask |
//! | `simple` | the older payload that says no more than a digest |
//! | `provenance` | SLSA: how an image was built |
//! | `attach` | [`Attacher`]: referrers, their fallback tag, the signature tag |
//! | `list` | tags that several write |
//! | `verify` | [`verify()`]: what of it a key stands for |
//!
//! What a registry sends is believed after its digest and a signature were checked, and not before.

mod attach;
mod bundle;
mod error;
mod list;
mod provenance;
mod simple;
mod statement;
mod verify;

pub use attach::Attacher;
pub use bundle::BUNDLE;
pub use error::{AttestError, Rejection};
pub use provenance::{Material, Provenance};
pub use statement::{IMAGE_SIGNATURE, PROVENANCE, SPDX, STATEMENT, statement};
pub use verify::{Claim, Rejected, Verification, Verified, Way, verify};

use std::io::{Cursor, Read};

use crate::digest::Digest;
use crate::image::{Descriptor, Reference};
use crate::registry::Client;

/// `sha256-<hex>`, from which the tags beside an image are made.
fn tag_of(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

/// The tag that names the older signatures of an image.
fn signature_tag(digest: &Digest) -> String {
    format!("{}.sig", tag_of(digest))
}

/// Pushes a small blob that may be there already.
fn push_blob(client: &Client, to: &Reference, blob: &Descriptor, bytes: &[u8]) -> Result<(), AttestError> {
    if client.has_blob(to, &blob.digest)? {
        return Ok(());
    }
    let bytes = bytes.to_vec();
    let open = || -> std::io::Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(bytes.clone()))) };
    Ok(client.push_blob(to, blob, &open, &|_| ())?)
}
