//! Sigstore's bundle.
//!
//! # Source
//! sigstore `protobuf-specs`, `sigstore_bundle.proto`; cosign 3 writes 0.3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::error::Rejection;
use super::statement::STATEMENT;
use crate::signature::{Envelope, SigningKey, TrustedKey};

/// Media type, and type of the artifact that holds one.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// What bundles were and are called.
const FAMILY: &str = "application/vnd.dev.sigstore.bundle";

/// Whether a media type or type of an artifact is one of bundles.
pub(super) fn is_bundle(media_type: &str) -> bool {
    media_type.strip_prefix(FAMILY).is_some_and(|rest| rest.starts_with(['.', '+']))
}

/// A bundle with `statement` signed by `key`, as JSON.
pub(super) fn bundle(key: &SigningKey, statement: Vec<u8>) -> Vec<u8> {
    let hint = hint(&key.public());
    let envelope = Envelope::sign(key, &hint, STATEMENT, statement);
    // sigstore's models for Python want the empty list, too.
    let material = json!({ "publicKey": { "hint": hint }, "tlogEntries": [] });
    let bundle = json!({ "mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope.to_json() });
    bundle.to_string().into_bytes()
}

/// By which a verifier with many keys finds this one.
///
/// # Source
/// sigstore-go: base64 of the SHA-256 of the key (SPKI, DER).
fn hint(key: &TrustedKey) -> String {
    STANDARD.encode(key.fingerprint())
}

/// The envelope of a bundle. A certificate or a log entry in it is nothing that a key needs.
pub(super) fn envelope(bytes: &[u8]) -> Result<Envelope, Rejection> {
    let malformed = |reason: &str| Rejection::Malformed(reason.to_owned());
    let mut bundle: Value = serde_json::from_slice(bytes).map_err(|_| malformed("the bundle is no JSON"))?;
    if !bundle.get("mediaType").and_then(Value::as_str).is_some_and(is_bundle) {
        return Err(malformed("it does not call itself a bundle"));
    }
    let envelope = bundle.get_mut("dsseEnvelope").map(Value::take);
    let envelope = envelope.ok_or_else(|| malformed("the bundle has no DSSE envelope"))?;
    let envelope = Envelope::from_json(envelope).map_err(|error| Rejection::Malformed(error.to_string()))?;
    match envelope.payload_type.as_str() {
        STATEMENT => Ok(envelope),
        other => Err(Rejection::Kind { found: super::error::printable(other), wanted: "an in-toto statement" }),
    }
}
