//! `--cache-mounts-remote`: cache mounts come from the cache repository and go back there.
//!
//! A mount is fetched when a step that really runs wants it and there is nothing in its place, and
//! saved after the steps when something in it changed. Nothing here fails a build: what does not
//! work is a warning, and an empty mount or one that is not saved.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::fs::{Mode, OFlags, openat};

use super::super::error::BuildError;
use super::super::records::now;
use super::cache_mounts::lock_file;
use crate::cache::{CacheError, LayerCache as _, RegistryCache, SavedMount};
use crate::causes::chain;
use crate::digest::ContentHash;
use crate::extract::{ExtractError, Form, Ownership, extract};
use crate::image::Descriptor;
use crate::image::media_type::{self, Compression};
use crate::layer::{Change, ChangeKind, Content, EncodeError, EntryKind, Toc, decompress, encode_files};
use crate::report::{Event, Observer};
use crate::sandbox::IgnoreList;
use crate::snapshot::{self, SnapshotError, StatIndex};

/// What the members of a saved mount are below.
const ROOT: &[u8] = b"root";

/// Why a mount is not restored or saved.
#[derive(Debug, thiserror::Error)]
enum MountFault {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("it has {size} bytes, more than --cache-mounts-max-bytes {limit}")]
    TooLarge { size: u64, limit: u64 },
    #[error("its blob {0} is not in the repository")]
    Gone(crate::digest::Digest),
    #[error("failed to unpack it")]
    Extract(#[from] ExtractError),
    #[error("it has a member that no cache mount has: /{0}")]
    Member(String),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("failed to {0}")]
    Io(&'static str, #[source] io::Error),
    #[error(transparent)]
    Lock(Box<BuildError>),
}

/// Cache mounts of RUN steps in a cache repository.
pub struct RemoteMounts {
    shared: Arc<Shared>,
    saving: Mutex<Option<JoinHandle<()>>>,
}

/// How cache mounts are kept in a cache repository.
#[derive(Debug, Clone)]
pub struct RemoteMountsOptions {
    /// Save what changed; else only restore.
    pub save: bool,
    /// A mount whose tar is longer is neither saved nor restored.
    pub max_bytes: u64,
    /// An existing directory for archives on their way.
    pub work: PathBuf,
}

struct Shared {
    cache: Arc<RegistryCache>,
    options: RemoteMountsOptions,
    observer: Arc<dyn Observer>,
    used: Mutex<BTreeMap<ContentHash, Used>>,
}

/// A mount that a step is about to use.
pub(super) struct Use<'a> {
    pub(super) id: &'a str,
    pub(super) path: &'a Path,
    pub(super) is_shared: bool,
}

/// A mount that this build used.
struct Used {
    id: String,
    path: PathBuf,
    is_shared: bool,
    /// As the first step got it; `None` when it could not be read.
    before: Option<StatIndex>,
    /// What it was restored from.
    restored: Option<SavedMount>,
}

impl RemoteMounts {
    /// Over the repository of `cache`.
    pub fn new(cache: Arc<RegistryCache>, options: RemoteMountsOptions, observer: Arc<dyn Observer>) -> Self {
        let shared = Arc::new(Shared { cache, options, observer, used: Mutex::default() });
        Self { shared, saving: Mutex::default() }
    }

    /// Puts what the repository has in the place of `path`, which is absent or an empty directory.
    /// Tells whether there was something.
    pub(super) fn restore(&self, name: &ContentHash, id: &str, path: &Path) -> bool {
        let shared = &self.shared;
        match shared.restore(name, path) {
            Ok(None) => false,
            Ok(Some(saved)) => {
                shared.observer.event(Event::Info(format!("cache mount {id}: restored {} bytes", saved.blob.size)));
                let used =
                    Used { id: id.into(), path: path.into(), is_shared: true, before: None, restored: Some(saved) };
                shared.used().insert(*name, used);
                true
            }
            Err(fault) => {
                shared.warn(id, "starts empty", &fault);
                false
            }
        }
    }

    /// Takes note of a mount as a step finds it.
    pub(super) fn note(&self, name: &ContentHash, mount: Use<'_>) {
        if self.shared.used().get(name).is_some_and(|used| used.before.is_some()) {
            return;
        }
        let before = snapshot::index(mount.path, &Default::default()).ok();
        let mut used = self.shared.used();
        let restored = used.remove(name).and_then(|used| used.restored);
        let Use { id, path, is_shared } = mount;
        used.insert(*name, Used { id: id.into(), path: path.into(), is_shared, before, restored });
    }

