//! `executor cache stats`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use yadokari::cache::CacheRepository;
use yadokari::digest::Digest;
use yadokari::report::{human_bytes, human_duration};
use yadokari::store::{Access, Holdings, Store};

use super::flags::StatsFlags;
use super::place::Place;
use crate::failure::Failure;

pub(super) fn stats(flags: &StatsFlags) -> Result<(), Failure> {
    let numbers = match Place::open(&flags.place, Access::ReadOnly)? {
        Place::Store(store) => of_store(&store)?,
        Place::Repository(repository) => of_repository(&repository)?,
    };
    if flags.form.json {
        let object: serde_json::Map<String, Value> =
            numbers.into_iter().map(|(name, value)| (name.replace(' ', "_"), value.json())).collect();
        println!("{:#}", Value::Object(object));
    } else {
        numbers.iter().for_each(|(name, value)| println!("{name:22} {}", value.text()));
    }
    Ok(())
}

enum Number {
    Count(usize),
    Bytes(u64),
    Milliseconds(u64),
}

impl Number {
    fn text(&self) -> String {
        match self {
            Self::Count(count) => count.to_string(),
            Self::Bytes(bytes) => human_bytes(*bytes),
            Self::Milliseconds(milliseconds) => human_duration(Duration::from_millis(*milliseconds)),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Count(count) => json!(count),
            Self::Bytes(number) | Self::Milliseconds(number) => json!(number),
        }
    }
}

type Numbers = Vec<(&'static str, Number)>;

fn of_store(store: &Store) -> Result<Numbers, Failure> {
    let Holdings {
        records,
        layers,
        blobs,
        blob_bytes,
        unreferenced,
        unreferenced_bytes,
        images,
        extracted,
        extracted_bytes,
        duration_ms,
        builds,
    } = store.holdings()?;
    Ok(vec![
        ("records", Number::Count(records)),
        ("layers", Number::Count(layers)),
        ("time of steps", Number::Milliseconds(duration_ms)),
        ("blobs", Number::Count(blobs)),
        ("blob bytes", Number::Bytes(blob_bytes)),
        ("unreferenced blobs", Number::Count(unreferenced)),
        ("unreferenced bytes", Number::Bytes(unreferenced_bytes)),
        ("images", Number::Count(images)),
        ("extracted layers", Number::Count(extracted)),
        ("extracted bytes", Number::Bytes(extracted_bytes)),
        ("running builds", Number::Count(builds)),
    ])
}

fn of_repository(repository: &CacheRepository) -> Result<Numbers, Failure> {
    let listing = repository.list(usize::MAX)?;
    let blobs = listing.records.iter().flat_map(|remote| remote.record.blobs());
    let blobs: BTreeMap<&Digest, u64> = blobs.map(|blob| (&blob.digest, blob.size)).collect();
    let steps = listing.records.iter().filter(|remote| remote.key == remote.record.key);
    Ok(vec![
        ("records", Number::Count(listing.records.len())),
        ("unusable records", Number::Count(listing.unusable.len())),
        ("time of steps", Number::Milliseconds(steps.map(|r| r.record.duration_ms).fold(0, u64::saturating_add))),
        ("blobs", Number::Count(blobs.len())),
        ("blob bytes", Number::Bytes(blobs.values().copied().fold(0, u64::saturating_add))),
        ("tables of contents", Number::Count(listing.tocs)),
        ("other tags", Number::Count(listing.foreign)),
    ])
}
