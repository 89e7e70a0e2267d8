//! What the cache API says and is told, as JSON. Pure. The whole of it: `openapi.yaml`.

use serde::Deserialize;

use memchr::memmem;

use crate::dashboard::Saved;
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

/// Those of the first `seen` keys that were not found.
pub(crate) fn missed<'a>(keys: &'a [Tag], found: &[Found], seen: usize) -> Vec<&'a Tag> {
    let mut numbers = found.iter().map(|found| found.number).peekable();
    let is_missed = |number: &usize| numbers.next_if_eq(number).is_none();
    (0..seen.min(keys.len())).filter(is_missed).filter_map(|number| keys.get(number)).collect()
}

/// What the records spare whoever asked for them.
///
/// Found by their text, for the same reason as above: the duration is in the annotation, whose
/// quotes are escaped, and sizes are where they are not.
pub(crate) fn saved(found: &[Found]) -> Saved {
    let mut saved = Saved { records: found.len() as u64, ..Saved::default() };
    let (duration, size) = (memmem::Finder::new(br#"\"duration_ms\":"#), memmem::Finder::new(br#""size":"#));
    for Found { manifest, .. } in found {
        let after = |at: usize, name: &memmem::Finder<'_>| leading_number(&manifest[at + name.needle().len()..]);
        let millis = duration.find(manifest).map_or(0, |at| after(at, &duration));
        saved.millis = saved.millis.saturating_add(millis);
        let plain = size.find_iter(manifest).filter(|at| *at > 0 && manifest[at - 1] != b'\\');
        plain.for_each(|at| saved.bytes = saved.bytes.saturating_add(after(at, &size)));
    }
    saved
}

fn leading_number(text: &[u8]) -> u64 {
    let digits = text.trim_ascii_start().iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use yadokari::digest::Digest;

    use super::*;

    #[test]
    fn what_is_saved_is_read_from_the_text() {
        let record = json!({ "layers": [{ "blob": { "size": 999 } }], "duration_ms": 1500 }).to_string();
        let manifest = json!({
            "config": { "size": 2 }, "layers": [{ "size": 40 }, { "size": 100 }],
            "annotations": { "dev.yadokari.record": record },
        });
        let image = json!({ "config": { "size": 1 }, "layers": [] });
        let spaced = serde_json::to_string_pretty(&manifest).expect("JSON").into_bytes();
        assert_eq!(saved(&[Found { number: 0, digest: Digest::sha256(b""), manifest: spaced }]).bytes, 142);
        let found = |number: usize, value: &serde_json::Value| Found {
            number,
            digest: Digest::sha256(b""),
            manifest: value.to_string().into_bytes(),
        };
        let all = [found(1, &manifest), found(3, &image)];
        assert_eq!(saved(&all), Saved { records: 2, bytes: 143, millis: 1500 });
        let keys: Vec<Tag> = ["a", "b", "c", "d", "e"].iter().map(|tag| tag.parse().expect("valid")).collect();
        let names = |seen| missed(&keys, &all, seen).into_iter().map(Tag::as_str).collect::<Vec<_>>();
        assert_eq!(names(5), ["a", "c", "e"]);
        assert_eq!(names(2), ["a"]);
    }
}
