//! Values read from files, and read again when the files change.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

/// Anything that can be read again.
pub(crate) trait Reload: Send + Sync {
    /// Reads the files again if they changed; true when there is a new value.
    ///
    /// # Errors
    /// When the new content cannot be used; the old value stays.
    fn reload(&self) -> Result<bool, Box<dyn Error + Send + Sync>>;
}

/// A value and the files that it comes from.
pub(crate) struct Watched<T> {
    paths: Vec<PathBuf>,
    load: Load<T>,
    value: RwLock<Arc<T>>,
    seen: Mutex<Vec<Option<Stamp>>>,
}

type Load<T> = Box<dyn Fn() -> Result<T, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// What changes when a file is written or replaced. Links are followed: Kubernetes swaps them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl<T: Send + Sync> Watched<T> {
    /// Loads the value for the first time.
    pub(crate) fn open<E: Error + Send + Sync + 'static>(
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Taken before reading: a change meanwhile is seen at the next look.
        let seen = Mutex::new(stamps(&paths));
        let value = RwLock::new(Arc::new(load()?));
        Ok(Self { paths, load: Box::new(move || load().map_err(Into::into)), value, seen })
    }

    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.value.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Send + Sync> Reload for Watched<T> {
    fn reload(&self) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.paths);
        if *seen == now {
            return Ok(false);
        }
        // A content that is refused is not tried again until it changes.
        *seen = now;
        let value = Arc::new((self.load)()?);
        *self.value.write().unwrap_or_else(PoisonError::into_inner) = value;
        Ok(true)
    }
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watched({:?})", self.paths)
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp { modified: metadata.modified().ok(), length: metadata.len(), inode: metadata.ino() })
    };
    paths.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again_and_a_bad_one_is_not_taken() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("number");
        fs::write(&path, "1").expect("written");
        let from = path.clone();
        let load = move || fs::read_to_string(&from).unwrap_or_default().parse::<u32>();
        let watched = Watched::open(vec![path.clone()], load).expect("a number");
        assert!(!watched.reload().expect("unchanged"));
        fs::write(&path, "22").expect("written");
        assert!(watched.reload().expect("a number"));
        assert_eq!(*watched.get(), 22);
        fs::write(&path, "bad").expect("written");
        assert!(watched.reload().is_err());
        assert!(!watched.reload().expect("not tried again"));
        assert_eq!(*watched.get(), 22);
    }
}
