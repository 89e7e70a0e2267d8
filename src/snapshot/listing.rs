//! A directory tree as the kernel lists it, read by several threads.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::SnapshotError;
use crate::layer::EntryPath;
use crate::sandbox::IgnoreList;

/// More do not help: the kernel's locks are what they wait for.
const MAX_THREADS: usize = 8;
/// What one system call may list.
const BUFFER_BYTES: usize = 32 << 10;

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: Box<[u8]>,
    pub(super) status: Status,
}

/// What `stat` says, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) links: u64,
    pub(super) size: u64,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, i64),
    /// Seconds and nanoseconds.
    pub(super) ctime: (i64, i64),
    /// Of a device.
    pub(super) rdev: u64,
}

impl Status {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode as _)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }

    #[allow(clippy::unnecessary_cast, reason = "the fields differ in width between architectures")]
    fn of(stat: &Stat) -> Self {
        Self {
            mode: stat.st_mode as u32,
            uid: stat.st_uid,
            gid: stat.st_gid,
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            links: stat.st_nlink as u64,
            size: stat.st_size as u64,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            rdev: stat.st_rdev as u64,
        }
    }
}

/// The names in every directory of a tree, sorted; what is ignored is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing(HashMap<EntryPath, Vec<Item>>);

impl Listing {
    /// The names in a directory; none when there is no such directory.
    pub(super) fn directory(&self, path: &[u8]) -> &[Item] {
        self.0.get(path).map_or(&[], Vec::as_slice)
    }

    /// Reads the tree below `root`. `ignore` has paths seen from it.
    ///
    /// # Errors
    /// A directory cannot be listed, or an object's status cannot be read.
    pub(super) fn read(root: &Path, ignore: &IgnoreList) -> Result<Self, SnapshotError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(root, flags, Mode::empty()).map_err(SnapshotError::at("open", root))?;
        let walk = Walk { root: directory, root_path: root, ignore, queue: Mutex::default(), news: Condvar::new() };
        walk.queue().waiting.push(Vec::new());
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| walk.work());
            }
            walk.work();
        });
        let queue = walk.queue.into_inner().unwrap_or_else(PoisonError::into_inner);
        queue.failure.map_or(Ok(Self(queue.done)), Err)
    }
}

/// A walk in progress.
struct Walk<'a> {
    root: OwnedFd,
    root_path: &'a Path,
    ignore: &'a IgnoreList,
    queue: Mutex<Queue>,
    news: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<EntryPath>,
    busy: usize,
    done: HashMap<EntryPath, Vec<Item>>,
    failure: Option<SnapshotError>,
}

impl Walk<'_> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(path) = self.next() {
            let listed = self.list(&path);
            let mut queue = self.queue();
            queue.busy -= 1;
            match listed {
                Ok(items) => {
                    let below = items.iter().filter(|item| item.status.is_directory());
                    queue.waiting.extend(below.map(|item| join(&path, &item.name)));
                    queue.done.insert(path, items);
                }
                Err(failure) => queue.failure = Some(failure),
            }
            drop(queue);
            self.news.notify_all();
        }
    }

    /// The next directory; `None` when there will be no more.
    fn next(&self) -> Option<EntryPath> {
        let mut queue = self.queue();
        loop {
            if queue.failure.is_some() {
                return None;
            }
            if let Some(path) = queue.waiting.pop() {
                queue.busy += 1;
                return Some(path);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn list(&self, path: &[u8]) -> Result<Vec<Item>, SnapshotError> {
        let own = Path::new("/").join(OsStr::from_bytes(path));
        let ignore = self.ignore.has_below(&own).then_some((self.ignore, own));
        let mut items = self.read_directory(path, ignore.as_ref())?;
        items.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(items)
    }

    fn read_directory(&self, path: &[u8], ignore: Option<&(&IgnoreList, PathBuf)>) -> Result<Vec<Item>, SnapshotError> {
        let whole = || self.root_path.join(OsStr::from_bytes(path));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = if path.is_empty() { b"." } else { path };
        let directory =
            rustix::fs::openat(&self.root, name, flags, Mode::empty()).map_err(SnapshotError::at("open", whole()))?;
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut entries = RawDir::new(&directory, &mut buffer);
        let mut items = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(SnapshotError::at("list", whole()))?;
            let name = entry.file_name();
            let ignored =
                |(list, own): &(&IgnoreList, PathBuf)| list.contains(&own.join(OsStr::from_bytes(name.to_bytes())));
            if matches!(name.to_bytes(), b"." | b"..") || ignore.is_some_and(ignored) {
                continue;
            }
            let failed = || whole().join(OsStr::from_bytes(name.to_bytes()));
            items.extend(
                status(&directory, name).map_err(|errno| SnapshotError::at("read the status of", failed())(errno))?,
            );
        }
        Ok(items)
    }
}

/// `None`: it is gone already.
fn status(directory: &OwnedFd, name: &CStr) -> Result<Option<Item>, Errno> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Item { name: name.to_bytes().into(), status: Status::of(&stat) })),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// `name` in the directory `path`.
pub(super) fn join(path: &[u8], name: &[u8]) -> EntryPath {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}
