//! The store as its users see it: what survives, what is refused, and who wins.

mod blobs;
mod codec;
mod partial;
mod prune;
mod records;
mod sharing;

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::digest::{ContentHash, DiffId};
use crate::image::media_type;
use crate::key::CacheKey;

fn store(directory: &Path) -> Store {
    Store::open_with(directory, Access::ReadWrite, Durability::None).expect("a new store")
}

fn durable(directory: &Path) -> Store {
    Store::open(directory, Access::ReadWrite).expect("a new store")
}

fn key(seed: u32) -> CacheKey {
    CacheKey(ContentHash::of(&seed.to_le_bytes()))
}

/// A record whose blobs are stored.
fn stored_record(store: &Store, seed: u32) -> Record {
    let text = format!("layer {seed}");
    let blob = store.put_blob(media_type::OCI_LAYER, text.as_bytes()).expect("blob");
    let toc = store.put_blob(media_type::TOC, format!("toc {seed}").as_bytes()).expect("toc");
    let diff_id = DiffId(blob.digest.clone());
    let layer = RecordLayer { blob, diff_id, uncompressed_size: text.len() as u64, toc, created: 7 };
    Record {
        version: Record::VERSION,
        key: key(seed),
        content_key: None,
        parts: [("command".to_owned(), text)].into(),
        instruction: format!("RUN {seed}"),
        layers: vec![layer],
        state: None,
        created: 7,
        duration_ms: 3,
        executor: "yadokari test".into(),
        signature: None,
    }
}

fn leftovers(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory.join("tmp")).expect("tmp").map(|e| e.expect("entry").path()).collect()
}

/// Replaces a file by another one, as a restored backup would.
fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).expect("write");
    fs::rename(&new, path).expect("rename");
}
