//! What files of a directory hashed to, remembered between builds. The form on disk: `docs/format.md`.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{Statx, StatxFlags};

use crate::digest::ContentHash;

const MAGIC: &[u8; 8] = b"ydk-stat";
const VERSION: u32 = 1;
/// Magic, version, number of entries.
const HEAD_BYTES: usize = 8 + 4 + 4;
/// A fingerprint and a hash.
const ENTRY_BYTES: usize = 32 + 32;
/// BLAKE3 of all before it.
const CHECK_BYTES: usize = 32;

/// Of one file; what is beyond is hashed at every build.
const MAX_ENTRIES: usize = 1 << 18;
const MAX_FILE_BYTES: usize = HEAD_BYTES + MAX_ENTRIES * ENTRY_BYTES + CHECK_BYTES;
/// Of what a fingerprint is made of, all but the path.
const FIXED_BYTES: usize = 8 + 3 * 4 + 2 * 8 + 2 * 12;
/// In one directory; beyond, the files that were written longest ago go.
const MAX_FILES: usize = 64;

/// What changed less than this before it was read is not remembered: it may change once more and
/// keep its times, which are only as fine as the file system (2 seconds on FAT) and its server's clock.
///
/// # Source
/// Git, `Documentation/technical/racy-git.txt`.
const SETTLED: Duration = Duration::from_secs(5);

/// Says of a file all that changes when its bytes do: path, device, inode, size, mode, mtime and
/// ctime in nanoseconds. Nobody can set a ctime back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fingerprint([u8; 32]);

type Entry = (Fingerprint, ContentHash);

/// The hashes of the files of one build context by what `stat` says of them.
///
/// Whatever is wrong with the file that it is kept in, it is empty then, and written anew.
#[derive(Debug)]
pub(super) struct StatCache {
    /// `None`: nothing is remembered.
    place: Option<Place>,
    /// From earlier builds, sorted.
    entries: Vec<Entry>,
    /// Which of them are of a file that is there.
    used: Vec<AtomicBool>,
    learned: Mutex<Vec<Entry>>,
    settled: Duration,
}

#[derive(Debug)]
struct Place {
    directory: PathBuf,
    file: PathBuf,
}

impl Fingerprint {
    /// `None` when the file system does not say enough.
    pub(super) fn of(path: &Path, status: &Statx) -> Option<Self> {
        let said = StatxFlags::from_bits_retain(status.stx_mask);
        if !said.contains(StatxFlags::BASIC_STATS) {
            return None;
        }
        let path = path.as_os_str().as_bytes();
        // In one piece: there is one for every file, and a hasher is large.
        let mut said = Vec::with_capacity(FIXED_BYTES + path.len());
        said.extend_from_slice(&(path.len() as u64).to_le_bytes());
        said.extend_from_slice(path);
        for number in [status.stx_dev_major, status.stx_dev_minor, u32::from(status.stx_mode)] {
            said.extend_from_slice(&number.to_le_bytes());
        }
        for number in [status.stx_ino, status.stx_size] {
            said.extend_from_slice(&number.to_le_bytes());
        }
        for time in [status.stx_mtime, status.stx_ctime] {
            said.extend_from_slice(&time.tv_sec.to_le_bytes());
            said.extend_from_slice(&time.tv_nsec.to_le_bytes());
        }
        Some(Self(*blake3::hash(&said).as_bytes()))
    }
}

impl StatCache {
    /// Remembers nothing.
    pub(super) fn none() -> Self {
        Self { place: None, entries: Vec::new(), used: Vec::new(), learned: Mutex::default(), settled: SETTLED }
    }

    /// What `directory` has of the context at `root`, as seen with this ignore file: what that
    /// leaves out is not forgotten for others.
    pub(super) fn open(directory: &Path, root: &Path, ignore_file: Option<&Path>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for path in [root, ignore_file.unwrap_or(Path::new(""))] {
            let path = path.as_os_str().as_bytes();
            hasher.update(&(path.len() as u64).to_le_bytes()).update(path);
        }
        let file = directory.join(&*hasher.finalize().to_hex());
        let entries = read(&file).unwrap_or_default();
        let used = entries.iter().map(|_| AtomicBool::new(false)).collect();
        Self { place: Some(Place { directory: directory.to_owned(), file }), entries, used, ..Self::none() }
    }

    /// Remembers what has not changed for this long.
    #[cfg(test)]
    pub(super) fn with_settled(self, settled: Duration) -> Self {
        Self { settled, ..self }
    }

