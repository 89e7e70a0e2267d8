//! Content hashes of many files at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{CWD, Mode, OFlags};

use super::ContextError;
use crate::digest::ContentHash;
use crate::layer::{Content, EntryPath};
use crate::view::{NodeKind, View};

const THREADS: usize = 2;
const BUFFER: usize = 256 << 10;

/// A file of the host to be read.
struct Job<'a> {
    path: EntryPath,
    file: &'a Path,
    size: u64,
}

/// Hashes the files at `paths` (other objects and files that have their hash already are passed
/// over), on two threads. Each must still be as long as the view says.
///
/// # Errors
/// [`ContextError::Io`], [`ContextError::Changed`].
pub fn hash_files(
    view: &View,
    paths: impl IntoIterator<Item = EntryPath>,
) -> Result<BTreeMap<EntryPath, ContentHash>, ContextError> {
    let jobs: Vec<Job> = paths.into_iter().filter_map(|path| job(view, path)).collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(EntryPath, ContentHash)>, ContextError> {
        let mut buffer = vec![0; BUFFER];
        let mut hashes = Vec::new();
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            hashes.push((job.path.clone(), hash_file(job.file, job.size, &mut buffer)?));
        }
        Ok(hashes)
    };
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS.min(jobs.len())).map(|_| scope.spawn(work)).collect();
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

fn hash_file(path: &Path, size: u64, buffer: &mut [u8]) -> Result<ContentHash, ContextError> {
    let failed = |cause| ContextError::io("read", path, cause);
    let mut file = open(path).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    let mut length = 0;
    loop {
        let count = match file.read(buffer) {
            Ok(count) => count,
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(failed(cause)),
        };
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        length += count as u64;
    }
    if length != size {
        return Err(ContextError::Changed { path: PathBuf::from(path) });
    }
    Ok(ContentHash(*hasher.finalize().as_bytes()))
}

/// A file that became a link or a pipe meanwhile is neither followed nor waited for.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
}
