//! What the cache API says and is told, as JSON. Pure. The whole of it: `openapi.yaml`.

use serde::Deserialize;

use crate::name::Tag;
use crate::storage::Found;

/// Keys in one request at most.
pub(crate) const MAX_KEYS: usize = 10_000;

/// Of an entry in the answer, besides its manifest.
const ENTRY_BYTES: usize = 256;

/// Body of a look-up.
#[derive(Debug, Deserialize)]
pub(crate) struct LookUp {
    /// Tags, mostly the hex of cache keys.
    pub(crate) keys: Vec<String>,
}

/// The answer to a look-up of `keys`, the first `seen` of which were looked at.
///
/// It is put together from texts: manifests are JSON that was checked when it was pushed, and
/// reading it again would take most of the time. Tags and digests need no escapes.
pub(crate) fn answer(keys: &[Tag], found: &[Found], seen: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(found.iter().map(|found| found.manifest.len() + ENTRY_BYTES).sum());
    text.extend_from_slice(b"{\"records\":[");
    for (position, found) in found.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        let key = keys.get(found.number).map_or("", Tag::as_str);
        text.extend_from_slice(
            format!("{comma}{{\"key\":\"{key}\",\"digest\":\"{}\",\"manifest\":", found.digest).as_bytes(),
        );
        text.extend_from_slice(&found.manifest);
        text.push(b'}');
    }
    text.push(b']');
    let rest: Vec<String> = keys.get(seen..).unwrap_or_default().iter().map(|key| format!("\"{key}\"")).collect();
    if !rest.is_empty() {
        text.extend_from_slice(format!(",\"rest\":[{}]", rest.join(",")).as_bytes());
    }
    text.push(b'}');
    text
}