    /// Starts to save, in the background, what changed. Steps that run later are not looked at.
    pub fn start_saving(&self) {
        let used = std::mem::take(&mut *self.shared.used());
        if used.is_empty() || !self.shared.options.save {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let thread = thread::spawn(move || used.iter().for_each(|(name, used)| shared.save(name, used)));
        let before = self.saving().replace(thread);
        before.map(JoinHandle::join);
    }

    /// Saves what is not being saved yet, and waits until all is.
    pub fn finish(&self) {
        self.start_saving();
        let thread = self.saving().take();
        if let Some(Err(_)) = thread.map(JoinHandle::join) {
            self.shared.observer.event(Event::Warning("the thread that saves cache mounts panicked".into()));
        }
    }

    fn saving(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.saving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn used(&self) -> MutexGuard<'_, BTreeMap<ContentHash, Used>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warn(&self, id: &str, what: &str, fault: &MountFault) {
        self.observer.event(Event::Warning(format!("cache mount {id} {what}: {}", chain(fault))));
    }

    fn check_size(&self, size: u64) -> Result<(), MountFault> {
        let limit = self.options.max_bytes;
        if size > limit { Err(MountFault::TooLarge { size, limit }) } else { Ok(()) }
    }

    fn restore(&self, name: &ContentHash, path: &Path) -> Result<Option<SavedMount>, MountFault> {
        let Some(saved) = self.cache.mount(name)? else { return Ok(None) };
        self.check_size(saved.blob.size)?;
        let blob = self.cache.open(&saved.blob)?.ok_or_else(|| MountFault::Gone(saved.blob.digest.clone()))?;
        let tar = decompress(blob).map_err(|error| MountFault::Io("read it", error))?;
        let parent = path.parent().unwrap_or(path);
        let place = tempfile::Builder::new().prefix("restoring-").tempdir_in(parent);
        let place = place.map_err(|error| MountFault::Io("make a directory for it", error))?;
        let tar = Bounded { inner: tar, left: self.options.max_bytes };
        check_members(&extract(tar, place.path(), Form::Plain, Ownership::BestEffort)?.scanned.toc)?;
        let root = place.path().join(OsStr::from_bytes(ROOT));
        if !root.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return Err(MountFault::Member("root".into()));
        }
        std::fs::rename(&root, path).map_err(|error| MountFault::Io("put it in its place", error))?;
        Ok(Some(saved))
    }

    fn save(&self, name: &ContentHash, used: &Used) {
        match self.try_save(name, used) {
            Ok(Some(bytes)) => {
                self.observer.event(Event::Info(format!("cache mount {}: saved {bytes} bytes", used.id)));
            }
            Ok(None) => self.observer.event(Event::Debug(format!("cache mount {}: nothing to save", used.id))),
            Err(fault) => self.warn(&used.id, "is not saved", &fault),
        }
    }

    /// Bytes uploaded; `None` when there is nothing new, or another build is still at it.
    fn try_save(&self, name: &ContentHash, used: &Used) -> Result<Option<u64>, MountFault> {
        let lock = lock_file(&used.path, "lock").map_err(|error| MountFault::Lock(Box::new(error)))?;
        if !used.path.is_dir() || (!used.is_shared && lock.try_lock().is_err()) {
            return Ok(None);
        }
        let now = snapshot::index(&used.path, &Default::default())?;
        let is_untouched = used.before.as_ref().is_some_and(|before| before.is_untouched(&now));
        if is_untouched && used.restored.is_some() {
            return Ok(None);
        }
        let members = members(&used.path)?;
        let listing = listing(&members);
        let known = match &used.restored {
            Some(saved) => Some(saved.clone()),
            // Something useless is replaced.
            None => self.cache.mount(name).or_else(|error| match error {
                CacheError::NoMount { .. } => Ok(None),
                fault => Err(fault),
            })?,
        };
        let same = known.as_ref().is_some_and(|known| is_untouched && known.listing == listing);
        if same || (known.is_none() && members.len() == 1) {
            return Ok(None);
        }
        self.upload(name, used, &members, known.as_ref())
    }

    fn upload(
        &self,
        name: &ContentHash,
        used: &Used,
        members: &[Change],
        known: Option<&SavedMount>,
    ) -> Result<Option<u64>, MountFault> {
        self.check_size(members.iter().map(size).sum())?;
        let file = tempfile::NamedTempFile::new_in(&self.options.work);
        let mut file = file.map_err(|error| MountFault::Io("make a file for it", error))?;
        let open = |content: &Content| open_inside(&used.path, content);
        let encoded = encode_files(members, &open, Compression::Zstd, &mut file)?;
        self.check_size(encoded.uncompressed_size)?;
        if known.is_some_and(|known| known.blob.digest == encoded.blob.digest) {
            return Ok(None);
        }
        let blob = Descriptor::new(media_type::MOUNT_FILES, encoded.blob.digest, encoded.blob.size);
        let size = blob.size;
        let (id, diff_id, listing) = (used.id.clone(), encoded.diff_id, listing(members));
        let mount = SavedMount { id, blob, diff_id, listing, created: now() };
        self.cache.save_mount(name, &mount, file.path())?;
        Ok(Some(size))
    }
}

