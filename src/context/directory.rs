//! A directory of the host as a file tree.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Statx, StatxFlags};
use rustix::io::Errno;

use super::ContextError;
use super::stat_cache::StatCache;
use crate::layer::{Content, Device, EntryPath};
use crate::pattern::Patterns;
use crate::view::{FileNode, LastLink, Listing, Node, NodeKind, ResolveError, View, tar_order};

const THREADS: usize = 2;
/// Bytes for the names that one system call returns.
const NAMES: usize = 32 << 10;

/// Reads a directory into a view: every owner is 0:0, times are whole seconds, names of one file
/// share a number, contents are named by absolute path and not read, extended attributes are not
/// taken (BuildKit does not transfer them either). What `ignore` leaves out is not there, nor are
/// directories that hold nothing else and are left out themselves. Files that `cache` knows have their hash.
///
/// # Errors
/// [`ContextError::NotADirectory`] for the directory itself, [`ContextError::Io`] with the path.
pub(super) fn read_directory(root: &Path, ignore: &Patterns, cache: &StatCache) -> Result<View, ContextError> {
    let absolute = std::path::absolute(root).map_err(|cause| ContextError::io("find", root, cause))?;
    let walk = Walk { root: absolute, ignore, cache, queue: Mutex::new(Queue::default()), changed: Condvar::new() };
    let top = rustix::fs::statx(CWD, &walk.root, AtFlags::empty(), StatxFlags::BASIC_STATS)
        .map_err(|cause| ContextError::io("look at", &walk.root, cause.into()))?;
    if FileType::from_raw_mode(top.stx_mode.into()) != FileType::Directory {
        return Err(ContextError::NotADirectory { path: walk.root });
    }
    let mut found = Found::default();
    walk.read(b"", &mut names_buffer(), &mut found)?;
    // Many contexts are a few files, and a thread takes longer than those.
    let others = if walk.lock().directories.is_empty() { 0 } else { THREADS - 1 };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..others).map(|_| scope.spawn(|| walk.work(Found::default()))).collect();
        let own = walk.work(found);
        let joined =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let mut view = joined.fold(own, |all, part| Ok(all?.with(part?)))?.into_view();
        view.insert(b"", metadata(&top, NodeKind::Directory));
        Ok(view)
    })
}

/// What `view` has below `path`, as a tree of its own; `None` when that is no directory. Links on
/// the way are followed inside the tree.
pub(super) fn subtree(view: &View, path: &[u8]) -> Result<Option<View>, ResolveError> {
    let root = view.resolve(path, LastLink::Follow)?;
    if root.is_empty() {
        return Ok(Some(view.clone()));
    }
    let Some(top) = view.get(&root).filter(|node| matches!(node.kind, NodeKind::Directory)) else { return Ok(None) };
    let mut part = View::new();
    part.insert(b"", top.clone());
    view.walk(&root).for_each(|(below, node)| part.insert(&below[root.len() + 1..], node.clone()));
    Ok(Some(part))
}

struct Walk<'a> {
    root: PathBuf,
    ignore: &'a Patterns,
    cache: &'a StatCache,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    directories: Vec<EntryPath>,
    /// Threads that are reading a directory, and so may add some.
    busy: usize,
    failed: bool,
}

/// Device and inode.
type FileId = (u32, u32, u64);

/// What one thread found.
#[derive(Default)]
struct Found {
    directories: Vec<(EntryPath, Listing)>,
    /// Files that have several names somewhere.
    shared: Vec<(EntryPath, FileId)>,
    /// Directories that are left out, unless something below them is not.
    tentative: Vec<EntryPath>,
}

/// The directory that is being read.
struct Reading {
    handle: OwnedFd,
    /// On the host.
    path: PathBuf,
}

