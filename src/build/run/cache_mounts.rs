//! `RUN --mount=type=cache`: directories that outlive steps and builds.
//!
//! Each lies in `mounts/` of the store under its name, a hash of its identity and, when it starts
//! with files, of what these are (as in BuildKit, another content is another cache). Beside it are
//! two lock files: `.lock` is held by steps that do not share, `.setup` by whoever fills a new one
//! (alone) and by all that use it (together), so that nobody replaces a directory in use.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::super::error::BuildError;
use super::super::evaluate::Evaluator;
use super::super::inputs::tree_files;
use super::super::trees::StageSource;
use super::mounts::{Ownership, Prepared};
use super::remote_mounts::Use;
use crate::digest::{ContentHash, DiffId, chain_id};
use crate::key::content_key;
use crate::plan::{Mount, RunOp, Sharing, Source};

/// What a step asks for.
struct Request<'m> {
    id: &'m str,
    target: &'m str,
    sharing: Sharing,
    from: Option<&'m (Source, String)>,
    owner: Ownership,
}

impl<'m> Request<'m> {
    fn of(mount: &'m Mount) -> Option<Self> {
        let Mount::Cache { id, target, sharing, readonly: _, from, mode, uid, gid } = mount else { return None };
        let owner = Ownership { mode: *mode, uid: *uid, gid: *gid };
        Some(Self { id, target, sharing: *sharing, from: from.as_ref(), owner })
    }
}

impl Evaluator<'_> {
    /// Claims the cache mounts of a step; returns their directories by number of the mount.
    ///
    /// Every step claims in the order of names, so that two never wait for each other; mounts of
    /// one name in one step are one directory, whatever their sharing.
    pub(super) fn claim_caches(
        &self,
        op: &RunOp,
        prepared: &mut Prepared,
    ) -> Result<BTreeMap<usize, PathBuf>, BuildError> {
        let mut wanted: BTreeMap<ContentHash, (Request<'_>, Vec<usize>)> = BTreeMap::new();
        for (number, mount) in op.mounts.iter().enumerate() {
            if let Some(request) = Request::of(mount) {
                let name = self.cache_name(&request)?;
                wanted.entry(name).or_insert_with(|| (request, Vec::new())).1.push(number);
            }
        }
        let mut paths = BTreeMap::new();
        for (name, (request, numbers)) in wanted {
            let path = self.claim(&name, &request, prepared)?;
            paths.extend(numbers.into_iter().map(|number| (number, path.clone())));
        }
        Ok(paths)
    }

    /// # Source
    /// BuildKit `solver/llbsolver/mounts`: `cache-dir:ID[:REF]`.
    fn cache_name(&self, request: &Request<'_>) -> Result<ContentHash, BuildError> {
        let Some((from, source)) = request.from else { return Ok(ContentHash::of(request.id.as_bytes())) };
        let content = match self.shop.services.files(from)? {
            Some(directory) => content_key("", &tree_files(directory, source)?).key.to_string(),
            None => match self.source(from)? {
                StageSource::Layers(state) => {
                    let layers: Vec<DiffId> = state.layers().iter().map(|layer| layer.diff_id.clone()).collect();
                    chain_id(&layers).map(|chain| chain.to_string()).unwrap_or_default()
                }
                StageSource::Files(_) => String::new(),
            },
        };
        Ok(ContentHash::of([request.id, &content, source].join("\0").as_bytes()))
    }

    fn claim(&self, name: &ContentHash, request: &Request<'_>, prepared: &mut Prepared) -> Result<PathBuf, BuildError> {
        let caches = self.shop.services.store.directory().join("mounts");
        fs::create_dir_all(&caches).map_err(BuildError::file("create", &caches))?;
        let (path, lock) = claim(&caches, name, request.sharing)?;
        prepared.locks.extend(lock);
        let setup = lock_file(&path, "setup")?;
        if setup.try_lock().is_ok() && is_empty(&path) {
            self.fill(name, request, &path)?;
        }
        // Waits for somebody else who fills it.
        setup.lock_shared().map_err(BuildError::file("lock", &path))?;
        if !path.exists() {
            make_directory(&path, request.owner)?;
        }
        prepared.locks.push(setup);
        if let Some(remote) = self.shop.services.cache_mounts {
            remote.note(name, Use { id: request.id, path: &path, is_shared: request.sharing == Sharing::Shared });
        }
        Ok(path)
    }

    /// From the cache repository, else from the files that it should start with.
    fn fill(&self, name: &ContentHash, request: &Request<'_>, path: &Path) -> Result<(), BuildError> {
        let remote = self.shop.services.cache_mounts;
        if remote.is_some_and(|remote| remote.restore(name, request.id, path)) || path.exists() {
            return Ok(());
        }
        match request.from {
            Some((from, source)) => self.seed(from, source, request.target, path),
            None => make_directory(path, request.owner),
        }
    }

    fn seed(&self, from: &Source, source: &str, target: &str, path: &Path) -> Result<(), BuildError> {
        let partial = path.with_extension("partial");
        if partial.exists() {
            // Of a build that was killed.
            fs::remove_dir_all(&partial).map_err(BuildError::file("remove", &partial))?;
        }
        let missing = || BuildError::Mount { target: target.to_owned(), reason: format!("{source:?}: not found") };
        let written = self.write_source(from, source, &partial)?.ok_or_else(missing)?;
        fs::rename(&written, path).map_err(BuildError::file("create", path))?;
        fs::remove_dir(&partial).map_err(BuildError::file("remove", &partial))
    }
}

fn make_directory(path: &Path, owner: Ownership) -> Result<(), BuildError> {
    let make = || -> std::io::Result<()> {
        fs::create_dir_all(path)?;
        chown(path, Some(owner.uid), Some(owner.gid))?;
        fs::set_permissions(path, Permissions::from_mode(owner.mode))
    };
    make().map_err(BuildError::file("create", path))
}

/// Absent, or a directory with nothing in it.
fn is_empty(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Opens a lock file that belongs to the mount at `path`.
pub(super) fn lock_file(path: &Path, kind: &str) -> Result<File, BuildError> {
    let path = path.with_extension(kind);
    File::create(&path).map_err(BuildError::file("create", path))
}

/// The directory of a cache mount, and the lock that its sharing mode asks for: `shared` none,
/// `locked` waits, `private` takes the first copy that nobody uses.
fn claim(caches: &Path, name: &ContentHash, sharing: Sharing) -> Result<(PathBuf, Option<File>), BuildError> {
    let first = caches.join(name.to_string());
    match sharing {
        Sharing::Shared => Ok((first, None)),
        Sharing::Locked => {
            let lock = lock_file(&first, "lock")?;
            lock.lock().map_err(BuildError::file("lock", &first))?;
            Ok((first, Some(lock)))
        }
        Sharing::Private => {
            for copy in 1.. {
                let path = if copy == 1 { first.clone() } else { caches.join(format!("{name}-{copy}")) };
                let lock = lock_file(&path, "lock")?;
                match lock.try_lock() {
                    Ok(()) => return Ok((path, Some(lock))),
                    Err(fs::TryLockError::WouldBlock) => {}
                    Err(fs::TryLockError::Error(error)) => return Err(BuildError::file("lock", path)(error)),
                }
            }
            Ok((first, None))
        }
    }
}
