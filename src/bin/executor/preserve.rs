//! `--preserve-context`: the container's own files are put away before a build in place, and come back when `--cleanup`
//! has wiped the root.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use tempfile::TempPath;
use yadokari::extract::{ExtractError, Form, Ownership, extract};
use yadokari::image::media_type::Compression;
use yadokari::layer::{Content, EncodeError, encode_files};
use yadokari::sandbox::IgnoreList;
use yadokari::snapshot::{SnapshotError, everything};

/// Why they could not be put away, or did not come back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreserveError {
    #[error("failed to list the container's files for --preserve-context")]
    List(#[from] SnapshotError),
    #[error("failed to keep the container's files in {directory} for --preserve-context")]
    Keep {
        directory: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to archive the container's files for --preserve-context")]
    Archive(#[from] EncodeError),
    #[error("failed to restore the container's files after --cleanup")]
    Restore(#[from] ExtractError),
}

/// An archive of what stood in the root, for the executor's owner alone; removed when dropped.
pub(crate) struct Preserved {
    archive: TempPath,
}

impl Preserved {
    /// Archives all of `/` that is not ignored into `directory`, which has to be.
    pub(crate) fn new(directory: &Path, ignore: &IgnoreList) -> Result<Self, PreserveError> {
        let keep = |source| PreserveError::Keep { directory: directory.display().to_string(), source };
        let mut archive = tempfile::NamedTempFile::new_in(directory).map_err(keep)?;
        let open = |content: &Content| -> io::Result<Box<dyn Read>> {
            let Content::Host(path) = content else { return Err(io::ErrorKind::InvalidInput.into()) };
            Ok(Box::new(File::open(path)?))
        };
        encode_files(&everything(Path::new("/"), ignore)?, &open, Compression::None, archive.as_file_mut())?;
        Ok(Self { archive: archive.into_temp_path() })
    }

    /// Puts everything back into a root that was wiped.
    pub(crate) fn restore(&self) -> Result<(), PreserveError> {
        let keep = |source| PreserveError::Keep { directory: self.archive.display().to_string(), source };
        let archive = File::open(&self.archive).map_err(keep)?;
        extract(archive, Path::new("/"), Form::Plain, Ownership::Exact)?;
        Ok(())
    }
}
