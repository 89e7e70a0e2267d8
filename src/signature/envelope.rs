//! DSSE: a signature over a payload and its type.
//!
//! # Source
//! secure-systems-lab `dsse`, `protocol.md` and `envelope.md`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{SigningKey, TrustedKey};

const PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const EITHER_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PADDING);
const EITHER_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PADDING);

/// A payload with one signature, as bundles have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is, a media type.
    pub payload_type: String,
    /// What was signed.
    pub payload: Vec<u8>,
    signature: Vec<u8>,
    /// A hint, signed by nobody.
    key_id: String,
}

/// Why an envelope cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not the JSON of an envelope.
    #[error("it is no DSSE envelope")]
    Malformed,
    /// Bundles have exactly one.
    #[error("it has {0} signatures, where one is allowed")]
    Signatures(usize),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    payload: String,
    payload_type: String,
    signatures: Vec<WrittenSignature>,
}

#[derive(Serialize, Deserialize)]
struct WrittenSignature {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    keyid: String,
    sig: String,
}

impl Envelope {
    /// Signs `payload`. `key_id` is what others may look the key up by.
    pub fn sign(key: &SigningKey, key_id: &str, payload_type: &str, payload: Vec<u8>) -> Self {
        let signature = key.sign(&encoding(payload_type, &payload));
        Self { payload_type: payload_type.to_owned(), payload, signature, key_id: key_id.to_owned() }
    }

    /// As JSON, the fields in a fixed order.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!(Written {
            payload: STANDARD.encode(&self.payload),
            payload_type: self.payload_type.clone(),
            signatures: vec![WrittenSignature { keyid: self.key_id.clone(), sig: STANDARD.encode(&self.signature) }],
        })
    }

    /// Reads an envelope; unknown fields do not count, and either alphabet of base64 is taken.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn from_json(value: serde_json::Value) -> Result<Self, EnvelopeError> {
        let Written { payload, payload_type, signatures } =
            serde_json::from_value(value).map_err(|_| EnvelopeError::Malformed)?;
        let [WrittenSignature { keyid, sig }] = signatures.as_slice() else {
            return Err(EnvelopeError::Signatures(signatures.len()));
        };
        let (payload, signature) = (decode(&payload)?, decode(sig)?);
        Ok(Self { payload_type, payload, signature, key_id: keyid.clone() })
    }

    /// The first of `keys` that signed it.
    pub fn signer<'a>(&self, keys: &'a [TrustedKey]) -> Option<&'a TrustedKey> {
        let message = encoding(&self.payload_type, &self.payload);
        keys.iter().find(|key| key.verifies(&message, &self.signature))
    }
}

fn decode(text: &str) -> Result<Vec<u8>, EnvelopeError> {
    let decoded = EITHER_STANDARD.decode(text).or_else(|_| EITHER_URL.decode(text));
    decoded.map_err(|_| EnvelopeError::Malformed)
}

/// What is signed: lengths before texts, so that no two pairs have the same bytes.
pub(super) fn encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}
