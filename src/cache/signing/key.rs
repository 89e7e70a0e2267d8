//! Keys in PEM, as openssl and cosign write them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use ed25519_dalek::Signer as _;
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _};
use serde::Deserialize;

use super::RecordSignature;
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
    #[error("the password does not open it (set COSIGN_PASSWORD)")]
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
        for label in ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"] {
            if let Some(block) = pem_block(text, label) {
                return Self::from_pkcs8(&decrypt(&pem_bytes(block).ok_or(KeyError::NoKey("private"))?, password)?);
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

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
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

    pub(super) fn sign(&self, message: &[u8]) -> RecordSignature {
        let value = match &self.0 {
            Private::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Private::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
        };
        RecordSignature { key: self.public().id, value: STANDARD.encode(value) }
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
        let der = match &public {
            Public::P256(key) => key.to_public_key_der(),
            Public::Ed25519(key) => key.to_public_key_der(),
        };
        // A key that was read can be written.
        let der = der.map(|der| der.as_bytes().to_vec()).unwrap_or_default();
        Self { public, id: Digest::sha256(&der).hex().to_owned() }
    }

    /// Hex of the SHA-256 of the key (SPKI, DER).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether `signature` (base64) is this key's over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let Ok(bytes) = STANDARD.decode(signature) else { return false };
        match &self.public {
            Public::P256(key) => {
                use p256::ecdsa::signature::Verifier as _;
                p256::ecdsa::Signature::from_der(&bytes).is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
            Public::Ed25519(key) => ed25519_dalek::Signature::from_slice(&bytes)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
        }
    }
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

/// # Source
/// secure-systems-lab `encrypted`: the envelope of cosign's keys.
#[derive(Deserialize)]
struct Envelope {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Scrypt,
    salt: String,
}

#[derive(Deserialize)]
struct Scrypt {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

fn decrypt(json: &[u8], password: &[u8]) -> Result<Vec<u8>, KeyError> {
    let unsupported = |what: &str| KeyError::Encryption(what.chars().take(64).collect());
    let Envelope { kdf, cipher, ciphertext } = serde_json::from_slice(json).map_err(|_| unsupported("no envelope"))?;
    if kdf.name != "scrypt" || cipher.name != "nacl/secretbox" {
        return Err(unsupported(&format!("{} and {}", kdf.name, cipher.name)));
    }
    // Others could ask for any amount of memory.
    let log_n = match (kdf.params.n, kdf.params.r, kdf.params.p) {
        (32_768, 8, 1) => 15,
        (65_536, 8, 1) => 16,
        (131_072, 8, 1) => 17,
        _ => return Err(unsupported("parameters of scrypt that cosign does not use")),
    };
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| unsupported("no base64"));
    let (salt, nonce, ciphertext) = (decode(&kdf.salt)?, decode(&cipher.nonce)?, decode(&ciphertext)?);
    let nonce: [u8; 24] = nonce.try_into().map_err(|_| unsupported("a nonce of another length"))?;
    let parameters = scrypt::Params::new(log_n, 8, 1, 32).map_err(|error| unsupported(&error.to_string()))?;
    let mut key = [0; 32];
    scrypt::scrypt(password, &salt, &parameters, &mut key).map_err(|error| unsupported(&error.to_string()))?;
    let opened = XSalsa20Poly1305::new(&key.into()).decrypt(&Nonce::from(nonce), ciphertext.as_slice());
    opened.map_err(|_| KeyError::Password)
}
