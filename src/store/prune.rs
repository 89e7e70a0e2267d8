//! Removal of what nobody needs: oldest use first, blobs when nothing names them any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::inventory::{StoredBlob, time};
use super::usage::{BUILD, REMOVAL, USE_GRAIN};
use super::{Holder, Store, StoreError};
use crate::digest::Digest;
use crate::key::CacheKey;

/// What was used this lately stays in any case: uses are noted once an hour, and a blob that was
/// just written is named by nothing yet.
const GRACE: Duration = Duration::from_secs(USE_GRAIN.as_secs() + 600);

/// Files that are removed between two looks for new builds.
const BATCH: usize = 64;

/// What may stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneLimits {
    /// What was not used for this long goes.
    pub older_than: Option<Duration>,
    /// Then the least recently used goes until blobs and extracted layers have no more bytes.
    pub keep_bytes: Option<u64>,
}

/// Something that can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removable {
    /// What it is.
    pub kind: RemovableKind,
    /// Last use, exact to an hour.
    pub used: SystemTime,
    /// Bytes that it takes by itself; a record's blobs are removables of their own.
    pub bytes: u64,
}

/// What can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemovableKind {
    /// The record under this key.
    Record(CacheKey),
    /// The table of contents of the layer with this hex.
    Toc(String),
    /// The extracted layer of this name.
    Layer(String),
    /// A blob that nothing names, or will name.
    Blob(Digest),
}

/// What a removal would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// In the order in which they go: blobs last.
    pub removals: Vec<Removable>,
    /// Bytes of blobs and extracted layers now.
    pub bytes_before: u64,
    /// And afterwards.
    pub bytes_after: u64,
    /// Builds that run now; what they may use stays.
    pub builds: Vec<Holder>,
}

/// What a removal did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Files and trees removed.
    pub removed: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Planned, but used or named since.
    pub kept: usize,
    /// A build began, so the rest was left for the next time.
    pub interrupted: bool,
}

/// A removable with the blobs that it names.
struct Candidate {
    removable: Removable,
    blobs: Vec<Digest>,
}

/// How many things name each blob.
type References = HashMap<Digest, usize>;

impl Store {
    /// Finds out what can go. Named images and all that they need stay, as does all that was used
    /// within the last hour, or since an hour before the oldest running build began.
    ///
    /// # Errors
    /// [`StoreError::Io`] and [`StoreError::ImageIndex`].
    pub fn plan_prune(&self, limits: PruneLimits) -> Result<PrunePlan, StoreError> {
        let now = self.layout.now().unwrap_or_else(|_| SystemTime::now());
        let builds = self.layout.holders(BUILD);
        let since = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let oldest = builds.iter().map(|build| since(build.since)).min().map_or(now, |oldest| oldest.min(now));
        let latest = oldest.checked_sub(GRACE).unwrap_or(SystemTime::UNIX_EPOCH);
        let (mut candidates, mut references) = self.candidates()?;
        let blobs = self.list_blobs()?;
        let total = blobs.iter().map(|blob| blob.size).sum::<u64>()
            + candidates.iter().map(|candidate| layer_bytes(&candidate.removable)).sum::<u64>();
        candidates.retain(|candidate| candidate.removable.used < latest);
        candidates.sort_by_key(|candidate| candidate.removable.used);
        let mut planning = Planning { blobs: by_digest(blobs, latest), total, removals: Vec::new() };
        planning.take_unreferenced(&references);
        for candidate in candidates {
            let age = now.duration_since(candidate.removable.used).unwrap_or_default();
            let too_old = limits.older_than.is_some_and(|limit| age > limit);
            let too_much = limits.keep_bytes.is_some_and(|limit| planning.total > limit);
            if too_old || too_much {
                planning.take(candidate, &mut references);
            }
        }
        planning.removals.sort_by_key(|removable| matches!(removable.kind, RemovableKind::Blob(_)));
        let Planning { total: bytes_after, removals, .. } = planning;
        Ok(PrunePlan { removals, bytes_before: total, bytes_after, builds })
    }

    fn candidates(&self) -> Result<(Vec<Candidate>, References), StoreError> {
        let (records, tocs, images) = (self.list_records()?, self.list_tocs()?, self.list_images()?);
        let pinned: BTreeSet<&String> = images.iter().flat_map(|image| &image.diff_ids).collect();
        let mut used_by_layer: BTreeMap<Vec<&Digest>, SystemTime> = BTreeMap::new();
        for stored in &records {
            let used = used_by_layer.entry(layer_digests(&stored.record)).or_insert(stored.used);
            *used = stored.used.max(*used);
        }
        let mut references = References::new();
        let mut name = |digest: &Digest| *references.entry(digest.clone()).or_default() += 1;
        images.iter().flat_map(|image| &image.blobs).for_each(|blob| name(&blob.digest));
        let mut candidates = Vec::new();
        for stored in &records {
            // A result that is used under its definition key is of use under its content key, too.
            let by_content = stored.record.content_key == Some(stored.key);
            let shared = by_content.then(|| used_by_layer.get(&layer_digests(&stored.record)).copied()).flatten();
            let used = shared.unwrap_or(stored.used);
            let blobs: BTreeSet<Digest> = stored.record.blobs().map(|blob| blob.digest.clone()).collect();
            blobs.iter().for_each(&mut name);
            let removable = Removable { kind: RemovableKind::Record(stored.key), used, bytes: stored.bytes };
            candidates.push(Candidate { removable, blobs: blobs.into_iter().collect() });
        }
        for toc in tocs {
            let blobs: Vec<Digest> = toc.blob.into_iter().map(|blob| blob.digest).collect();
            blobs.iter().for_each(&mut name);
            if !pinned.contains(&toc.name) {
                let removable = Removable { kind: RemovableKind::Toc(toc.name), used: toc.used, bytes: 0 };
                candidates.push(Candidate { removable, blobs });
            }
        }
        for layer in self.list_layers()? {
            let removable = Removable { kind: RemovableKind::Layer(layer.id), used: layer.used, bytes: layer.bytes };
            candidates.push(Candidate { removable, blobs: Vec::new() });
        }
        Ok((candidates, references))
    }

