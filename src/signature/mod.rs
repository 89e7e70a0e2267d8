//! Keys in PEM, and what is signed with them: plain messages and DSSE envelopes.
//!
//! | file | what it knows |
//! |---|---|
//! | `key` | [`SigningKey`], [`TrustedKey`]: PKCS#8, SEC 1, SPKI; ECDSA on P-256, Ed25519 |
//! | `sealed` | cosign's private keys, encrypted with a password |
//! | `envelope` | DSSE: what is signed, and how it is written |
//!
//! Values only: randomness comes from the caller.

mod envelope;
mod key;
mod sealed;
#[cfg(test)]
mod tests;

pub use envelope::{Envelope, EnvelopeError};
pub use key::{KeyError, SigningKey, TrustedKey};
pub use sealed::{KeyPair, RANDOM_BYTES};