/// A directory with all that is in it, as the members of an archive. Device nodes are left out.
fn members(directory: &Path) -> Result<Vec<Change>, MountFault> {
    let status = directory.symlink_metadata().map_err(|error| MountFault::Io("read its directory", error))?;
    let (mode, uid, gid) = (status.mode() & 0o7777, status.uid().into(), status.gid().into());
    let (kind, xattrs) = (ChangeKind::Directory, BTreeMap::new());
    let root = Change { path: ROOT.to_vec(), kind, mode, uid, gid, mtime: status.mtime(), xattrs };
    let mut members = vec![root];
    for mut change in snapshot::everything(directory, &IgnoreList::default())? {
        change.path = below_root(&change.path);
        match &mut change.kind {
            ChangeKind::CharDevice(_) | ChangeKind::BlockDevice(_) => continue,
            ChangeKind::Hardlink { target } => *target = below_root(target),
            _ => {}
        }
        members.push(change);
    }
    Ok(members)
}

fn below_root(path: &[u8]) -> Vec<u8> {
    [ROOT, b"/", path].concat()
}

fn size(change: &Change) -> u64 {
    if let ChangeKind::File { size, .. } = change.kind { size } else { 0 }
}

/// What a look at the directory tells, with times in seconds.
fn listing(members: &[Change]) -> ContentHash {
    let mut text = Vec::new();
    let mut put = |bytes: &[u8]| {
        text.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        text.extend_from_slice(bytes);
    };
    for Change { path, kind, mode, uid, gid, mtime, xattrs } in members {
        let (tag, data) = match kind {
            ChangeKind::Directory => (b'd', Vec::new()),
            ChangeKind::File { size, .. } => (b'f', size.to_le_bytes().to_vec()),
            ChangeKind::Symlink { target } => (b'l', target.clone()),
            ChangeKind::Hardlink { target } => (b'h', target.clone()),
            ChangeKind::CharDevice(_) | ChangeKind::BlockDevice(_) | ChangeKind::Whiteout => (b'-', Vec::new()),
            ChangeKind::Fifo => (b'p', Vec::new()),
        };
        [&path[..], &[tag], &data, &mode.to_le_bytes(), &uid.to_le_bytes(), &gid.to_le_bytes(), &mtime.to_le_bytes()]
            .into_iter()
            .for_each(&mut put);
        put(&(xattrs.len() as u64).to_le_bytes());
        xattrs.iter().for_each(|(name, value)| {
            put(name.as_bytes());
            put(value);
        });
    }
    ContentHash::of(&text)
}

/// Nothing but what [`members`] writes.
fn check_members(toc: &Toc) -> Result<(), MountFault> {
    let is_ours = |path: &[u8]| path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
    let foreign = toc.entries.iter().find(|entry| match &entry.kind {
        EntryKind::Directory | EntryKind::File { .. } | EntryKind::Symlink { .. } | EntryKind::Fifo => {
            !is_ours(&entry.path)
        }
        EntryKind::Hardlink { target } => !is_ours(&entry.path) || !is_ours(target),
        EntryKind::CharDevice(_) | EntryKind::BlockDevice(_) | EntryKind::Whiteout | EntryKind::OpaqueWhiteout => true,
    });
    match foreign {
        Some(entry) => Err(MountFault::Member(String::from_utf8_lossy(&entry.path).into_owned())),
        None => Ok(()),
    }
}

/// Opens a file of the mount. Another build may use the mount at the same time: what it replaces
/// by a link leads nowhere.
fn open_inside(root: &Path, content: &Content) -> io::Result<Box<dyn Read>> {
    let Content::Host(path) = content else { return Err(io::ErrorKind::InvalidInput.into()) };
    let inside = path.strip_prefix(root).map_err(io::Error::other)?;
    let safe = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut directory = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for name in inside.parent().into_iter().flat_map(Path::components) {
        directory = openat(&directory, name.as_os_str(), safe | OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    }
    let name = inside.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let file = File::from(openat(&directory, name, safe | OFlags::RDONLY, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file any more"));
    }
    Ok(Box::new(file))
}

/// Fails where a reader goes on beyond a limit.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let beyond = || io::Error::other("the archive is longer than --cache-mounts-max-bytes");
        self.left = self.left.checked_sub(count as u64).ok_or_else(beyond)?;
        Ok(count)
    }
}

#[cfg(test)]
#[path = "remote_mounts/tests.rs"]
mod tests;