    /// Removes what was planned, unless it was used or named since. A build that begins meanwhile
    /// waits for a moment, and what is left is left.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`]; [`StoreError::Busy`] while another removal is under way;
    /// [`StoreError::Io`] and [`StoreError::ImageIndex`].
    pub fn prune(&self, plan: &PrunePlan) -> Result<Pruned, StoreError> {
        self.require_writable("a removal")?;
        let holder = || self.layout.holders(REMOVAL).pop().map(|holder| holder.host).unwrap_or_default();
        let directory = self.layout.directory.clone();
        let lease = self.layout.try_lease(REMOVAL)?;
        let Some(_lease) = lease else { return Err(StoreError::Busy { directory, host: holder() }) };
        let is_blob = |removable: &Removable| matches!(removable.kind, RemovableKind::Blob(_));
        let first_blob = plan.removals.iter().position(is_blob).unwrap_or(plan.removals.len());
        let (naming, blobs) = plan.removals.split_at(first_blob);
        let mut pruned = Pruned::default();
        self.remove_all(naming, &plan.builds, &BTreeSet::new(), &mut pruned);
        // Named by what was left, or by what was saved since.
        let named = self.named_blobs(&self.list_records()?, &self.list_tocs()?, &self.list_images()?);
        self.remove_all(blobs, &plan.builds, &named, &mut pruned);
        self.layout.sync_parent(&self.layout.records().join("any"))?;
        Ok(pruned)
    }

    fn remove_all(&self, removals: &[Removable], builds: &[Holder], named: &BTreeSet<Digest>, pruned: &mut Pruned) {
        for batch in removals.chunks(BATCH) {
            let running = self.layout.holders(BUILD);
            pruned.interrupted |= running.iter().any(|build| !builds.contains(build));
            if pruned.interrupted {
                return;
            }
            for removable in batch {
                if self.remove_unused(removable, named) {
                    pruned.removed += 1;
                    pruned.bytes += removable.bytes;
                } else {
                    pruned.kept += 1;
                }
            }
        }
    }

    fn remove_unused(&self, removable: &Removable, named: &BTreeSet<Digest>) -> bool {
        let path = match &removable.kind {
            RemovableKind::Record(key) => self.layout.record(key),
            RemovableKind::Toc(name) => self.layout.directory.join("tocs").join(name),
            RemovableKind::Blob(digest) if named.contains(digest) => return false,
            RemovableKind::Blob(digest) => self.blob_path(digest),
            RemovableKind::Layer(id) => return self.remove_layer(id, removable.used),
        };
        !is_used_since(&path, removable.used) && fs::remove_file(path).is_ok()
    }

    /// Out of sight first: a tree does not go at once.
    fn remove_layer(&self, id: &str, planned: SystemTime) -> bool {
        let noted: PathBuf = self.layout.layer_use(id);
        if is_used_since(&noted, planned) {
            return false;
        }
        let Ok(aside) = self.layout.temporary_directory("a removal") else { return false };
        let renamed = fs::rename(self.layout.layers().join(id), aside.join("layer")).is_ok();
        super::layout::remove(&aside);
        let _ = fs::remove_file(noted);
        renamed
    }
}

/// What is left while a plan is made.
struct Planning {
    /// Blobs that nobody used lately: size and last use.
    blobs: HashMap<Digest, (u64, SystemTime)>,
    total: u64,
    removals: Vec<Removable>,
}

impl Planning {
    fn take_unreferenced(&mut self, references: &References) {
        let free: Vec<Digest> = self.blobs.keys().filter(|digest| !references.contains_key(*digest)).cloned().collect();
        free.into_iter().for_each(|digest| self.take_blob(digest));
    }

    fn take(&mut self, candidate: Candidate, references: &mut References) {
        self.total = self.total.saturating_sub(layer_bytes(&candidate.removable));
        self.removals.push(candidate.removable);
        for digest in candidate.blobs {
            let left = references.get_mut(&digest).map(|count| {
                *count = count.saturating_sub(1);
                *count
            });
            if left == Some(0) {
                self.take_blob(digest);
            }
        }
    }

    fn take_blob(&mut self, digest: Digest) {
        if let Some((bytes, used)) = self.blobs.remove(&digest) {
            self.total = self.total.saturating_sub(bytes);
            self.removals.push(Removable { kind: RemovableKind::Blob(digest), used, bytes });
        }
    }
}

fn by_digest(blobs: Vec<StoredBlob>, latest: SystemTime) -> HashMap<Digest, (u64, SystemTime)> {
    let old = blobs.into_iter().filter(|blob| blob.used < latest);
    old.map(|blob| (blob.digest, (blob.size, blob.used))).collect()
}

/// Records and tables of contents are small files that are not counted.
fn layer_bytes(removable: &Removable) -> u64 {
    if matches!(removable.kind, RemovableKind::Layer(_)) { removable.bytes } else { 0 }
}

fn layer_digests(record: &super::Record) -> Vec<&Digest> {
    record.layers.iter().map(|layer| &layer.blob.digest).collect()
}

fn is_used_since(path: &Path, planned: SystemTime) -> bool {
    fs::metadata(path).is_ok_and(|metadata| time(&metadata) > planned)
}