    /// Whether it is of use to learn anything.
    pub(super) fn is_kept(&self) -> bool {
        self.place.is_some()
    }

    /// The hash of a file of which `stat` says this.
    pub(super) fn find(&self, path: &Path, status: &Statx) -> Option<ContentHash> {
        if self.entries.is_empty() {
            return None;
        }
        let fingerprint = Fingerprint::of(path, status)?;
        let index = self.entries.binary_search_by_key(&fingerprint, |(fingerprint, _)| *fingerprint).ok()?;
        self.used[index].store(true, Ordering::Relaxed);
        Some(self.entries[index].1)
    }

    /// Takes note of a hash. `before` and `after` is what `stat` said of the open file before its
    /// first byte was read and after the last; `since`, the clock before that.
    pub(super) fn learn(&self, path: &Path, (before, after): (&Statx, &Statx), since: SystemTime, hash: ContentHash) {
        let fingerprint = Fingerprint::of(path, before);
        if fingerprint != Fingerprint::of(path, after) || !self.is_settled(before, since) {
            return;
        }
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.extend(fingerprint.map(|fingerprint| (fingerprint, hash)));
    }

    fn is_settled(&self, status: &Statx, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        [status.stx_mtime, status.stx_ctime].into_iter().all(|time| {
            let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
            now.checked_sub(Duration::new(seconds, time.tv_nsec)).is_some_and(|age| age > self.settled)
        })
    }

    /// Writes what there is to remember, when that is more than before: what was found, and what
    /// was learned. Executors that do so at the same time replace each other's.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(super) fn save(&self) -> io::Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        let mut entries = std::mem::take(&mut *self.learned.lock().unwrap_or_else(PoisonError::into_inner));
        if entries.is_empty() {
            return Ok(());
        }
        let found = self.entries.iter().zip(&self.used).filter(|(_, used)| used.load(Ordering::Relaxed));
        entries.extend(found.map(|(entry, _)| *entry));
        entries.truncate(MAX_ENTRIES);
        entries.sort_unstable_by_key(|(fingerprint, _)| *fingerprint);
        entries.dedup_by_key(|(fingerprint, _)| *fingerprint);
        place.write(&to_bytes(&entries))
    }
}

impl Place {
    /// Not synced: what a power cut leaves of it is found to be damaged.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let mode = Permissions::from_mode(0o666);
        let mut file = tempfile::Builder::new().prefix(".new-").permissions(mode).tempfile_in(&self.directory)?;
        file.write_all(bytes)?;
        file.persist(&self.file).map_err(|error| error.error)?;
        self.remove_oldest();
        Ok(())
    }

    /// Leftovers of executors that were killed are files like the others here.
    fn remove_oldest(&self) {
        let listed = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let time = |entry: &fs::DirEntry| entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let mut files: Vec<_> = listed.map(|entry| (time(&entry), entry.path())).collect();
        files.sort_unstable();
        let excess = files.len().saturating_sub(MAX_FILES);
        for (_, path) in files.drain(..excess) {
            // Somebody else was faster, or it stays for the next.
            let _ = fs::remove_file(path);
        }
    }
}

fn to_bytes(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + entries.len() * ENTRY_BYTES + CHECK_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    // At most `MAX_ENTRIES`.
    bytes.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    for (fingerprint, hash) in entries {
        bytes.extend_from_slice(&fingerprint.0);
        bytes.extend_from_slice(&hash.0);
    }
    let check = blake3::hash(&bytes);
    bytes.extend_from_slice(check.as_bytes());
    bytes
}

/// `None` for anything but a whole file of this version.
fn read(path: &Path) -> Option<Vec<Entry>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).ok()?;
    from_bytes(&bytes)
}

fn from_bytes(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let (entries, check) = rest.split_at_checked(rest.len().checked_sub(CHECK_BYTES)?)?;
    let (magic, numbers) = head.split_at(MAGIC.len());
    let known = magic == MAGIC && numbers[..4] == VERSION.to_le_bytes();
    let count = u32::from_le_bytes(numbers[4..].try_into().ok()?) as usize;
    if !known || count > MAX_ENTRIES || entries.len() != count * ENTRY_BYTES {
        return None;
    }
    if blake3::hash(&bytes[..bytes.len() - CHECK_BYTES]).as_bytes() != check {
        return None;
    }
    let entry =
        |entry: &[u8]| Some((Fingerprint(entry[..32].try_into().ok()?), ContentHash(entry[32..].try_into().ok()?)));
    entries.chunks_exact(ENTRY_BYTES).map(entry).collect()
}

#[cfg(test)]
mod tests;
