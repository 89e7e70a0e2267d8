//! When things were used last, and which builds run: what pruning goes by.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, CWD, utimensat};

use super::lease::{Lease, now_times};
use super::{Durability, Store};
use crate::key::CacheKey;

/// A use is noted once in this time: a look-up is no write.
pub(super) const USE_GRAIN: Duration = Duration::from_secs(3600);

/// How long a build waits at most for a removal that is under way.
const PATIENCE: Duration = Duration::from_secs(10);

/// The lease of whoever removes things.
pub(super) const REMOVAL: &str = "removal";

/// What the leases of running builds begin with.
pub(super) const BUILD: &str = "build-";

impl Store {
    /// Declares that a build uses this directory: until the value is dropped, nothing that it may
    /// use is removed. Waits for a moment while something is being removed.
    ///
    /// `None` where nothing can be written, or nobody shares the directory.
    pub fn declare_build(&self) -> Option<Lease> {
        if !self.writable || self.layout.durability == Durability::None {
            return None;
        }
        let unique = format!("{BUILD}{}-{}", std::process::id(), unique_name());
        // The declaration comes first, then the look for a removal, and a removal does it the other
        // way round: one of both sees the other. Both write into the directory right before they
        // read it, so that a network file system looks at it afresh.
        let lease = self.layout.try_lease(&unique).ok().flatten();
        let deadline = Instant::now() + PATIENCE;
        while !self.layout.holders(REMOVAL).is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        lease
    }

    /// Notes that the records under `keys` are of use. They are used together: where one was noted
    /// within the last hour, the rest was, too.
    pub fn note_record_uses<'a>(&self, keys: impl IntoIterator<Item = &'a CacheKey>) {
        let recent = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).is_ok_and(|time| !is_due(time));
        for path in keys.into_iter().map(|key| self.layout.record(key)) {
            if !self.writable || recent(&path) {
                return;
            }
            self.note_use(&path);
        }
    }

    /// Gives the file the time of now, at most once an hour.
    pub(super) fn note_use(&self, path: &Path) {
        if self.writable && fs::metadata(path).and_then(|m| m.modified()).is_ok_and(is_due) {
            // Not noted, it seems older than it is.
            let _ = utimensat(CWD, path, &now_times(), AtFlags::empty());
        }
    }

    /// The same for a blob that is open.
    pub(super) fn note_file_use(&self, file: &File) {
        if self.writable && file.metadata().and_then(|m| m.modified()).is_ok_and(is_due) {
            let _ = super::lease::touch(file);
        }
    }

    /// An extracted tree has a time of its own, which belongs to its contents: its use is noted
    /// beside it.
    pub(super) fn note_layer_use(&self, id: &str) {
        let path = self.layout.layer_use(id);
        if path.exists() {
            self.note_use(&path);
        } else if self.writable {
            // Not knowing only makes it older than it is.
            let _ = File::create(&path);
        }
    }
}

impl super::layout::Layout {
    /// Notes that an extracted layer is of use from now on, whatever an earlier one of its name was.
    pub(super) fn note_new_layer(&self, layer: &Path) {
        let Some(id) = layer.file_name().and_then(|name| name.to_str()) else { return };
        if let Ok(file) = File::create(self.layer_use(id)) {
            let _ = super::lease::touch(file);
        }
    }

    /// The file whose time is the last use of an extracted layer.
    pub(super) fn layer_use(&self, id: &str) -> PathBuf {
        self.directory.join("used").join(id)
    }
}

fn is_due(modified: SystemTime) -> bool {
    SystemTime::now().duration_since(modified).is_ok_and(|age| age > USE_GRAIN)
}

fn unique_name() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}", since.as_nanos())
}
