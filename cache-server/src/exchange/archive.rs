use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};
use yadokari::digest::Digest;

use super::ExchangeError;

/// A larger index is not read.
const MAX_INDEX_BYTES: u64 = 1 << 30;

/// An archive on disk, and where in it everything is. Nothing of it is trusted yet.
#[derive(Debug)]
pub(super) struct Layout {
    file: File,
    path: PathBuf,
    places: HashMap<Digest, Place>,
    index: Option<Place>,
}

/// Part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    offset: u64,
    pub(super) size: u64,
}

impl Layout {
    /// Looks at the head of every member. Names that are none of a layout's are passed over.
    pub(super) fn open(file: File, path: &Path) -> Result<Self, ExchangeError> {
        let mut layout = Self { file, path: path.to_owned(), places: HashMap::new(), index: None };
        layout.scan().map_err(|cause| layout.failure("read", cause))?;
        Ok(layout)
    }

    fn scan(&mut self) -> io::Result<()> {
        let mut archive = Archive::new(BufReader::new(self.file.try_clone()?));
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            if !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Continuous) {
                continue;
            }
            let place = Place { offset: entry.raw_file_position(), size: entry.size() };
            let path = entry.path()?;
            let path = path.strip_prefix(".").unwrap_or(&path);
            if path == Path::new("index.json") {
                self.index = Some(place);
            } else if let Some(digest) = digest_of(path) {
                self.places.insert(digest, place);
            }
        }
        Ok(())
    }

    pub(super) fn index(&self) -> Result<Vec<u8>, ExchangeError> {
        let place = self.index.ok_or(ExchangeError::Missing("index.json"))?;
        if place.size > MAX_INDEX_BYTES {
            return Err(self.failure("read", io::Error::other("its index.json is too large")));
        }
        self.read(place, 0, place.size)
    }

    pub(super) fn place(&self, digest: &Digest) -> Option<Place> {
        self.places.get(digest).copied()
    }

    /// `length` bytes of a place, from `offset` there.
    pub(super) fn read(&self, place: Place, offset: u64, length: u64) -> Result<Vec<u8>, ExchangeError> {
        // Callers keep it small, and it is no more than the file has.
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let read = self.file.read_exact_at(&mut bytes, place.offset + offset);
        read.map(|()| bytes).map_err(|cause| self.failure("read", cause))
    }

    fn failure(&self, operation: &'static str, cause: io::Error) -> ExchangeError {
        ExchangeError::File { operation, path: self.path.clone(), cause }
    }
}

/// `blobs/ALGORITHM/HEX`.
fn digest_of(path: &Path) -> Option<Digest> {
    let (algorithm, hex) = path.to_str()?.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}
