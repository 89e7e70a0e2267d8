//! The directories of a build: the store, and throw-away files that go when the build ends.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use yadokari::sandbox::{Kind, Probe, supports_overlay};
use yadokari::store::{Access, Durability, Lease, Store};

use crate::failure::Failure;
use crate::flags::CommandLine;

/// What the throw-away directories of all builds are called; the rest of the name is random.
const PREFIX: &str = "yadokari-";

/// How long a build may take to lock its directory.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Held locked by the build that a directory belongs to.
const LOCK: &str = "lock";

/// Directories of this build.
pub(crate) struct Workplace {
    pub(crate) store: Arc<Store>,
    pub(crate) warm: Option<Store>,
    /// Whether `store` is the cache directory, and outlives this build.
    pub(crate) is_kept: bool,
    pub(crate) work: TempDir,
    /// Whether `work` is on a file system that can hold an overlay's upper directory.
    pub(crate) holds_overlay: bool,
    /// Removed at the end; holds the store when there is no cache directory to write to.
    _state: TempDir,
    /// Tells other builds that the directory is in use.
    _lock: File,
    /// Keeps what this build may use in the cache directory.
    _declared: Option<Lease>,
}

impl Workplace {
    /// Below `parent`, see [`state_parent`].
    pub(crate) fn new(line: &CommandLine, parent: &Path, holds_overlay: bool) -> Result<Self, Failure> {
        remove_abandoned(parent);
        let state = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let lock = locked_file(state.path())?;
        let work = tempfile::Builder::new().prefix("work-").tempdir_in(state.path())?;
        let (store, warm, is_kept) = match cache_directory(line)? {
            Some(shared) if line.cache.cache && shared.is_writable() => (shared, None, true),
            shared => {
                (Store::open_with(&state.path().join("store"), Access::ReadWrite, Durability::None)?, shared, false)
            }
        };
        let _declared = store.declare_build();
        Ok(Self { store: Arc::new(store), warm, is_kept, work, holds_overlay, _state: state, _lock: lock, _declared })
    }
}

/// The cache directory: made when caching is on and it was asked for by name, else used when it
/// is there.
fn cache_directory(line: &CommandLine) -> Result<Option<Store>, Failure> {
    let directory = &line.cache.cache_dir;
    let is_there = has_cache_directory(line);
    let is_made = line.cache.cache && directory != Path::new(DEFAULT_CACHE);
    if !is_there && !is_made {
        return Ok(None);
    }
    let access = match (line.cache.cache, is_there) {
        (true, true) => Access::Auto,
        (true, false) => Access::ReadWrite,
        (false, _) => Access::ReadOnly,
    };
    Ok(Some(Store::open(directory, access)?))
}

/// Where the cache is by default.
pub(crate) const DEFAULT_CACHE: &str = "/cache";

/// Whether the cache directory is there. Our images have an empty `/cache` to mount something at; without a mount it is
/// none: what is written there would go with the container, and in place it would hide the built image's `/cache`.
pub(crate) fn has_cache_directory(line: &CommandLine) -> bool {
    let directory = &line.cache.cache_dir;
    let is_mount =
        || matches!((fs::metadata(directory), fs::metadata("/")), (Ok(it), Ok(root)) if it.dev() != root.dev());
    let is_used = || fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    directory.is_dir() && (directory != Path::new(DEFAULT_CACHE) || is_mount() || is_used())
}

/// `--kaniko-dir` or `KANIKO_DIR`, absolute; one that is set to nothing does not count.
pub(crate) fn kaniko_dir(line: &CommandLine) -> Option<PathBuf> {
    line.build.kaniko_dir.as_ref().and_then(|directory| std::path::absolute(directory).ok())
}

/// Where throw-away files may go, best first; never empty. One that was asked for comes first, and is
/// the only one in place.
pub(crate) fn state_parents(line: &CommandLine, kind: Kind) -> Result<Vec<PathBuf>, Failure> {
    let own = executor_directory()?;
    let named = kaniko_dir(line).into_iter();
    // Not /dev/shm: a container's is 64 MiB.
    let elsewhere = || [std::env::temp_dir(), PathBuf::from("/var/tmp"), line.cache.cache_dir.clone()];
    Ok(match kind {
        Kind::InPlace => named.chain([own]).collect(),
        _ => named.chain(elsewhere()).chain([own]).collect(),
    })
}

/// Where throw-away files go. In place, only the executor's own directory outlives a stage; an
/// overlay needs a file system that can hold its upper directory; tells whether there is one.
pub(crate) fn state_parent(line: &CommandLine, probe: &Probe) -> Result<(PathBuf, bool), Failure> {
    if let Some(named) = kaniko_dir(line) {
        fs::create_dir_all(named)?;
    }
    let candidates = state_parents(line, probe.kind)?;
    if probe.kind == Kind::InPlace {
        return Ok((candidates[0].clone(), false));
    }
    let runs = probe.kind != Kind::None;
    if let Some(fitting) = candidates.iter().find(|directory| runs && supports_overlay(directory).is_ok()) {
        return Ok((fitting.clone(), true));
    }
    let is_writable = |directory: &&PathBuf| tempfile::tempdir_in(directory).is_ok();
    Ok((candidates.iter().find(is_writable).unwrap_or(&candidates[0]).clone(), false))
}

/// Has its name only once it is locked: other builds must not take it for one that nobody holds.
fn locked_file(directory: &Path) -> Result<File, std::io::Error> {
    let unnamed = directory.join("lock.new");
    let lock = File::create(&unnamed)?;
    lock.lock()?;
    fs::rename(&unnamed, directory.join(LOCK))?;
    Ok(lock)
}

pub(crate) fn executor_directory() -> Result<PathBuf, std::io::Error> {
    let executable = std::env::current_exe()?;
    Ok(executable.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Removes what builds left behind that were killed: nobody holds their lock. A fault here must
/// not stop a build.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        if is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A directory without a lock file is being made; after a while, its build was killed at just that moment.
fn is_abandoned(directory: &Path) -> bool {
    match File::open(directory.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(_) => age(directory).is_some_and(|age| age > FORGOTTEN),
    }
}

fn age(directory: &Path) -> Option<Duration> {
    fs::symlink_metadata(directory).ok()?.modified().ok()?.elapsed().ok()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn directory(parent: &Path, name: &str, age: Duration) -> PathBuf {
        let path = parent.join(name);
        fs::create_dir(&path).expect("directory");
        let made = SystemTime::now() - age;
        File::open(&path).and_then(|directory| directory.set_modified(made)).expect("time");
        path
    }

    #[test]
    fn only_what_nobody_uses_is_removed() {
        let parent = tempfile::tempdir().expect("temporary directory");
        let old = FORGOTTEN * 2;
        let in_making = directory(parent.path(), "yadokari-new", Duration::ZERO);
        let forgotten = directory(parent.path(), "yadokari-forgotten", old);
        let foreign = directory(parent.path(), "another", old);
        let (used, left) = (parent.path().join("yadokari-used"), parent.path().join("yadokari-left"));
        fs::create_dir(&used).and_then(|()| fs::create_dir(&left)).expect("directories");
        let _held = locked_file(&used).expect("lock");
        drop(locked_file(&left).expect("lock"));
        remove_abandoned(parent.path());
        let left = [&in_making, &forgotten, &foreign, &used, &left].map(|path| path.exists());
        assert_eq!(left, [true, false, true, true, false]);
    }
}
