//! cosign's private keys: scrypt makes a key from a password, which seals the PKCS#8 bytes.
//!
//! # Source
//! cosign `pkg/cosign/keys.go`; secure-systems-lab `encrypted`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use p256::pkcs8::EncodePrivateKey as _;
use serde::{Deserialize, Serialize};

use super::key::{KeyError, pem};
use super::{SigningKey, TrustedKey};

/// What cosign writes today.
pub(super) const LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";

/// How much randomness a new key pair takes: the key, the salt, the nonce.
pub const RANDOM_BYTES: usize = 32 + 32 + 24;

/// What cosign uses for new keys.
const LOG_N: u8 = 16;

#[derive(Serialize, Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Scrypt,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Scrypt {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// A new key pair, as `cosign generate-key-pair` writes it.
pub struct KeyPair {
    /// Encrypted, PEM.
    pub private: String,
    /// SPKI, PEM.
    pub public: String,
}

impl KeyPair {
    /// An ECDSA key on P-256, sealed with `password`, which may be empty. `None` for one in four thousand
    /// million values of `random`, which are no key.
    ///
    /// # Errors
    /// [`KeyError::Encryption`], when memory is short.
    pub fn new(random: &[u8; RANDOM_BYTES], password: &[u8]) -> Result<Option<Self>, KeyError> {
        let (secret, rest) = random.split_at(32);
        let (salt, nonce) = rest.split_at(32);
        let Ok(key) = p256::SecretKey::from_slice(secret) else { return Ok(None) };
        let encoded = |_| KeyError::Encryption("the key cannot be written".into());
        let document = key.to_pkcs8_der().map_err(encoded)?;
        let public = SigningKey::from_pkcs8(document.as_bytes())?.public();
        let nonce: [u8; 24] = nonce.try_into().unwrap_or_default();
        let private = pem(LABEL, &seal(document.as_bytes(), password, salt, nonce)?);
        Ok(Some(Self { private, public: TrustedKey::to_pem(&public) }))
    }
}

fn seal(document: &[u8], password: &[u8], salt: &[u8], nonce: [u8; 24]) -> Result<Vec<u8>, KeyError> {
    let failed = |_| KeyError::Encryption("the key cannot be sealed".into());
    let cipher = cipher(password, salt, LOG_N)?;
    let ciphertext = cipher.encrypt(&Nonce::from(nonce), document).map_err(failed)?;
    let sealed = Sealed {
        kdf: Kdf { name: "scrypt".into(), params: Scrypt { n: 1 << LOG_N, r: 8, p: 1 }, salt: STANDARD.encode(salt) },
        cipher: Cipher { name: "nacl/secretbox".into(), nonce: STANDARD.encode(nonce) },
        ciphertext: STANDARD.encode(ciphertext),
    };
    serde_json::to_vec(&sealed).map_err(|_| KeyError::Encryption("the key cannot be written".into()))
}

/// The PKCS#8 bytes in a sealed key.
pub(super) fn open(json: &[u8], password: &[u8]) -> Result<Vec<u8>, KeyError> {
    let unsupported = |what: &str| KeyError::Encryption(what.chars().take(64).collect());
    let Sealed { kdf, cipher: named, ciphertext } =
        serde_json::from_slice(json).map_err(|_| unsupported("no envelope"))?;
    if kdf.name != "scrypt" || named.name != "nacl/secretbox" {
        return Err(unsupported(&format!("{} and {}", kdf.name, named.name)));
    }
    // Others could ask for any amount of memory.
    let log_n = match (kdf.params.n, kdf.params.r, kdf.params.p) {
        (32_768, 8, 1) => 15,
        (65_536, 8, 1) => 16,
        (131_072, 8, 1) => 17,
        _ => return Err(unsupported("parameters of scrypt that cosign does not use")),
    };
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| unsupported("no base64"));
    let (salt, nonce, ciphertext) = (decode(&kdf.salt)?, decode(&named.nonce)?, decode(&ciphertext)?);
    let nonce: [u8; 24] = nonce.try_into().map_err(|_| unsupported("a nonce of another length"))?;
    let opened = cipher(password, &salt, log_n)?.decrypt(&Nonce::from(nonce), ciphertext.as_slice());
    opened.map_err(|_| KeyError::Password)
}

fn cipher(password: &[u8], salt: &[u8], log_n: u8) -> Result<XSalsa20Poly1305, KeyError> {
    let failed = |text: String| KeyError::Encryption(text);
    let parameters = scrypt::Params::new(log_n, 8, 1, 32).map_err(|error| failed(error.to_string()))?;
    let mut key = [0; 32];
    scrypt::scrypt(password, salt, &parameters, &mut key).map_err(|error| failed(error.to_string()))?;
    Ok(XSalsa20Poly1305::new(&key.into()))
}
