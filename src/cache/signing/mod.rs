//! Who may say what a step's result is: signatures of records and tables of contents.

mod message;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Record, RecordSignature};
use crate::digest::DiffId;
use crate::image::Descriptor;
use crate::signature::{SigningKey, TrustedKey};
use message::{record_message, toc_message};

/// Signs what is saved, and judges what is found.
#[derive(Debug, Default)]
pub struct Trust {
    signer: Option<SigningKey>,
    trusted: Vec<TrustedKey>,
}

/// Why something is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It has no signature.
    #[error("it is not signed")]
    Unsigned,
    /// Its signature is by somebody else.
    #[error("it is signed by key {0}, which is not trusted")]
    Stranger(String),
    /// It was changed, or signed as something else.
    #[error("its signature by key {0} is wrong")]
    Wrong(String),
}

impl Trust {
    /// Signs with `signer`; where any key is trusted, only what one of them (or the signer) has
    /// signed is taken. Without trusted keys all is.
    pub fn new(signer: Option<SigningKey>, mut trusted: Vec<TrustedKey>) -> Self {
        if let (Some(signer), false) = (&signer, trusted.is_empty()) {
            trusted.push(signer.public());
        }
        Self { signer, trusted }
    }

    /// The record with the signature that it gets here; none without a key. One that it had
    /// before was for other keys.
    pub(super) fn signed(&self, record: &Record) -> Record {
        let signature = self.sign(|| record_message(record));
        Record { signature, ..record.clone() }
    }

    pub(super) fn sign_toc(&self, layer: &DiffId, toc: &Descriptor) -> Option<RecordSignature> {
        self.sign(|| toc_message(layer, toc))
    }

    fn sign(&self, message: impl FnOnce() -> Vec<u8>) -> Option<RecordSignature> {
        let signer = self.signer.as_ref()?;
        let value = STANDARD.encode(signer.sign(&message()));
        Some(RecordSignature { key: signer.public().id().to_owned(), value })
    }

    /// Whether the record may be used. It must have been found under one of its own keys.
    pub(super) fn judge(&self, record: &Record) -> Result<(), Distrust> {
        self.judge_message(record.signature.as_ref(), || record_message(record))
    }

    pub(super) fn judge_toc(
        &self,
        layer: &DiffId,
        toc: &Descriptor,
        signature: Option<&RecordSignature>,
    ) -> Result<(), Distrust> {
        self.judge_message(signature, || toc_message(layer, toc))
    }

    fn judge_message(
        &self,
        signature: Option<&RecordSignature>,
        message: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), Distrust> {
        if self.trusted.is_empty() {
            return Ok(());
        }
        let signature = signature.ok_or(Distrust::Unsigned)?;
        // A hostile name is not repeated in logs.
        let name = || signature.key.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
        let key = self.trusted.iter().find(|key| key.id() == signature.key);
        let key = key.ok_or_else(|| Distrust::Stranger(name()))?;
        let value = STANDARD.decode(&signature.value).ok();
        match value.is_some_and(|value| key.verifies(&message(), &value)) {
            true => Ok(()),
            false => Err(Distrust::Wrong(name())),
        }
    }
}

#[cfg(test)]
mod tests;
