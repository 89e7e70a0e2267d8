use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::{NamedTempFile, TempPath};

use super::StoreError;
use super::partial::remove_abandoned;
use crate::digest::{DiffId, Digest};
use crate::image::{Index, media_type};
use crate::key::CacheKey;

/// Whether writes survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Files and directories are synced before anything names them.
    Full,
    /// Nothing is synced and no index is kept: for a directory that dies with its container.
    /// A kill of the process is still safe.
    None,
}

/// Leftovers in `tmp/` that nobody wrote to for this long belong to a process that is gone.
const STALE: Duration = Duration::from_secs(6 * 3600);

/// Where things are in a store, and how they get there. What each file holds: `docs/format.md`.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) directory: PathBuf,
    pub(super) durability: Durability,
}

impl Layout {
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    pub(super) fn record(&self, key: &CacheKey) -> PathBuf {
        self.records().join(key.to_string())
    }

    pub(super) fn records(&self) -> PathBuf {
        self.directory.join("records")
    }

    pub(super) fn toc(&self, layer: &DiffId) -> PathBuf {
        self.directory.join("tocs").join(layer.0.hex())
    }

    pub(super) fn layers(&self) -> PathBuf {
        self.directory.join("layers")
    }

    pub(super) fn image_index(&self) -> PathBuf {
        self.directory.join("index.json")
    }

    /// A blob that is being fetched, for whoever goes on with it.
    pub(super) fn partial(&self, digest: &Digest) -> PathBuf {
        self.partials().join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
    }

    fn partials(&self) -> PathBuf {
        self.directory.join("partial")
    }

    fn temporary(&self) -> PathBuf {
        self.directory.join("tmp")
    }

    /// Fails unless `oci-layout` is absent or of a version that we know.
    pub(super) fn check_version(&self) -> Result<(), StoreError> {
        let path = self.directory.join("oci-layout");
        let Some(bytes) = read_small(&path, 4096)? else { return Ok(()) };
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match value.get("imageLayoutVersion").and_then(|v| v.as_str()) {
            Some("1.0.0") => Ok(()),
            other => Err(StoreError::Version { version: other.unwrap_or_default().into(), path }),
        }
    }

    /// Makes what is missing, and proves that files can be written.
    pub(super) fn prepare(&self) -> Result<(), StoreError> {
        for name in ["blobs/sha256", "records", "tocs", "layers", "leases", "used", "tmp"] {
            let path = self.directory.join(name);
            fs::create_dir_all(&path).map_err(StoreError::write("a directory", &path))?;
        }
        self.check_version()?;
        let version = br#"{"imageLayoutVersion":"1.0.0"}"#;
        self.write_if_absent("the layout version", &self.directory.join("oci-layout"), version)?;
        let empty = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.into()),
            manifests: Vec::new(),
            annotations: Default::default(),
        };
        self.write_if_absent("the image index", &self.image_index(), &empty.to_bytes())?;
        self.temporary_file("a probe").map(drop)
    }

    fn write_if_absent(&self, what: &str, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        if path.exists() {
            return Ok(());
        }
        self.write_file(what, path, bytes)
    }

    /// A new file in `tmp/`; removed when dropped.
    pub(super) fn temporary_file(&self, what: &str) -> Result<NamedTempFile, StoreError> {
        let directory = self.temporary();
        // Others who share the store must be able to read it; the umask still applies.
        let mode = Permissions::from_mode(0o666);
        let made = tempfile::Builder::new().permissions(mode).tempfile_in(&directory);
        made.map_err(StoreError::write(what, &directory))
    }

    /// A new directory in `tmp/`; stays when dropped.
    pub(super) fn temporary_directory(&self, what: &str) -> Result<PathBuf, StoreError> {
        let directory = self.temporary();
        let mode = Permissions::from_mode(0o755);
        let made = tempfile::Builder::new().permissions(mode).disable_cleanup(true).tempdir_in(&directory);
        made.map(|d| d.path().to_owned()).map_err(StoreError::write(what, &directory))
    }

    /// Gives a finished temporary file its name, replacing what had it.
    pub(super) fn publish(&self, what: &str, file: File, temporary: TempPath, path: &Path) -> Result<(), StoreError> {
        if self.durability == Durability::Full {
            file.sync_all().map_err(StoreError::write(what, path))?;
        }
        drop(file);
        temporary.persist(path).map_err(|e| StoreError::write(what, path)(e.error))?;
        self.sync_parent(path)
    }

    /// Makes a rename or removal durable.
    pub(super) fn sync_parent(&self, path: &Path) -> Result<(), StoreError> {
        match (self.durability, path.parent()) {
            (Durability::Full, Some(parent)) => {
                File::open(parent).and_then(|d| d.sync_all()).map_err(StoreError::io("sync", parent))
            }
            _ => Ok(()),
        }
    }

    /// Writes a small file as a whole, replacing what had its name.
    pub(super) fn write_file(&self, what: &str, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let (mut file, temporary) = self.temporary_file(what)?.into_parts();
        file.write_all(bytes).map_err(StoreError::write(what, path))?;
        self.publish(what, file, temporary, path)
    }

    /// Removes leftovers of processes that are gone, and their leases, which the living keep fresh.
    /// What cannot be removed is left.
    pub(super) fn remove_stale(&self, now: SystemTime) {
        let listed = [self.temporary(), self.leases()].into_iter().map(fs::read_dir);
        for entry in listed.flatten().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let age = metadata.modified().ok().and_then(|at| now.duration_since(at).ok());
            if age.is_some_and(|age| age > STALE) {
                remove(&entry.path());
            }
        }
        remove_abandoned(&self.partials(), now);
    }
}

/// Removes a file or a tree, read-only directories included. Follows no links; failures leave rest behind.
pub(super) fn remove(path: &Path) {
    let Ok(metadata) = path.symlink_metadata() else { return };
    if !metadata.is_dir() {
        let _ = fs::remove_file(path);
    } else if fs::remove_dir_all(path).is_err() {
        make_removable(path);
        let _ = fs::remove_dir_all(path);
    }
}

/// Whoever is not root cannot empty a directory of mode 0555, such as Fedora's `/usr`.
fn make_removable(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_removable(&entry.path());
        }
    }
}

/// The whole file, `None` when there is none. More than `limit` bytes are an error.
pub(super) fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io("open", path)(e)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(StoreError::io("read", path)(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(Some(bytes))
}
