//! What a signature is over: a framed list of fields, so that no two lists have the same bytes.

use super::super::{Record, RecordLayer};
use crate::digest::DiffId;
use crate::image::Descriptor;

/// Tagged, length-prefixed fields.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: &str) -> Self {
        let mut message = Self(Vec::with_capacity(512));
        message.field(b"yadokari");
        message.field(kind.as_bytes());
        message
    }

    fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    fn descriptor(&mut self, blob: &Descriptor) -> &mut Self {
        self.field(blob.media_type.as_bytes());
        self.field(blob.digest.to_string().as_bytes());
        self.field(&blob.size.to_le_bytes())
    }
}

/// All of a record that a build goes by. What only explains misses is left out: it may be cut.
pub(super) fn record_message(record: &Record) -> Vec<u8> {
    // No `..`: a new field cannot be forgotten.
    let Record {
        version,
        key,
        content_key,
        parts: _,
        instruction: _,
        layers,
        state,
        created,
        duration_ms,
        executor,
        signature: _,
    } = record;
    let mut message = Message::new("record 1");
    message.field(&version.to_le_bytes()).field(&key.0.0);
    message.field(content_key.as_ref().map(|key| key.0.0.as_slice()).unwrap_or_default());
    message.field(&(layers.len() as u64).to_le_bytes());
    for RecordLayer { blob, diff_id, uncompressed_size, toc, created } in layers {
        message.descriptor(blob).field(diff_id.to_string().as_bytes()).field(&uncompressed_size.to_le_bytes());
        message.descriptor(toc).field(&created.to_le_bytes());
    }
    message.field(state.as_ref().map(|state| state.0.as_slice()).unwrap_or_default());
    message.field(&created.to_le_bytes()).field(&duration_ms.to_le_bytes()).field(executor.as_bytes());
    message.0
}

pub(super) fn toc_message(layer: &DiffId, toc: &Descriptor) -> Vec<u8> {
    let mut message = Message::new("table of contents 1");
    message.field(layer.to_string().as_bytes()).descriptor(toc);
    message.0
}
