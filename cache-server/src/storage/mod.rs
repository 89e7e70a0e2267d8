//! The store on disk: blobs by digest, and an index that knows all names.
//!
//! Every operation here blocks and is meant for a blocking thread. A blob is either there in full
//! or not at all; changes of names are atomic. What a kill leaves half-done, the next opening undoes.

mod blobs;
mod bucket;
mod copy;
mod durable;
mod error;
mod evict;
mod exchange;
mod hashing;
mod hot;
mod index;
mod insight;
mod layout;
mod leases;
mod manifests;
mod page;
mod pins;
mod readers;
mod recency;
mod records;
mod recover;
mod referrers;
mod repositories;
mod space;
mod stats;
mod sweep;
mod tags;
#[cfg(test)]
mod tests;
mod upload;
mod uploads;
mod verify;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) use blobs::Content;
pub(crate) use bucket::{BucketError, StoreAddress};
pub(crate) use error::StorageError;
pub(crate) use evict::Collected;
pub(crate) use exchange::Listed;
pub(crate) use insight::{Absence, Holdings, Large};
pub(crate) use manifests::{MAX_MANIFEST_BYTES, ManifestHead, NewManifest, Put, PutIf, millis, millis_now};
pub(crate) use page::Page;
pub(crate) use pins::FOR_EVER;
pub(crate) use records::Found;
pub(crate) use recover::DAMAGED;
pub(crate) use stats::{RepositoryStats, Stats};
pub(crate) use upload::{Appending, Held};
pub(crate) use uploads::{UploadId, UploadStatus};

use crate::eviction::Policy;
use bucket::{Bucket, Journal};
use error::At;
use hot::HotManifests;
use index::{Index, IndexError};
use layout::Layout;
use readers::Readers;
use recency::Recency;
use space::Space;
use uploads::Sessions;

/// What `format` says; another value is another program's or a newer layout.
const FORMAT: &[u8] = b"yadokari cache-server 3\n";
/// The same without a journal.
const OLDER_FORMAT: &[u8] = b"yadokari cache-server 2\n";
/// More threads would find a batch of keys hardly sooner.
const MAX_THREADS: usize = 4;
/// One for each value of the first byte of a digest.
const STRIPES: usize = 256;

/// An opened data directory; no other server can open it meanwhile.
#[derive(Debug)]
pub(crate) struct Storage {
    layout: Layout,
    index: Index,
    policy: Policy,
    space: Arc<Space>,
    readers: Arc<Readers>,
    recency: Recency,
    sessions: Sessions,
    stripes: Vec<Mutex<()>>,
    sweeping: Mutex<()>,
    evicting: Mutex<()>,
    hot: HotManifests,
    /// For one look-up at most.
    threads: usize,
    /// Where blobs and the journal are, when they are not in this directory.
    bucket: Option<Arc<Bucket>>,
    /// Whether clients may read there themselves.
    redirects: bool,
    /// What had to be done to open it.
    recovery: Option<String>,
    _claim: Claim,
}

/// What makes a directory ours.
#[derive(Debug)]
enum Claim {
    /// A lock, to be kept open.
    Lock(#[expect(dead_code, reason = "held, not used")] File),
    /// Nobody else knows it, and it goes with us.
    Scratch(#[expect(dead_code, reason = "held, not used")] tempfile::TempDir),
}

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("the data directory {0} is in use by another cache-server")]
    InUse(String),
    #[error("{0} is not a data directory of this version of cache-server")]
    Format(String),
    /// With a store, the directory is for a copy of the index.
    #[error(
        "{0} holds the data of a server without --store, or something else: name another directory for the copy of the index"
    )]
    NotCopy(String),
    /// Names are nowhere else: beginning anew would make strays of all blobs, and remove them.
    #[error(
        "the index {0} {1}, there is no journal to make it again from, and blobs/ is not empty: put it back, or import an \
         archive into an empty directory; to begin anew with nothing, remove the whole data directory"
    )]
    IndexGone(String, String),
    #[error(
        "failed to open the index {path}, which knows the names of what is in blobs/: `cache-server rebuild` makes it again \
         from the journal; without one, restore it from a backup, or import an archive into an empty directory"
    )]
    Index {
        path: String,
        #[source]
        cause: IndexError,
    },
}