impl Walk<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Whoever panicked with the lock held left a list that is still a list.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads directories until there are no more, and adds them to what was found so far.
    fn work(&self, mut found: Found) -> Result<Found, ContextError> {
        let mut buffer = names_buffer();
        while let Some(directory) = self.take() {
            let result = self.read(&directory, &mut buffer, &mut found);
            let mut queue = self.lock();
            queue.busy -= 1;
            queue.failed |= result.is_err();
            self.changed.notify_all();
            drop(queue);
            result?;
        }
        Ok(found)
    }

    /// The next directory; `None` when no thread can find any more.
    fn take(&self) -> Option<EntryPath> {
        let mut queue = self.lock();
        loop {
            if queue.failed {
                return None;
            }
            if let Some(directory) = queue.directories.pop() {
                queue.busy += 1;
                return Some(directory);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn read(&self, directory: &[u8], buffer: &mut [MaybeUninit<u8>], found: &mut Found) -> Result<(), ContextError> {
        let path = self.host_path(directory);
        let reading = Reading { handle: self.open(&path)?, path };
        let failed = |cause: Errno| ContextError::io("read directory", &reading.path, cause.into());
        let (mut below, mut objects) = (Vec::new(), Vec::new());
        let mut names = RawDir::new(&reading.handle, buffer);
        while let Some(entry) = names.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if let Some(node) = self.examine(&reading, entry.file_name(), found)? {
                if matches!(node.kind, NodeKind::Directory) {
                    below.push(self.inside(&reading.child(name)).to_vec());
                }
                objects.push((name.into(), node));
            }
        }
        found.directories.push((directory.to_vec(), objects.into_iter().collect()));
        if !below.is_empty() {
            self.lock().directories.append(&mut below);
            self.changed.notify_all();
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> Result<OwnedFd, ContextError> {
        // The root may be given as a link; below it links are links.
        let follow = if path == self.root { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | follow;
        rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|cause| ContextError::io("open directory", path, cause.into()))
    }

    /// `None` for what is left out, with all that is below it.
    fn examine(&self, reading: &Reading, name: &CStr, found: &mut Found) -> Result<Option<Node>, ContextError> {
        let host_path = reading.child(name.to_bytes());
        let path = self.inside(&host_path);
        let ignored = self.ignore.matches(path);
        if ignored && !self.ignore.may_match_below(path) {
            return Ok(None);
        }
        let status = rustix::fs::statx(&reading.handle, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)
            .map_err(|cause| ContextError::io("look at", &host_path, cause.into()))?;
        let sort = FileType::from_raw_mode(status.stx_mode.into());
        match (sort, ignored) {
            (FileType::Directory, true) => found.tentative.push(path.to_vec()),
            (_, true) => return Ok(None),
            (FileType::RegularFile, false) if status.stx_nlink > 1 => {
                let file = (status.stx_dev_major, status.stx_dev_minor, status.stx_ino);
                found.shared.push((path.to_vec(), file));
            }
            _ => {}
        }
        Ok(Some(metadata(&status, self.kind(sort, &status, reading, (name, host_path))?)))
    }

    fn kind(
        &self,
        sort: FileType,
        status: &Statx,
        reading: &Reading,
        (name, path): (&CStr, PathBuf),
    ) -> Result<NodeKind, ContextError> {
        let device = Device { major: status.stx_rdev_major, minor: status.stx_rdev_minor };
        Ok(match sort {
            FileType::Directory => NodeKind::Directory,
            FileType::RegularFile => {
                let hash = self.cache.find(&path, status);
                NodeKind::File(FileNode { size: status.stx_size, hash, content: Content::Host(path), inode: None })
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(reading.handle.as_fd(), name, Vec::new())
                    .map_err(|cause| ContextError::io("read link", &path, cause.into()))?;
                NodeKind::Symlink(target.into_bytes())
            }
            FileType::CharacterDevice => NodeKind::CharDevice(device),
            FileType::BlockDevice => NodeKind::BlockDevice(device),
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => NodeKind::Socket,
            _ => return Err(ContextError::io("look at", &path, io::ErrorKind::Unsupported.into())),
        })
    }

    fn host_path(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { child(&self.root, path) }
    }

    /// Where something of this walk is in the tree.
    fn inside<'p>(&self, host_path: &'p Path) -> &'p [u8] {
        let path = &host_path.as_os_str().as_bytes()[self.root.as_os_str().len()..];
        path.strip_prefix(b"/").unwrap_or(path)
    }
}

impl Reading {
    fn child(&self, name: &[u8]) -> PathBuf {
        child(&self.path, name)
    }
}

/// As [`Path::join`] has it, without its questions: there is one for every file.
fn child(directory: &Path, name: &[u8]) -> PathBuf {
    let directory = directory.as_os_str().as_bytes();
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    if !directory.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    OsString::from_vec(path).into()
}

fn names_buffer() -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::uninit(); NAMES]
}

fn metadata(status: &Statx, kind: NodeKind) -> Node {
    let mode = u32::from(status.stx_mode) & 0o7777;
    Node { kind, mode, uid: 0, gid: 0, mtime: status.stx_mtime.tv_sec, xattrs: BTreeMap::new() }
}

impl Found {
    fn with(mut self, mut other: Self) -> Self {
        self.directories.append(&mut other.directories);
        self.shared.append(&mut other.shared);
        self.tentative.append(&mut other.tentative);
        self
    }

    fn into_view(mut self) -> View {
        let mut view = View::new();
        // A directory comes before those that it holds.
        self.directories.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        for (path, listing) in self.directories {
            view.set_listing(&path, listing);
        }
        number_links(&mut view, self.shared);
        self.tentative.sort_unstable();
        for path in self.tentative.iter().rev() {
            if view.children(path).next().is_none() {
                view.remove(path);
            }
        }
        view
    }
}

/// Numbers the files of which several names are there.
fn number_links(view: &mut View, mut shared: Vec<(EntryPath, FileId)>) {
    let mut names: HashMap<FileId, u64> = HashMap::new();
    shared.iter().for_each(|(_, file)| *names.entry(*file).or_default() += 1);
    shared.retain(|(_, file)| names.get(file).is_some_and(|count| *count > 1));
    shared.sort_unstable_by(|(left, _), (right, _)| tar_order(left, right));
    let mut numbers = HashMap::new();
    for (path, file) in shared {
        let next = numbers.len() as u64 + 1;
        let number = *numbers.entry(file).or_insert(next);
        let Some(mut node) = view.get(&path).cloned() else { continue };
        if let NodeKind::File(node) = &mut node.kind {
            node.inode = Some(number);
        }
        view.insert(&path, node);
    }
}
