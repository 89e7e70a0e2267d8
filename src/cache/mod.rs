//! The layer cache: which results are known, and where their bytes are. Records, and how they
//! lie in a store and in a cache repository: `docs/format.md`.
//!
//! A cache never fails a build. A look-up that cannot be made is a miss and an event; a save
//! that failed is an event.

mod documents;
mod error;
mod gate;
mod hot;
mod layout;
mod local;
mod manifest;
mod mounts;
mod options;
mod registry;
mod repository;
mod saver;
mod saving;
mod server;
mod signing;
mod tiered;
mod uploads;
mod vacancy;

use std::io::Read;
use std::time::{Duration, SystemTime};

pub use crate::store::{Record, RecordError, RecordLayer, RecordSignature};
pub use error::CacheError;
pub use hot::{HotImage, HotSet};
pub use layout::LayoutCache;
pub use local::LocalCache;
pub use mounts::{SavedMount, mount_tag};
pub use options::RegistryCacheOptions;
pub use registry::RegistryCache;
pub use repository::{CacheRepository, RemoteRecord, RepositoryListing};
pub use saver::BackgroundSaver;
pub use signing::{Distrust, Trust};
pub use tiered::TieredCache;

use crate::digest::{ContentHash, DiffId, Digest};
use crate::image::Descriptor;
use crate::key::CacheKey;
use crate::report::CacheTier;

/// A place that remembers results.
pub trait LayerCache: Send + Sync {
    /// Does what a look-up would have to do first, such as getting a token, before there are keys to
    /// look up. May take as long as a request.
    fn prepare(&self) {}

    /// Looks all keys up; same length and order. A fault is an event and a miss.
    fn look_up(&self, keys: &[CacheKey]) -> Vec<Option<Hit>>;

    /// Stores the blobs of `record` (from the local store), then the record under its key and its
    /// content key. What is known already, and usable, stays as it is.
    ///
    /// # Errors
    /// [`CacheError`]; the record is then under none or only one of its keys.
    fn save(&self, record: &Record) -> Result<(), CacheError>;

    /// The same; calls `uploaded` as soon as the blobs are there, before the record is: whoever waits to mount them
    /// need not wait for that.
    ///
    /// # Errors
    /// As [`LayerCache::save`]; `uploaded` was not called then, or was.
    fn save_telling(&self, record: &Record, uploaded: &(dyn Fn() + Sync)) -> Result<(), CacheError> {
        self.save(record)?;
        uploaded();
        Ok(())
    }

    /// How many saves to have under way, where `usual` are enough for a cache that is near.
    fn at_once(&self, usual: usize) -> usize {
        usual
    }

    /// Waits, at most for `patience`, while another build makes the result of `key`. True when that
    /// is there now; else it is the caller's to make, and others wait until it is saved or
    /// [`LayerCache::end_turn`] is called. Advice only: without a server that keeps turns, nobody waits.
    fn await_turn(&self, key: &CacheKey, patience: Duration) -> bool {
        let _ = (key, patience);
        false
    }

    /// Lets others make the result of `key`: this build does not.
    fn end_turn(&self, key: &CacheKey) {
        let _ = key;
    }

    /// Forgets a blob that turned out not to be what its records say.
    fn forget(&self, blob: &Digest) {
        let _ = blob;
    }

    /// Up to `limit` records, for explaining misses. Slow; a fault is an event and none.
    fn all_records(&self, limit: usize) -> Vec<Record>;

    /// The table of contents, compressed, of a layer that no record names: a base image's.
    /// A fault is an event and `None`.
    fn layer_toc(&self, layer: &DiffId) -> Option<Vec<u8>>;

    /// Stores a table of contents for [`LayerCache::layer_toc`]; its blob is in the local store.
    ///
    /// # Errors
    /// [`CacheError`].
    fn save_layer_toc(&self, layer: &DiffId, toc: &Descriptor) -> Result<(), CacheError>;

    /// Documents of a base image that were saved under a name: hints, not verified. A fault is an event and none.
    fn documents(&self, name: &ContentHash) -> Vec<Vec<u8>> {
        let _ = name;
        Vec::new()
    }

    /// Saves documents for [`LayerCache::documents`], in the place of what is there.
    ///
    /// # Errors
    /// [`CacheError`].
    fn save_documents(&self, name: &ContentHash, documents: &[Vec<u8>]) -> Result<(), CacheError> {
        let _ = (name, documents);
        Ok(())
    }

    /// Opens a blob; `None` when it is not here. Reading ends with an error when the bytes are
    /// not what the descriptor says.
    ///
    /// # Errors
    /// [`CacheError`].
    fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + Send>>, CacheError>;
}

/// What a look-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The record.
    pub record: Record,
    /// Who had it.
    pub tier: CacheTier,
}

/// True when the record is older than `ttl`; one from the future, by another clock, is not.
fn is_expired(record: &Record, ttl: Option<Duration>) -> bool {
    let Some(ttl) = ttl else { return false };
    let created = u64::try_from(record.created).unwrap_or_default();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(created)) > ttl
}
