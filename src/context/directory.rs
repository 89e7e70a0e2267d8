//! A directory of the host as a file tree.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Statx, StatxFlags};
use rustix::io::Errno;

use super::ContextError;
use super::stat_cache::StatCache;
use crate::digest::ContentHash;
use crate::layer::{Content, Device, EntryPath};
use crate::pattern::Patterns;
use crate::view::{FileNode, LastLink, Node, NodeKind, ResolveError, View};

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
    let top = walk.stat(CWD, walk.root.as_os_str(), &walk.root, AtFlags::empty())?;
    if FileType::from_raw_mode(top.stx_mode.into()) != FileType::Directory {
        return Err(ContextError::NotADirectory { path: walk.root });
    }
    let mut found = Vec::new();
    walk.read(b"", &mut names_buffer(), &mut found)?;
    // Many contexts are a few files, and threads take longer than those.
    let threads = if walk.lock().directories.is_empty() { 0 } else { THREADS };
    let below = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| walk.work())).collect();
        let joined =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Result<Vec<_>, _>>()
    })?;
    found.reserve_exact(below.iter().map(Vec::len).sum());
    below.into_iter().for_each(|mut part| found.append(&mut part));
    let mut view = into_view(found);
    view.insert(b"", metadata(&top, NodeKind::Directory));
    Ok(view)
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

struct Found {
    path: EntryPath,
    /// Apart, since many of these are sorted.
    node: Box<Node>,
    /// Device and inode of a file with several names.
    file: Option<(u32, u32, u64)>,
    /// Left out, unless something below it is not.
    tentative: bool,
}

impl Walk<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Whoever panicked with the lock held left a list that is still a list.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> Result<Vec<Found>, ContextError> {
        let mut found = Vec::new();
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

    fn read(
        &self,
        directory: &[u8],
        buffer: &mut [MaybeUninit<u8>],
        found: &mut Vec<Found>,
    ) -> Result<(), ContextError> {
        let path = self.host_path(directory);
        let failed = |cause: Errno| ContextError::io("read directory", &path, cause.into());
        let handle = self.open(&path)?;
        let mut below = Vec::new();
        let mut names = RawDir::new(&handle, buffer);
        while let Some(entry) = names.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if let Some(one) = self.examine(&handle, directory, name)? {
                if matches!(one.node.kind, NodeKind::Directory) {
                    below.push(one.path.clone());
                }
                found.push(one);
            }
        }
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
    fn examine(&self, handle: &OwnedFd, directory: &[u8], name: &[u8]) -> Result<Option<Found>, ContextError> {
        let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
        let path = [directory, slash, name].concat();
        let ignored = self.ignore.matches(&path);
        if ignored && !self.ignore.may_match_below(&path) {
            return Ok(None);
        }
        let host_path = self.host_path(&path);
        let status = self.stat(handle, OsStr::from_bytes(name), &host_path, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = kind(&status, &host_path, handle, name, || self.cache.find(&host_path, &status))?;
        if ignored && !matches!(kind, NodeKind::Directory) {
            return Ok(None);
        }
        let is_shared = matches!(kind, NodeKind::File(_)) && status.stx_nlink > 1;
        let file = is_shared.then_some((status.stx_dev_major, status.stx_dev_minor, status.stx_ino));
        Ok(Some(Found { path, node: Box::new(metadata(&status, kind)), file, tentative: ignored }))
    }

    fn stat(
        &self,
        handle: impl std::os::fd::AsFd,
        name: &OsStr,
        path: &Path,
        flags: AtFlags,
    ) -> Result<Statx, ContextError> {
        let wanted = StatxFlags::BASIC_STATS;
        rustix::fs::statx(handle, name, flags, wanted).map_err(|cause| ContextError::io("look at", path, cause.into()))
    }

    fn host_path(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(OsStr::from_bytes(path)) }
    }
}

fn names_buffer() -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::uninit(); NAMES]
}

fn metadata(status: &Statx, kind: NodeKind) -> Node {
    let mode = u32::from(status.stx_mode) & 0o7777;
    Node { kind, mode, uid: 0, gid: 0, mtime: status.stx_mtime.tv_sec, xattrs: BTreeMap::new() }
}

fn kind(
    status: &Statx,
    path: &Path,
    handle: &OwnedFd,
    name: &[u8],
    hash: impl FnOnce() -> Option<ContentHash>,
) -> Result<NodeKind, ContextError> {
    let device = Device { major: status.stx_rdev_major, minor: status.stx_rdev_minor };
    Ok(match FileType::from_raw_mode(status.stx_mode.into()) {
        FileType::Directory => NodeKind::Directory,
        FileType::RegularFile => {
            let content = Content::Host(path.to_owned());
            NodeKind::File(FileNode { size: status.stx_size, hash: hash(), content, inode: None })
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(handle, name, Vec::new())
                .map_err(|cause| ContextError::io("read link", path, cause.into()))?;
            NodeKind::Symlink(target.into_bytes())
        }
        FileType::CharacterDevice => NodeKind::CharDevice(device),
        FileType::BlockDevice => NodeKind::BlockDevice(device),
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        _ => return Err(ContextError::io("look at", path, io::ErrorKind::Unsupported.into())),
    })
}

fn into_view(mut found: Vec<Found>) -> View {
    // A view fills fastest in its own order.
    found.sort_unstable_by(|left, right| crate::view::tar_order(&left.path, &right.path));
    number_links(&mut found);
    let mut view = View::new();
    let mut tentative: Vec<Found> = Vec::new();
    for one in found {
        tentative.retain(|directory| is_above(&directory.path, &one.path));
        if one.tentative {
            tentative.push(one);
            continue;
        }
        for directory in tentative.drain(..) {
            view.insert(&directory.path, *directory.node);
        }
        view.insert(&one.path, *one.node);
    }
    view
}

fn is_above(directory: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// Numbers the files of which several names are there.
fn number_links(found: &mut [Found]) {
    let mut names: HashMap<_, u64> = HashMap::new();
    for file in found.iter().filter_map(|one| one.file) {
        *names.entry(file).or_default() += 1;
    }
    let mut numbers = HashMap::new();
    for one in found.iter_mut() {
        let Some(file) = one.file.filter(|file| names.get(file).is_some_and(|count| *count > 1)) else { continue };
        let next = numbers.len() as u64 + 1;
        if let NodeKind::File(node) = &mut one.node.kind {
            node.inode = Some(*numbers.entry(file).or_insert(next));
        }
    }
}
