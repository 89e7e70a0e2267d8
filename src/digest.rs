//! Identities of bytes: OCI digests, and the BLAKE3 hashes that cache keys are made of.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// Hash algorithm of a [`Digest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256: 64 hex digits.
    Sha256,
    /// SHA-512: 128 hex digits.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// `algorithm:hex` over exact bytes; checked when made, so always valid.
///
/// # Source
/// OCI image-spec, `descriptor.md`, "Digests".
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    /// Shared by clones: every file of a view names its layer.
    hex: Arc<str>,
}

/// Why a text is no digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DigestError {
    /// There is no colon.
    #[error("invalid digest {0:?}: expected algorithm:hex")]
    Form(String),
    /// Neither sha256 nor sha512.
    #[error("invalid digest {0:?}: unsupported algorithm")]
    Algorithm(String),
    /// Wrong length, or not lower-case hex.
    #[error("invalid digest {0:?}: wrong length or not lower-case hex")]
    Hex(String),
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::from_sha256(&sha2::Sha256::digest(bytes).into())
    }

    /// Wraps a finished SHA-256 value.
    pub fn from_sha256(value: &[u8; 32]) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: hex(value).into() }
    }

    /// Wraps a finished SHA-512 value.
    pub fn from_sha512(value: &[u8; 64]) -> Self {
        Self { algorithm: Algorithm::Sha512, hex: hex(value).into() }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hex digits alone.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, hex) = text.split_once(':').ok_or_else(|| DigestError::Form(text.into()))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(DigestError::Algorithm(text.into())),
        };
        let valid = hex.len() == algorithm.hex_len() && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !valid {
            return Err(DigestError::Hex(text.into()));
        }
        Ok(Self { algorithm, hex: hex.into() })
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Digest of a layer's uncompressed tar.
///
/// # Source
/// OCI image-spec, `config.md`, "Layer DiffID".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Identity of the file system that a list of layers makes when applied in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Returns the identity of the file system built by applying `diff_ids`, base first;
/// `None` for no layers (an empty file system). One layer's chain ID equals its diff ID.
///
/// # Source
/// OCI image-spec, `config.md`, "Layer ChainID".
pub fn chain_id(diff_ids: &[DiffId]) -> Option<ChainId> {
    diff_ids.iter().fold(None, |below, layer| Some(ChainId::on(below.as_ref(), layer)))
}

impl ChainId {
    /// The chain ID of `layer` on top of the layers with the chain ID `below`.
    pub fn on(below: Option<&Self>, layer: &DiffId) -> Self {
        match below {
            Some(below) => Self(Digest::sha256(format!("{below} {layer}").as_bytes())),
            None => Self(layer.0.clone()),
        }
    }
}

/// BLAKE3-256 over a file's content; what cache keys and TOCs name contents by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentHash {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let bad = || DigestError::Hex(text.into());
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(|_| bad())
    }
}

impl TryFrom<String> for ContentHash {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

/// Lower-case hex of `bytes`.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_checked_when_parsed() {
        let good = Digest::sha256(b"");
        assert_eq!(good.to_string().parse(), Ok(good));
        for bad in ["", "sha256", "sha256:", "sha256:AB", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:../../x"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn chain_of_one_is_its_diff_id() {
        let one = DiffId(Digest::sha256(b"one"));
        assert_eq!(chain_id(&[]), None);
        assert_eq!(chain_id(std::slice::from_ref(&one)), Some(ChainId(one.0.clone())));
        let two = DiffId(Digest::sha256(b"two"));
        let expected = Digest::sha256(format!("{one} {two}").as_bytes());
        assert_eq!(chain_id(&[one, two]), Some(ChainId(expected)));
    }
}
