use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::Path;

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};
use yadokari::digest::Digest;

use super::{ExchangeError, PINNED_UNTIL, REF_NAME, REPOSITORY};
use crate::document::Document;
use crate::name::{Reference, RepositoryName};
use crate::storage::{Listed, Storage, StorageError};

/// What an archive got.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exported {
    pub(crate) repositories: u64,
    pub(crate) manifests: u64,
    pub(crate) blobs: u64,
    /// Manifests that were left out, for something that they name is gone.
    pub(crate) incomplete: u64,
}

/// Writes `repositories`, or all of them when none is named, to `target`, which is at `path`.
///
/// # Errors
/// See [`ExchangeError`].
pub(crate) fn export(
    storage: &Storage,
    repositories: &[RepositoryName],
    target: impl Write,
    path: &Path,
) -> Result<Exported, ExchangeError> {
    let at = |operation| move |cause| ExchangeError::File { operation, path: path.to_owned(), cause };
    // Its length comes before its bytes in the archive.
    let index = tempfile::tempfile().map_err(at("make a temporary file for"))?;
    let mut export = Export {
        storage,
        archive: Builder::new(target),
        path,
        index,
        written: HashSet::new(),
        exported: Exported::default(),
    };
    export.append("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}")?;
    let head = "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[";
    export.index.write_all(head.as_bytes()).map_err(at("write the index of"))?;
    let all = if repositories.is_empty() { every_repository(storage)? } else { repositories.to_vec() };
    for repository in &all {
        export.repository(repository)?;
    }
    export.finish()
}

fn every_repository(storage: &Storage) -> Result<Vec<RepositoryName>, ExchangeError> {
    let names = storage.repository_page(None, usize::MAX)?.entries;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

struct Export<'a, W: Write> {
    storage: &'a Storage,
    archive: Builder<W>,
    path: &'a Path,
    /// The document so far.
    index: File,
    /// What is in the archive.
    written: HashSet<Digest>,
    exported: Exported,
}

impl<W: Write> Export<'_, W> {
    fn repository(&mut self, repository: &RepositoryName) -> Result<(), ExchangeError> {
        if !self.storage.has_repository(repository)? {
            return Err(ExchangeError::NoRepository(repository.to_string()));
        }
        let storage = self.storage;
        storage.for_each_manifest(repository, |listed| self.manifest(repository, &listed))?;
        self.exported.repositories += 1;
        Ok(())
    }

    fn manifest(&mut self, repository: &RepositoryName, listed: &Listed) -> Result<(), ExchangeError> {
        let reference = Reference::Digest(listed.digest.clone());
        let Some((_, bytes)) = self.storage.manifest(repository, &reference)? else { return Ok(()) };
        if !listed.is_complete {
            self.exported.incomplete += 1;
            return Ok(());
        }
        let malformed = |cause| ExchangeError::Document { digest: listed.digest.clone(), cause };
        let document = Document::parse(&bytes, Some(&listed.media_type)).map_err(malformed)?;
        for part in document.parts() {
            self.blob(repository, part)?;
        }
        if self.written.insert(listed.digest.clone()) {
            self.append(&blob_path(&listed.digest), &bytes)?;
        }
        self.note(repository, listed)
    }

    /// A child may be a manifest: that one has its own turn.
    fn blob(&mut self, repository: &RepositoryName, digest: &Digest) -> Result<(), ExchangeError> {
        if self.written.contains(digest) {
            return Ok(());
        }
        let Some(blob) = self.storage.open_blob(repository, digest)? else { return Ok(()) };
        let size = blob.size();
        let file = blob.into_file().map_err(|cause| StorageError::File {
            operation: "read",
            path: blob_path(digest).into(),
            cause,
        })?;
        self.append_from(&blob_path(digest), size, &file)?;
        self.written.insert(digest.clone());
        self.exported.blobs += 1;
        Ok(())
    }

    /// One entry in the index for each tag, or one without.
    fn note(&mut self, repository: &RepositoryName, listed: &Listed) -> Result<(), ExchangeError> {
        let mut names: Vec<Value> =
            listed.tags.iter().map(|tag| json!({ REF_NAME: format!("{repository}:{tag}") })).collect();
        if names.is_empty() {
            names.push(json!({ REPOSITORY: repository.as_str() }));
        }
        for mut annotations in names {
            if let Some(until) = listed.pinned_until {
                annotations[PINNED_UNTIL] = json!(until.to_string());
            }
            let entry = json!({
                "mediaType": listed.media_type, "digest": listed.digest, "size": listed.size, "annotations": annotations,
            });
            let comma = if self.exported.manifests == 0 { "" } else { "," };
            write!(self.index, "{comma}{entry}").map_err(|cause| self.failure("write the index of", cause))?;
            self.exported.manifests += 1;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Exported, ExchangeError> {
        let size = self.index.write_all(b"]}").and_then(|()| self.index.stream_position());
        let size = size.and_then(|size| self.index.seek(SeekFrom::Start(0)).map(|_| size));
        let size = size.map_err(|cause| self.failure("write the index of", cause))?;
        let index = self.index.try_clone().map_err(|cause| self.failure("read the index of", cause))?;
        self.append_from("index.json", size, &index)?;
        let written = self.archive.into_inner().and_then(|mut target| target.flush());
        written.map_err(|cause| ExchangeError::File { operation: "write", path: self.path.to_owned(), cause })?;
        Ok(self.exported)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExchangeError> {
        self.append_from(name, bytes.len() as u64, bytes)
    }

    fn append_from(&mut self, name: &str, size: u64, source: impl Read) -> Result<(), ExchangeError> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(size);
        let mut source = Exactly { inner: source.take(size), left: size };
        let appended = self.archive.append_data(&mut header, name, &mut source);
        appended.map_err(|cause| self.failure("write", cause))
    }

    fn failure(&self, operation: &'static str, cause: io::Error) -> ExchangeError {
        ExchangeError::File { operation, path: self.path.to_owned(), cause }
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// Fails when the source ends early: the archive says already how long it is.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}
