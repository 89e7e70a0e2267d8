//! The payload of signatures in a tag.
//!
//! # Source
//! cosign `specs/SIGNATURE_SPEC.md`; containers/image "simple signing".

use serde::Deserialize;
use serde_json::json;

use super::error::{Rejection, printable};
use crate::digest::Digest;

/// Media type of the payload.
pub(super) const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation of the payload's descriptor: the signature in base64.
pub(super) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

const KIND: &str = "cosign container image signature";

/// That `image` in `repository` is signed, as JSON with sorted fields.
pub(super) fn payload(repository: &str, image: &Digest) -> Vec<u8> {
    let critical = json!({
        "identity": { "docker-reference": repository },
        "image": { "docker-manifest-digest": image.to_string() },
        "type": KIND,
    });
    json!({ "critical": critical, "optional": null }).to_string().into_bytes()
}

#[derive(Deserialize)]
struct Read {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    r#type: String,
}

#[derive(Deserialize)]
struct Image {
    /// The specification's example has a capital letter.
    #[serde(rename = "docker-manifest-digest", alias = "Docker-manifest-digest")]
    digest: String,
}

/// Whether `payload` is about `image`. Its signature was checked before.
pub(super) fn check(payload: &[u8], image: &Digest) -> Result<(), Rejection> {
    let Read { critical } = serde_json::from_slice(payload)
        .map_err(|_| Rejection::Malformed("what is signed is no simple signing payload".into()))?;
    if critical.r#type != KIND && critical.r#type != super::IMAGE_SIGNATURE {
        return Err(Rejection::Kind { found: printable(&critical.r#type), wanted: KIND });
    }
    if critical.image.digest == image.to_string() { Ok(()) } else { Err(Rejection::OtherImage(image.clone())) }
}