impl Storage {
    /// Opens a data directory that must be there.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(crate) fn open_existing(root: &Path, policy: Policy) -> Result<Self, OpenError> {
        if !durable::exists(&Layout::new(root).format())? {
            return Err(OpenError::Format(root.display().to_string()));
        }
        Self::open(root, policy)
    }

    /// Opens or makes the data directory `root`.
    ///
    /// # Errors
    /// See [`OpenError`]. A directory that holds anything else is refused, not adopted.
    pub(crate) fn open(root: &Path, policy: Policy) -> Result<Self, OpenError> {
        Self::open_directory(root, policy, false)
    }

    /// Makes the index of a data directory again, whatever state it is in; keeps the old one aside.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(crate) fn rebuild(root: &Path) -> Result<Self, OpenError> {
        if !durable::exists(&Layout::new(root).format())? {
            return Err(OpenError::Format(root.display().to_string()));
        }
        Self::open_directory(root, Policy::default(), true)
    }

    fn open_directory(root: &Path, policy: Policy, afresh: bool) -> Result<Self, OpenError> {
        let layout = Layout::new(root);
        durable::create_directories(root)?;
        check_before_lock(&layout)?;
        let lock = lock(&layout)?;
        let format = read_format(&layout)?;
        if format == Format::Older {
            recover::discard_journal(&layout)?;
        }
        for directory in [layout.blobs(), layout.uploads(), layout.temporary(), layout.journal()] {
            durable::create_directories(&directory)?;
        }
        empty_temporary(&layout)?;
        let (index, recovery) = recover::open_index(&layout, afresh)?;
        if format != Format::Current {
            durable::write(&layout.temporary(), &layout.format(), FORMAT)?;
        }
        let storage = Self { recovery, ..Self::assemble((layout, Claim::Lock(lock)), index, None, policy)? };
        storage.recover_uploads()?;
        storage.sweep()?;
        Ok(storage)
    }

    /// Opens a place in an object store, as one of any number of replicas. The copy of the index is in the directory
    /// `copy`, where the next process goes on from it, or ends with this process.
    ///
    /// # Errors
    /// See [`OpenError`]; a store that cannot keep replicas apart is refused.
    pub(crate) fn open_store(address: &StoreAddress, copy: Option<&Path>, policy: Policy) -> Result<Self, OpenError> {
        let place = copy.map_or_else(copy::scratch, copy::kept)?;
        let bucket = Arc::new(Bucket::open(address)?);
        let journal = Journal::open(Arc::clone(&bucket))?;
        let index = Index::replica(&place.file, journal).map_err(StorageError::from)?;
        let storage = Self::assemble((place.layout, place.claim), index, Some(bucket), policy)?;
        Ok(Self { recovery: place.note, ..storage })
    }

    fn assemble(
        (layout, claim): (Layout, Claim),
        index: Index,
        bucket: Option<Arc<Bucket>>,
        policy: Policy,
    ) -> Result<Self, OpenError> {
        let space = Space::new(policy.max_bytes, contents_bytes(&index)?, index.disk_bytes());
        Ok(Self {
            layout,
            hot: HotManifests::new(index.news()),
            index,
            policy,
            space,
            readers: Arc::default(),
            recency: Recency::default(),
            sessions: Sessions::default(),
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            sweeping: Mutex::new(()),
            evicting: Mutex::new(()),
            threads: thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS),
            bucket,
            redirects: false,
            recovery: None,
            _claim: claim,
        })
    }

    /// The same, with addresses of blobs for clients.
    ///
    /// # Errors
    /// When the credentials cannot sign any.
    pub(crate) fn redirecting(self) -> Result<Self, OpenError> {
        if let Some(bucket) = &self.bucket {
            bucket.check_signing()?;
        }
        Ok(Self { redirects: true, ..self })
    }

    /// Whether [`Storage::blob_address`] knows any.
    pub(crate) fn redirects(&self) -> bool {
        self.redirects
    }

    /// Looks for something, and when it is not there, once more after learning what other replicas
    /// did.
    fn find<T, E>(&self, look: impl Fn() -> Result<Option<T>, E>) -> Result<Option<T>, StorageError>
    where
        StorageError: From<E>,
    {
        match look()? {
            None if self.index.catch_up()? => Ok(look()?),
            found => Ok(found),
        }
    }

    /// Writes a file and removes it.
    ///
    /// # Errors
    /// When that cannot be done: the disk is full, gone or read-only.
    pub(crate) fn check_writable(&self) -> Result<(), StorageError> {
        if let Some(bucket) = &self.bucket {
            return Ok(bucket.check_writable()?);
        }
        let directory = self.layout.temporary();
        let mut file = tempfile::NamedTempFile::new_in(&directory).at("create a file in", &directory)?;
        io::Write::write_all(&mut file, b"ready").at("write", file.path())
    }
}

fn contents_bytes(index: &Index) -> Result<u64, StorageError> {
    let read = index.read()?;
    let totals = read.open_table(index::TOTALS).map_err(IndexError::from)?;
    Ok(totals.get("bytes").map_err(IndexError::from)?.map_or(0, |row| row.value()))
}

/// A lock file must not be dropped into a directory that is not ours.
fn check_before_lock(layout: &Layout) -> Result<(), OpenError> {
    let ours = [
        "blobs",
        "format",
        "index.redb",
        "index.redb.damaged",
        "journal",
        "lock",
        "lost+found",
        "temporary",
        "uploads",
    ];
    let foreign = durable::names(layout.root())?.into_iter().any(|name| !ours.contains(&name.as_str()));
    if foreign && !durable::exists(&layout.format())? {
        return Err(OpenError::Format(layout.root().display().to_string()));
    }
    Ok(())
}

/// What a directory says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Current,
    Older,
    /// Nothing yet.
    New,
}

fn read_format(layout: &Layout) -> Result<Format, OpenError> {
    match durable::read(&layout.format(), 1024)?.as_deref() {
        None => Ok(Format::New),
        Some(FORMAT) => Ok(Format::Current),
        Some(OLDER_FORMAT) => Ok(Format::Older),
        Some(_) => Err(OpenError::Format(layout.root().display().to_string())),
    }
}

fn lock(layout: &Layout) -> Result<File, OpenError> {
    let path = layout.lock();
    let file = File::options().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(layout.root().display().to_string())),
        Err(TryLockError::Error(e)) => Ok(io::Result::<File>::Err(e).at("lock", &path)?),
    }
}

/// What an earlier run left half-written is of no use to anyone.
fn empty_temporary(layout: &Layout) -> Result<(), StorageError> {
    let directory = layout.temporary();
    for name in durable::names(&directory)? {
        let path = directory.join(name);
        fs::remove_file(&path).at("remove", &path)?;
    }
    Ok(())
}
