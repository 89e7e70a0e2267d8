//! What the cache API says and is told, as JSON. Pure. The whole of it: `openapi.yaml`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use yadokari::digest::Digest;

use crate::name::Tag;
use crate::storage::Found;

/// Keys in one request at most.
pub(crate) const MAX_KEYS: usize = 10_000;

/// Body of a look-up.
#[derive(Debug, Deserialize)]
pub(crate) struct LookUp {
    /// Tags, mostly the hex of cache keys.
    pub(crate) keys: Vec<String>,
}

/// Body of the answer.
#[derive(Debug, Serialize)]
struct LookedUp<'a> {
    records: Vec<Entry<'a>>,
    /// Keys that were left out since the answer was long enough; to be asked for again.
    #[serde(skip_serializing_if = "<[Tag]>::is_empty", serialize_with = "as_texts")]
    rest: &'a [Tag],
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    key: &'a str,
    digest: &'a Digest,
    /// Byte for byte as it was pushed.
    manifest: &'a RawValue,
}

fn as_texts<S: serde::Serializer>(tags: &[Tag], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(tags.iter().map(Tag::as_str))
}

/// The answer to a look-up of `keys`, the first `seen` of which were looked at.
pub(crate) fn answer(keys: &[Tag], found: &[Found], seen: usize) -> Vec<u8> {
    let records = found.iter().filter_map(|found| {
        // Copied as it is, not read and written anew.
        let manifest = serde_json::from_slice(&found.manifest).ok()?;
        Some(Entry { key: keys.get(found.number)?.as_str(), digest: &found.digest, manifest })
    });
    let looked_up = LookedUp { records: records.collect(), rest: keys.get(seen..).unwrap_or_default() };
    // Strings and checked JSON only: nothing can fail.
    serde_json::to_vec(&looked_up).unwrap_or_default()
}
