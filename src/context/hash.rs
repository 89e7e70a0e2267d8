//! Content hashes of many files at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Statx, StatxFlags};

use super::ContextError;
use super::stat_cache::StatCache;
use crate::digest::ContentHash;
use crate::layer::{Content, EntryPath};
use crate::view::{NodeKind, View};

/// More do not help where the files are in memory, and disks have seldom more to say.
const MAX_THREADS: usize = 8;
const BUFFER: usize = 256 << 10;

/// A file of the host to be read.
struct Job<'a> {
    path: EntryPath,
    file: &'a Path,
    size: u64,
}

/// Hashes the files at `paths` (other objects and files that have their hash already are passed
/// over), on several threads; `cache` learns them. Each must still be as long as the view says.
///
/// # Errors
/// [`ContextError::Io`], [`ContextError::Changed`].
pub(super) fn hash_files(
    view: &View,
    paths: impl IntoIterator<Item = EntryPath>,
    cache: &StatCache,
) -> Result<BTreeMap<EntryPath, ContentHash>, ContextError> {
    let jobs: Vec<Job> = paths.into_iter().filter_map(|path| job(view, path)).collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(EntryPath, ContentHash)>, ContextError> {
        let mut buffer = vec![0; BUFFER];
        let mut hashes = Vec::new();
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            hashes.push((job.path.clone(), hash_file(job.file, job.size, cache, &mut buffer)?));
        }
        Ok(hashes)
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(MAX_THREADS).min(jobs.len());
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Result<Vec<_>, _>>()
    })?;
    Ok(results.into_iter().flatten().collect())
}

fn job(view: &View, path: EntryPath) -> Option<Job<'_>> {
    match &view.get(&path)?.kind {
        NodeKind::File(node) if node.hash.is_none() => match &node.content {
            Content::Host(file) => Some(Job { path, file, size: node.size }),
            Content::Bytes(_) | Content::Layer { .. } => None,
        },
        _ => None,
    }
}

fn hash_file(path: &Path, size: u64, cache: &StatCache, buffer: &mut [u8]) -> Result<ContentHash, ContextError> {
    let failed = |cause| ContextError::io("read", path, cause);
    let since = SystemTime::now();
    let file = open_file(path).map_err(failed)?;
    let status = || cache.is_kept().then(|| status(&file)).flatten();
    let before = status();
    let (hash, length) = read(&file, buffer).map_err(failed)?;
    if length != size {
        return Err(ContextError::Changed { path: PathBuf::from(path) });
    }
    if let (Some(before), Some(after)) = (before, status()) {
        cache.learn(path, (&before, &after), since, hash);
    }
    Ok(hash)
}

/// The hash of what is left of `file`, and how many bytes that is.
fn read(mut file: &File, buffer: &mut [u8]) -> std::io::Result<(ContentHash, u64)> {
    let mut hasher = blake3::Hasher::new();
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok((ContentHash(*hasher.finalize().as_bytes()), hasher.count())),
            Ok(count) => {
                hasher.update(&buffer[..count]);
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
}

fn status(file: &File) -> Option<Statx> {
    rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).ok()
}

/// Opens a file to read. One that became a link or a pipe meanwhile is neither followed nor waited for.
///
/// # Errors
/// Those of `open(2)`; a link is `ELOOP`.
pub fn open_file(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
}
