//! From `--context` to a file tree.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use super::bucket;
use super::stat_cache::StatCache;
use super::unpack::{unpack, unpack_file, unpack_standard_input};
use super::{
    ContextError, Fetched, Git, GitError, Location, fetch, hash_files, ignored, moved, read_directory, subtree,
};
use crate::digest::ContentHash;
use crate::layer::EntryPath;
use crate::pattern::Patterns;
use crate::registry::Clouds;
use crate::view::{NodeKind, View};

/// Longest ignore file, bytes.
const MAX_IGNORE_FILE: u64 = 16 << 20;

/// A build context: a tree of files of the host, and the hashes of those that were asked for.
#[derive(Debug)]
pub struct ContextDirectory {
    view: View,
    ignore: Patterns,
    time: Option<i64>,
    commit: Option<String>,
    hashes: Mutex<HashMap<EntryPath, ContentHash>>,
    stat_cache: StatCache,
    /// Of what was fetched: whether an ignore file in it counts.
    reads_ignore_file: bool,
    /// Holds what was fetched.
    _files: Option<TempDir>,
}

/// A build context that was found, and fetched where it had to be.
#[derive(Debug)]
pub enum FoundContext {
    /// A directory of this machine, which exists.
    Directory(PathBuf),
    /// What was fetched or unpacked.
    Fetched(Box<ContextDirectory>),
}

/// What contexts are fetched with.
#[derive(Debug, Clone, Copy)]
pub struct Fetching<'a> {
    /// For archives from web servers and buckets; must not turn statuses into errors.
    pub agent: &'a ureq::Agent,
    /// For repositories.
    pub git: &'a Git,
    /// Who we are, for buckets.
    pub clouds: &'a Clouds,
    /// Where a directory is made for what is fetched; it is removed with the context.
    pub parent: &'a Path,
}

impl ContextDirectory {
    fn new(view: View, ignore: Patterns, stat_cache: StatCache) -> Self {
        Self {
            view,
            ignore,
            time: None,
            commit: None,
            hashes: Mutex::default(),
            stat_cache,
            reads_ignore_file: true,
            _files: None,
        }
    }

    fn fetched(view: View, time: Option<i64>, files: TempDir) -> Self {
        let plain = Self::new(view, Patterns::default(), StatCache::none());
        Self { time, _files: Some(files), ..plain }
    }

    /// The tree: every owner is 0:0, times are whole seconds, contents are named by absolute path. Files
    /// that were read in an earlier build, and have not changed, have their hash.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What was left out.
    pub fn ignore(&self) -> &Patterns {
        &self.ignore
    }

    /// When it was made, in seconds since the epoch: a repository's commit, the newest file of an
    /// archive. A directory of this machine has none.
    pub fn time(&self) -> Option<i64> {
        self.time
    }

