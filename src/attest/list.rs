//! Tags whose documents are lists that several write: there is no lock on a tag.

use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::error::AttestError;
use super::push_blob;
use crate::digest::Digest;
use crate::image::{Descriptor, Reference, media_type};
use crate::registry::{Client, Purpose};

/// Tries to add to a tag that others write at the same time.
const TRIES: u32 = 20;
/// Least time before looking whether an addition is still there: others that read before may be slower.
const SETTLING: Duration = Duration::from_millis(250);
/// Most that is added at random so that writers do not come back together, in milliseconds.
const SPREAD: u64 = 40;

type Configure = fn(&[Value]) -> Vec<u8>;

/// What kind of list it is.
pub(super) struct List {
    /// In words.
    pub(super) name: &'static str,
    pub(super) media_type: &'static str,
    /// Where its entries are.
    pub(super) field: &'static str,
    /// By which two entries are one.
    pub(super) identity: &'static [&'static str],
    /// Makes the image configuration that it names from its entries.
    pub(super) config: Option<Configure>,
}

/// A list as it was found.
struct Found {
    /// `None`: there was none.
    digest: Option<Digest>,
    document: Value,
}

/// What is to be written.
struct Change {
    list: Value,
    config: Option<Vec<u8>>,
}

/// A document of another kind.
struct Unfit;

impl List {
    /// Adds an entry to what `tag` names, until it is there to stay. Others may have read before and write after us: so
    /// we look again, after longer than it took, and whoever saw an entry of anybody that was lost puts it back.
    ///
    /// # Errors
    /// Also [`AttestError::Occupied`] and [`AttestError::Contended`].
    pub(super) fn add(&self, client: &Client, tag: &Reference, entry: Value) -> Result<(), AttestError> {
        let occupied = |Unfit| AttestError::Occupied { tag: tag.to_string(), expected: self.name };
        let mut known = vec![entry];
        for tried in 0..TRIES {
            let started = Instant::now();
            let found = self.read(client, tag)?;
            let Some(change) = self.change(&mut known, found.document).map_err(occupied)? else { return Ok(()) };
            change.write(client, tag, self.media_type, found.digest.as_ref())?;
            // Each `RandomState` has keys of its own.
            let random = Duration::from_millis(RandomState::new().hash_one(tried) % SPREAD);
            thread::sleep(SETTLING.max(started.elapsed() * 3) + random * (tried + 1));
        }
        Err(AttestError::Contended(tag.to_string()))
    }

    fn read(&self, client: &Client, tag: &Reference) -> Result<Found, AttestError> {
        let Some(there) = client.fetch_manifest(tag, Purpose::Push)? else {
            let document = json!({ "schemaVersion": 2, "mediaType": self.media_type, self.field: [] });
            return Ok(Found { digest: None, document });
        };
        // What is no JSON is no list.
        let document = serde_json::from_slice(&there.bytes).unwrap_or_default();
        Ok(Found { digest: Some(there.descriptor.digest), document })
    }

    /// What makes the list have all that is `known`, to which its other entries are added. `None`: it has them.
    fn change(&self, known: &mut Vec<Value>, mut list: Value) -> Result<Option<Change>, Unfit> {
        let entries = list.get_mut(self.field).and_then(Value::as_array_mut).ok_or(Unfit)?;
        let missing = self.beyond(entries, known);
        known.extend(self.beyond(known, entries));
        if missing.is_empty() {
            return Ok(None);
        }
        entries.extend(missing);
        let config = self.config.map(|config| config(entries));
        if let Some(config) = &config {
            list["config"] = json!(Descriptor::of(media_type::OCI_CONFIG, config));
        }
        Ok(Some(Change { list, config }))
    }

    /// Those of `entries` that are not in `known`.
    fn beyond(&self, known: &[Value], entries: &[Value]) -> Vec<Value> {
        let is_same = |one: &Value, other: &Value| self.identity.iter().all(|field| one.get(field) == other.get(field));
        entries.iter().filter(|entry| !known.iter().any(|other| is_same(entry, other))).cloned().collect()
    }
}

impl Change {
    /// Writes it if the tag names what it named, or nothing. What it names goes first, which takes time.
    fn write(
        &self,
        client: &Client,
        tag: &Reference,
        media_type: &str,
        before: Option<&Digest>,
    ) -> Result<(), AttestError> {
        if let Some(config) = &self.config {
            push_blob(client, tag, &Descriptor::of(media_type::OCI_CONFIG, config), config)?;
            let named = client.head_manifest(tag, Purpose::Push)?;
            if named.map(|document| document.digest).as_ref() != before {
                return Ok(());
            }
        }
        client.push_manifest(tag, media_type, self.list.to_string().as_bytes())?;
        Ok(())
    }
}
