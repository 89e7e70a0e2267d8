//! Credentials in the container's own root: a build in place wipes them, and the next command of the job needs them again.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use yadokari::sandbox::{IgnoreList, same_status};

use crate::shelter::make_directory;

/// What a file of credentials has at most.
const MAX_BYTES: u64 = 1 << 20;
const MAX_FILES: usize = 200;

/// A file that is not there any more could not be written again.
#[derive(Debug, thiserror::Error)]
#[error("failed to put back {}, which the build in place has wiped", path.display())]
pub(crate) struct KeptError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Files, and the directories that they are in. In memory, where no step can read them.
pub(crate) struct KeptCredentials(Vec<Kept>);

struct Kept {
    path: PathBuf,
    status: Metadata,
    /// Of a file.
    bytes: Option<Vec<u8>>,
}

impl KeptCredentials {
    /// Reads what is at `paths`, files and directories, and not `ignore`d. What cannot be read, links and large files are
    /// left out.
    pub(crate) fn new(paths: impl IntoIterator<Item = PathBuf>, ignore: &IgnoreList) -> Self {
        let mut waiting: Vec<PathBuf> = paths.into_iter().collect();
        let mut kept = Vec::new();
        while let Some(path) = waiting.pop().filter(|_| kept.len() < MAX_FILES) {
            let Ok(status) = path.symlink_metadata() else { continue };
            if ignore.contains(&path) || !path.is_absolute() {
                continue;
            }
            if status.is_dir() {
                let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                waiting.extend(entries.map(|entry| entry.path()));
                kept.push(Kept { path, status, bytes: None });
            } else if status.is_file() && status.len() <= MAX_BYTES {
                let bytes = fs::read(&path).ok();
                kept.extend(bytes.map(|bytes| Kept { path, status, bytes: Some(bytes) }));
            }
        }
        Self(kept)
    }

    /// Writes again what is not there.
    pub(crate) fn restore(&self) -> Result<(), KeptError> {
        let mut missing = self.0.iter().filter(|kept| kept.path.symlink_metadata().is_err());
        missing.try_for_each(|kept| kept.restore().map_err(|source| KeptError { path: kept.path.clone(), source }))
    }
}

impl Kept {
    fn restore(&self) -> io::Result<()> {
        match (&self.bytes, self.path.parent()) {
            (None, _) => make_directory(&self.path)?,
            (Some(bytes), parent) => {
                make_directory(parent.unwrap_or(Path::new("/")))?;
                write_private(&self.path, bytes)?;
            }
        }
        same_status(&fs::File::open(&self.path)?, &self.status)
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_come_back_where_they_are_missing() {
        let root = tempfile::tempdir().expect("directory");
        let (home, mounted) = (root.path().join("home"), root.path().join("mounted"));
        for directory in [home.join(".aws/sso"), mounted.clone()] {
            fs::create_dir_all(directory).expect("directory");
        }
        for file in [home.join(".aws/sso/token"), home.join("config.json"), mounted.join("x"), home.join("large")] {
            fs::write(file, "secret").expect("file");
        }
        fs::File::options().write(true).open(home.join("large")).and_then(|f| f.set_len(MAX_BYTES + 1)).expect("grown");
        fs::set_permissions(home.join(".aws"), fs::Permissions::from_mode(0o700)).expect("mode");
        let names = [home.join(".aws"), home.join("config.json"), home.join("large"), mounted.clone(), "none".into()];
        let kept = KeptCredentials::new(names, &IgnoreList::new([mounted.clone()]));
        for gone in [&home, &mounted] {
            fs::remove_dir_all(gone).expect("wiped");
        }
        fs::create_dir(&home).expect("of the image");
        fs::write(home.join("config.json"), "of the image").expect("file");
        kept.restore().expect("restored");
        let read = |name: &str| fs::read_to_string(home.join(name)).expect(name);
        assert_eq!([read(".aws/sso/token"), read("config.json")], ["secret", "of the image"]);
        let mode = fs::metadata(home.join(".aws")).expect("directory").permissions().mode();
        assert_eq!((mode & 0o777, mounted.exists(), home.join("large").exists()), (0o700, false, false));
    }
}
