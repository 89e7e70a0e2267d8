//! in-toto statements.
//!
//! # Source
//! in-toto attestation framework, `spec/v1/statement.md`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{Rejection, printable};
use crate::digest::Digest;

/// Media type of a statement.
pub const STATEMENT: &str = "application/vnd.in-toto+json";
/// Predicate: this image is mine.
///
/// # Source
/// cosign 3, `pkg/types/predicate.go`.
pub const IMAGE_SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";
/// Predicate: how it was built.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// Predicate: what is in it.
pub const SPDX: &str = "https://spdx.dev/Document";

const TYPES: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

/// A statement about `subject`, as JSON with sorted fields. `name` is what the subject is called, if anything:
/// only the digest counts.
pub fn statement(subject: &Digest, name: Option<&str>, predicate_type: &str, predicate: &Value) -> Vec<u8> {
    let mut about = json!({ "digest": { subject.algorithm().name(): subject.hex() } });
    if let (Some(name), Some(about)) = (name, about.as_object_mut()) {
        about.insert("name".into(), name.into());
    }
    let statement =
        json!({ "_type": TYPES[0], "subject": [about], "predicateType": predicate_type, "predicate": predicate });
    statement.to_string().into_bytes()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

/// The predicate's type, when the statement in `payload` is about `image`. Its signature was checked before.
pub(super) fn predicate_type(payload: &[u8], image: &Digest) -> Result<String, Rejection> {
    let Read { kind, subject, predicate_type } = serde_json::from_slice(payload)
        .map_err(|_| Rejection::Malformed("what is signed is no in-toto statement".into()))?;
    if !TYPES.contains(&kind.as_str()) {
        return Err(Rejection::Kind { found: printable(&kind), wanted: "an in-toto statement" });
    }
    let algorithm = image.algorithm().name();
    let is_meant = |subject: &Subject| subject.digest.get(algorithm).is_some_and(|hex| hex == image.hex());
    if subject.iter().any(is_meant) { Ok(predicate_type) } else { Err(Rejection::OtherImage(image.clone())) }
}
