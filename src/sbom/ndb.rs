//! rpm's own database, as SUSE has it.
//!
//! # Source
//! rpm `lib/backend/ndb/rpmpkg.c`.

const MAGIC: &[u8] = b"RpmP";
const SLOT: &[u8] = b"Slot";
const BLOB: &[u8] = b"BlbS";
const PAGE: usize = 4096;
/// Length of a slot, of a blob's head, and of the blocks that offsets count, in bytes.
const BLOCK: usize = 16;
/// Longest header that is read, in bytes.
const MAX_VALUE: usize = 64 << 20;

/// The header of every package. A damaged database gives what can be read of it.
pub(super) fn blobs(bytes: &[u8]) -> Vec<&[u8]> {
    if !bytes.starts_with(MAGIC) {
        return Vec::new();
    }
    let pages = word(bytes, 12).unwrap_or_default();
    let table = bytes.get(..pages.saturating_mul(PAGE).min(bytes.len())).unwrap_or_default();
    // The head of the file takes the place of two slots.
    table.chunks_exact(BLOCK).skip(2).filter_map(|slot| blob(bytes, slot)).collect()
}

fn blob<'a>(bytes: &'a [u8], slot: &[u8]) -> Option<&'a [u8]> {
    let package = word(slot, 4).filter(|number| slot.starts_with(SLOT) && *number != 0)?;
    let blob = bytes.get(word(slot, 8)?.checked_mul(BLOCK)?..)?;
    let length = word(blob, 12).filter(|length| *length <= MAX_VALUE)?;
    let is_its = blob.starts_with(BLOB) && word(blob, 4) == Some(package);
    is_its.then(|| blob.get(BLOCK..BLOCK + length)).flatten()
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
    usize::try_from(word).ok()
}