    /// The commit that it is, full hex, when it came from a repository.
    pub fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }

    /// The hashes of those files at `paths` that have none in the tree; other objects have none. A file
    /// is read once in the life of the context.
    ///
    /// # Errors
    /// [`ContextError::Io`]; [`ContextError::Changed`] for a file that is not as long as the tree says.
    pub fn hash_files(&self, paths: &[EntryPath]) -> Result<BTreeMap<EntryPath, ContentHash>, ContextError> {
        let unknown: Vec<EntryPath> = {
            let known = self.known();
            paths.iter().filter(|path| !known.contains_key(*path)).cloned().collect()
        };
        let fresh = hash_files(&self.view, unknown, &self.stat_cache)?;
        let mut known = self.known();
        known.extend(fresh);
        Ok(paths.iter().filter_map(|path| Some((path.clone(), *known.get(path)?))).collect())
    }

    /// Keeps what was hashed for the next build, where it was read with a directory for that.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn remember(&self) -> io::Result<()> {
        self.stat_cache.save()
    }

    /// The same, with files read from where `moved` says that they are now; those that it does not know stay.
    #[must_use]
    pub fn moved(mut self, moved: &dyn Fn(&Path) -> Option<PathBuf>) -> Self {
        moved::rename(&mut self.view, moved);
        self
    }

    /// Of what was fetched.
    fn ignore_patterns(&self, dockerfile: Option<&Path>) -> Result<Patterns, ContextError> {
        let dockerfile = dockerfile.filter(|_| self.reads_ignore_file);
        let Some(dockerfile) = dockerfile else { return Ok(Patterns::default()) };
        let own = ignored::file_at(&self.view, Path::new(".dockerignore"));
        let candidates = [ignored::beside(&self.view, dockerfile)].into_iter().chain(own);
        first_ignore_file(candidates)?.map_or_else(|| Ok(Patterns::default()), parse)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<EntryPath, ContentHash>> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FoundContext {
    /// The file of the context at `path`, on this machine. In what was fetched links lead nowhere
    /// else than inside.
    pub fn file(&self, path: &Path) -> Option<PathBuf> {
        match self {
            Self::Directory(root) => Some(root.join(path)).filter(|path| path.is_file()),
            Self::Fetched(context) => ignored::file_at(&context.view, path),
        }
    }

    /// What to leave out, see [`FoundContext::read`].
    ///
    /// # Errors
    /// See [`ContextError`].
    pub fn ignore_patterns(&self, dockerfile: Option<&Path>) -> Result<Patterns, ContextError> {
        match self {
            Self::Directory(root) => ignore_patterns(root, dockerfile),
            Self::Fetched(context) => context.ignore_patterns(dockerfile),
        }
    }

    /// Reads the tree. What to leave out stands in `<dockerfile>.dockerignore` if there is one, else in the context's
    /// `.dockerignore`. Neither counts for repositories that BuildKit's forms name, and for what was fetched without a
    /// `dockerfile`.
    ///
    /// In `remembered`, a directory that need not be there, are hashes of earlier builds
    /// ([`ContextDirectory::remember`]): a file of this machine whose status is the same is not read again.
    ///
    /// # Errors
    /// See [`ContextError`].
    pub fn read(self, dockerfile: Option<&Path>, remembered: Option<&Path>) -> Result<ContextDirectory, ContextError> {
        match self {
            Self::Directory(root) => read(&root, dockerfile, remembered),
            Self::Fetched(context) => {
                let ignore = context.ignore_patterns(dockerfile)?;
                let mut view = context.view;
                ignored::remove(&mut view, &ignore);
                Ok(ContextDirectory { view, ignore, ..*context })
            }
        }
    }
}

fn read(root: &Path, dockerfile: Option<&Path>, remembered: Option<&Path>) -> Result<ContextDirectory, ContextError> {
    let absolute = std::path::absolute(root).map_err(|cause| ContextError::io("find", root, cause))?;
    let ignore_file = ignore_file(root, dockerfile)?;
    let seen_with = ignore_file.as_ref().map(|(path, _)| path.as_path());
    let cache = remembered.map(|directory| StatCache::open(directory, &absolute, seen_with));
    let cache = cache.unwrap_or_else(StatCache::none);
    let ignore = ignore_file.map_or_else(|| Ok(Patterns::default()), parse)?;
    let view = read_directory(&absolute, &ignore, &cache)?;
    Ok(ContextDirectory::new(view, ignore, cache))
}

/// Finds what `location` names, and fetches it unless it is a directory. Of an archive only what
/// is below `sub_path` counts.
///
/// # Errors
/// See [`ContextError`].
pub fn find(location: &Location, sub_path: &str, fetching: Fetching<'_>) -> Result<FoundContext, ContextError> {
    if let Location::Directory(root) = location {
        return existing(root).map(FoundContext::Directory);
    }
    let files = tempfile::Builder::new().prefix("context-").tempdir_in(fetching.parent);
    let files = files.map_err(|cause| ContextError::io("make a directory in", fetching.parent, cause))?;
    let mut commit = None;
    let view = match location {
        Location::Git(source) => {
            let checkout = fetching.git.checkout(source, files.path()).map_err(boxed_git)?;
            commit = Some((checkout.commit, checkout.time));
            checkout.view
        }
        Location::Web(url) => web_archive(url, sub_path, fetching, files.path())?,
        Location::Bucket(address) => {
            let archive = bucket::open(address, fetching.agent, fetching.clouds)?;
            let name = archive.place().to_string();
            unpacked(files.path(), sub_path, |root| unpack(archive, &name, root))?
        }
        Location::Tar(file) => unpacked(files.path(), sub_path, |root| unpack_file(file, root))?,
        Location::StandardInput => unpacked(files.path(), sub_path, unpack_standard_input)?,
        Location::WebFile(url) => {
            let mut view = View::new();
            view.insert(b"context", fetched(url, fetching, files.path())?.node());
            view
        }
        Location::Directory(_) => View::new(),
    };
    let (commit, time) = commit.unzip();
    let time = time.or_else(|| newest(&view));
    let reads_ignore_file = !matches!(location, Location::Git(source) if !source.reads_ignore_file);
    let context = ContextDirectory { commit, reads_ignore_file, ..ContextDirectory::fetched(view, time, files) };
    Ok(FoundContext::Fetched(Box::new(context)))
}

/// The time of the newest file.
fn newest(view: &View) -> Option<i64> {
    let files = view.walk(b"").filter(|(_, node)| matches!(node.kind, NodeKind::File(_)));
    files.map(|(_, node)| node.mtime).max()
}

fn boxed_git(error: GitError) -> ContextError {
    ContextError::Git(Box::new(error))
}

fn existing(root: &Path) -> Result<PathBuf, ContextError> {
    let root = root.to_owned();
    match std::fs::metadata(&root) {
        Ok(found) if found.is_dir() => Ok(root),
        Ok(_) => Err(ContextError::NotADirectory { path: root }),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(ContextError::Missing { path: root }),
        Err(cause) => Err(ContextError::io("look at", &root, cause)),
    }
}

fn fetched(url: &str, fetching: Fetching<'_>, files: &Path) -> Result<Fetched, ContextError> {
    fetch(fetching.agent, url, None, None, files).map_err(|error| ContextError::Fetch(Box::new(error)))
}

fn web_archive(url: &str, sub_path: &str, fetching: Fetching<'_>, files: &Path) -> Result<View, ContextError> {
    let fetched = fetched(url, fetching, files)?;
    let failed = |cause| ContextError::io("open", &fetched.path, cause);
    let archive = std::fs::File::open(&fetched.path).map_err(failed)?;
    std::fs::remove_file(&fetched.path).map_err(failed)?;
    unpacked(files, sub_path, |root| unpack(archive, &public_name(url), root))
}

/// The URL without what may be secret.
fn public_name(url: &str) -> String {
    let Ok(url) = url::Url::parse(url) else { return "URL".to_owned() };
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// What an archive left below a new directory in `files`.
fn unpacked(
    files: &Path,
    sub_path: &str,
    unpack: impl FnOnce(&Path) -> Result<(), ContextError>,
) -> Result<View, ContextError> {
    let root = files.join("files");
    std::fs::create_dir(&root).map_err(|cause| ContextError::io("create", &root, cause))?;
    unpack(&root)?;
    let view = read_directory(&root, &Patterns::default(), &StatCache::none())?;
    match subtree(&view, sub_path.as_bytes()) {
        Ok(Some(part)) => Ok(part),
        Ok(None) => Err(ContextError::NoDirectory { path: sub_path.to_owned() }),
        Err(cause) => Err(ContextError::Resolve { path: sub_path.to_owned(), cause }),
    }
}

/// What the ignore file of the context at `root` says, see [`FoundContext::read`].
///
/// # Errors
/// When it cannot be read or understood.
fn ignore_patterns(root: &Path, dockerfile: Option<&Path>) -> Result<Patterns, ContextError> {
    ignore_file(root, dockerfile)?.map_or_else(|| Ok(Patterns::default()), parse)
}

fn parse((path, text): (PathBuf, Vec<u8>)) -> Result<Patterns, ContextError> {
    Patterns::parse_file(&text).map_err(|cause| ContextError::Ignore { path, cause })
}

/// The ignore file that counts, and what is in it.
fn ignore_file(root: &Path, dockerfile: Option<&Path>) -> Result<Option<(PathBuf, Vec<u8>)>, ContextError> {
    let beside = dockerfile.map(ignored::named_after);
    first_ignore_file(beside.into_iter().chain([root.join(".dockerignore")]))
}

fn first_ignore_file(paths: impl Iterator<Item = PathBuf>) -> Result<Option<(PathBuf, Vec<u8>)>, ContextError> {
    for path in paths {
        if let Some(text) = read_ignore_file(&path)? {
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}

/// `None` when there is no such file.
fn read_ignore_file(path: &Path) -> Result<Option<Vec<u8>>, ContextError> {
    let failed = |cause| ContextError::io("read", path, cause);
    match std::fs::metadata(path) {
        Ok(found) if found.len() > MAX_IGNORE_FILE => Err(failed(io::ErrorKind::FileTooLarge.into())),
        Ok(found) if found.is_file() => std::fs::read(path).map(Some).map_err(failed),
        Ok(_) => Ok(None),
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(cause) => Err(failed(cause)),
    }
}
