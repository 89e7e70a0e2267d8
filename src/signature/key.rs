//! Keys in PEM, as openssl and cosign write them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _};

use sha2::Digest as _;

use super::sealed;
use crate::digest::Digest;

/// Larger files are no keys, in bytes.
const MAX_PEM: usize = 64 << 10;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No PEM block that could be a key of this kind.
    #[error("there is no {0} key in it (PEM)")]
    NoKey(&'static str),
    /// Neither ECDSA on P-256 nor Ed25519.
    #[error("it is neither an ECDSA P-256 key nor an Ed25519 key")]
    Unsupported,
    /// Encrypted otherwise than cosign does.
    #[error("it is encrypted in a way that is not supported: {0}")]
    Encryption(String),
    /// The password does not open it.
    #[error("the password does not open it (set YADOKARI_SIGN_PASSWORD or COSIGN_PASSWORD)")]
    Password,
}

/// Signs; never printed.
pub struct SigningKey(Private);

enum Private {
    P256(Box<p256::ecdsa::SigningKey>),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

/// Verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    public: Public,
    id: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Public {
    P256(p256::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id)
    }
}

impl SigningKey {
    /// A private key: PKCS#8 or SEC 1 in PEM, or encrypted by cosign with `password`.
    ///
    /// # Errors
    /// [`KeyError`].
    ///
    /// # Source
    /// RFC 5208, RFC 5915, RFC 8410; cosign `pkg/cosign/keys.go`.
    pub fn from_pem(text: &str, password: &[u8]) -> Result<Self, KeyError> {
        if text.len() > MAX_PEM {
            return Err(KeyError::NoKey("private"));
        }
        for label in [sealed::LABEL, "ENCRYPTED COSIGN PRIVATE KEY"] {
            if let Some(block) = pem_block(text, label) {
                let json = pem_bytes(block).ok_or(KeyError::NoKey("private"))?;
                return Self::from_pkcs8(&sealed::open(&json, password)?);
            }
        }
        if let Some(block) = pem_block(text, "EC PRIVATE KEY") {
            let key = p256::SecretKey::from_sec1_pem(block).map_err(|_| KeyError::Unsupported)?;
            return Ok(Self(Private::P256(Box::new(key.into()))));
        }
        if pem_block(text, "ENCRYPTED PRIVATE KEY").is_some() {
            return Err(KeyError::Encryption("PKCS#8 with a password".into()));
        }
        let block = pem_block(text, "PRIVATE KEY").ok_or(KeyError::NoKey("private"))?;
        Self::from_pkcs8(&pem_bytes(block).ok_or(KeyError::NoKey("private"))?)
    }

    pub(super) fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_der(der) {
            return Ok(Self(Private::P256(Box::new(key))));
        }
        let key = ed25519_dalek::SigningKey::from_pkcs8_der(der).map_err(|_| KeyError::Unsupported)?;
        Ok(Self(Private::Ed25519(Box::new(key))))
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> TrustedKey {
        TrustedKey::of(match &self.0 {
            Private::P256(key) => Public::P256(*key.verifying_key()),
            Private::Ed25519(key) => Public::Ed25519(key.verifying_key()),
        })
    }

    /// The signature of `message`: always the same for the same key. ECDSA with SHA-256 as DER, or Ed25519's
    /// 64 bytes.
    ///
    /// # Source
    /// RFC 6979, RFC 8032.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.0 {
            Private::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Private::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
        }
    }
}

impl TrustedKey {
    /// A public key: SPKI in PEM.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let block = Some(text).filter(|text| text.len() <= MAX_PEM).and_then(|text| pem_block(text, "PUBLIC KEY"));
        let der = block.and_then(pem_bytes).ok_or(KeyError::NoKey("public"))?;
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(&der) {
            return Ok(Self::of(Public::P256(key)));
        }
        let key = ed25519_dalek::VerifyingKey::from_public_key_der(&der).map_err(|_| KeyError::Unsupported)?;
        Ok(Self::of(Public::Ed25519(key)))
    }

    fn of(public: Public) -> Self {
        let id = Digest::sha256(&der(&public)).hex().to_owned();
        Self { public, id }
    }

    /// SPKI in PEM.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &der(&self.public))
    }

    /// SHA-256 of the key (SPKI, DER).
    pub fn fingerprint(&self) -> [u8; 32] {
        sha2::Sha256::digest(der(&self.public)).into()
    }

    /// The same in hex.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::P256(key) => {
                use p256::ecdsa::signature::Verifier as _;
                p256::ecdsa::Signature::from_der(signature)
                    .is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
            Public::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
        }
    }
}

fn der(public: &Public) -> Vec<u8> {
    let der = match public {
        Public::P256(key) => key.to_public_key_der(),
        Public::Ed25519(key) => key.to_public_key_der(),
    };
    // A key that was read can be written.
    der.map(|der| der.as_bytes().to_vec()).unwrap_or_default()
}

/// A PEM block, 64 characters a line.
pub(super) fn pem(label: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// From the first line of the block to its last; openssl writes parameters before a key.
fn pem_block<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let end_line = format!("-----END {label}-----");
    let start = text.find(&format!("-----BEGIN {label}-----"))?;
    let length = text[start..].find(&end_line)? + end_line.len();
    Some(&text[start..start + length])
}

fn pem_bytes(block: &str) -> Option<Vec<u8>> {
    let lines = block.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    STANDARD.decode(lines.collect::<String>()).ok()
}
