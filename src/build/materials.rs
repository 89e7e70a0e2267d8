//! Gets hold of what layers contain: tables of contents, extracted directories, single files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::BuildError;
use super::extraction::{Ahead, OverlayForm};
use super::flights::Flights;
use super::request::Services;
use super::state::{Origin, StageState, StateLayer};
use crate::context::{Archive, ContextDirectory, ContextError, MemberKind, open_file};
use crate::digest::{ChainId, ContentHash, DiffId};
use crate::layer::{
    Change, ChangeKind, Content, DecodeError, Entry, EntryKind, EntryPath, LayerCompression, Scanned, Toc, decompress,
    read_files,
};
use crate::registry::Purpose;
use crate::sandbox::Cancel;
use crate::view::{Node, NodeKind};

/// Layers' contents, each got once per build.
pub(super) struct Materials<'a> {
    pub(super) services: &'a Services<'a>,
    /// How layers are extracted for an overlay.
    pub(super) form: OverlayForm,
    /// Whether blobs of base images will be needed whole (a layout or an archive is written).
    pub(super) keep_blobs: bool,
    /// How layers are written.
    compression: LayerCompression,
    known: Mutex<Known>,
    /// A layer is read by one thread at a time; the others find what it learned.
    pub(super) reading: Flights<DiffId>,
}

#[derive(Default)]
pub(super) struct Known {
    pub(super) layers: BTreeMap<DiffId, StateLayer>,
    pub(super) tocs: BTreeMap<DiffId, Arc<Toc>>,
    /// Base images' layers of which no cache has the table.
    pub(super) without_toc: BTreeSet<DiffId>,
    /// For tables that were asked: offset of a file to the index of its entry.
    offsets: BTreeMap<DiffId, HashMap<u64, usize>>,
    /// By the chain ID of the layer with all below it.
    pub(super) directories: BTreeMap<ChainId, PathBuf>,
    /// Any directory that holds a layer's files under their own paths.
    pub(super) holders: BTreeMap<DiffId, PathBuf>,
    /// Layers that were extracted before what lies below them was known.
    pub(super) ahead: BTreeMap<DiffId, Ahead>,
    /// Uncompressed tars of ADD.
    archives: BTreeMap<DiffId, PathBuf>,
    /// Of contents that are in no table.
    hashes: HashMap<Content, ContentHash>,
    /// Files copied out of layers.
    spooled: HashMap<Content, PathBuf>,
}

impl Known {
    /// The file whose bytes start at `offset`. A COPY asks this for every file that it takes, so
    /// the table is gone through once.
    fn file_at(&mut self, layer: &DiffId, offset: u64) -> Option<&Entry> {
        let entries = &self.tocs.get(layer)?.entries;
        let offsets = self.offsets.entry(layer.clone()).or_insert_with(|| {
            let file = |(index, entry): (usize, &Entry)| match entry.kind {
                EntryKind::File { offset, .. } => Some((offset, index)),
                _ => None,
            };
            entries.iter().enumerate().filter_map(file).collect()
        });
        entries.get(*offsets.get(&offset)?)
    }
}

impl<'a> Materials<'a> {
    pub(super) fn new(
        services: &'a Services<'a>,
        form: OverlayForm,
        keep_blobs: bool,
        compression: LayerCompression,
    ) -> Self {
        Self { services, form, keep_blobs, compression, known: Mutex::default(), reading: Flights::default() }
    }

    /// How layers are to be written.
    pub(super) fn compression(&self) -> LayerCompression {
        self.compression
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a layer that this build wrote, with the directory that its files are in.
    pub(super) fn note_written(&self, layer: &StateLayer, toc: Arc<Toc>) {
        let mut known = self.known();
        known.layers.insert(layer.diff_id.clone(), layer.clone());
        known.tocs.insert(layer.diff_id.clone(), toc);
    }

    /// Takes note that a layer's blob is where its origin says.
    pub(super) fn note_blob(&self, layer: &StateLayer) {
        self.known().layers.insert(layer.diff_id.clone(), layer.clone());
    }

    /// Takes note of an archive whose members a layer may hold.
    pub(super) fn note_archive(&self, archive: &Archive) {
        let mut known = self.known();
        known.archives.insert(archive.diff_id.clone(), archive.tar.clone());
        let files = archive.members.iter().filter_map(|member| match &member.kind {
            MemberKind::Node(Node { kind: NodeKind::File(file), .. }) => Some((file.content.clone(), file.hash?)),
            _ => None,
        });
        known.hashes.extend(files);
    }

    /// Takes note of what files of a context held when the definition keys were made: whatever is read of
    /// them from now on must be the same. Returns the hashes of those that the context's tree has none of.
    pub(super) fn note_files(
        &self,
        context: &ContextDirectory,
        paths: &[EntryPath],
    ) -> Result<BTreeMap<EntryPath, ContentHash>, BuildError> {
        let hashes = context.hash_files(paths)?;
        let noted = paths.iter().filter_map(|path| match &context.view().get(path)?.kind {
            NodeKind::File(file) => Some((file.content.clone(), file.hash.or_else(|| hashes.get(path).copied())?)),
            _ => None,
        });
        self.known().hashes.extend(noted);
        Ok(hashes)
    }

    /// An archive that was unpacked must be what the keys say of its file.
    pub(super) fn check_archive(&self, file: &Path, archive: &Archive) -> Result<(), BuildError> {
        let noted = self.known().hashes.get(&Content::Host(file.to_owned())).copied();
        if noted.is_some_and(|noted| noted != archive.hash) { Err(changed(file)) } else { Ok(()) }
    }

    /// What went into a layer or a mount must be what the keys say of it: a file of this machine as it was
    /// hashed, a file of another layer as its table of contents has it. Else the cache would give out the
    /// one for the other.
    pub(super) fn check_unchanged(&self, changes: &[Change], toc: &Toc) -> Result<(), BuildError> {
        let mut known = self.known();
        for (change, entry) in changes.iter().zip(&toc.entries) {
            let (ChangeKind::File { content, .. }, EntryKind::File { hash, .. }) = (&change.kind, &entry.kind) else {
                continue;
            };
            let is_changed = known.hashes.get(content).is_some_and(|noted| noted != hash);
            match content {
                Content::Host(path) if is_changed => return Err(changed(path)),
                Content::Layer { layer, offset } => {
                    // A tar that is not compressed is read where it is.
                    if let (true, Some(tar)) = (is_changed, known.archives.get(layer)) {
                        return Err(changed(tar));
                    }
                    let told = known.file_at(layer, *offset).map(|entry| &entry.kind);
                    let is_other = matches!(told, Some(EntryKind::File { hash: told, .. }) if told != hash);
                    if let (true, Some(layer)) = (is_other, known.layers.get(layer)) {
                        return Err(fetch_error(layer, "a file in it is not what its table of contents says"));
                    }
                }
                Content::Host(_) | Content::Bytes(_) => {}
            }
        }
        Ok(())
    }

    /// The hash of a file's bytes; those inside layers are known from the tables of contents.
    pub(super) fn content_hash(&self, content: &Content) -> Result<ContentHash, BuildError> {
        if let Some(hash) = self.known_hash(content) {
            return Ok(hash);
        }
        let hash = match content {
            Content::Bytes(bytes) => ContentHash::of(bytes),
            Content::Host(path) => hash_file(path)?,
            Content::Layer { .. } => {
                let path = self.spooled_path(content).map_err(BuildError::file("read", "a file of a layer"))?;
                hash_file(&path)?
            }
        };
        self.known().hashes.insert(content.clone(), hash);
        Ok(hash)
    }

    fn known_hash(&self, content: &Content) -> Option<ContentHash> {
        let mut known = self.known();
        if let Some(hash) = known.hashes.get(content) {
            return Some(*hash);
        }
        let Content::Layer { layer, offset } = content else { return None };
        match known.file_at(layer, *offset)?.kind {
            EntryKind::File { hash, .. } => Some(hash),
            _ => None,
        }
    }

    /// Learns the contents of all layers of `state`. `for_run` says that a RUN will need the
    /// files too: then what must be downloaded is extracted in the same pass.
    pub(super) fn learn(&self, state: &mut StageState, for_run: bool) -> Result<(), BuildError> {
        let (layers, contents) = state.split();
        self.ask_for_tocs(&layers[contents.layers..])?;
        if for_run {
            self.extract_ahead(&layers[contents.layers..])?;
        }
        while contents.layers < layers.len() {
            let upto = &layers[..=contents.layers];
            let Some(layer) = upto.last() else { break };
            let toc = self.toc(upto, contents, for_run)?;
            contents.apply(&layer.diff_id, &toc);
        }
        Ok(())
    }

    /// The uncompressed tar of a layer, verified while it streams.
    pub(super) fn open_tar(&self, layer: &StateLayer) -> Result<Box<dyn Read + Send + '_>, BuildError> {
        let blob = UntilStopped { reader: self.open_blob(layer)?, cancel: &self.services.sandbox.cancel };
        decompress(blob).map_err(|error| fetch_error(layer, error))
    }

    fn open_blob(&self, layer: &StateLayer) -> Result<Box<dyn Read + Send>, BuildError> {
        for store in [Some(self.services.store), self.services.warm].into_iter().flatten() {
            if let Some(file) = store.open_blob(&layer.blob.digest)? {
                return Ok(Box::new(file));
            }
            if let Some(reader) = store.open_kaniko_blob(&layer.blob.digest)? {
                return Ok(reader);
            }
        }
        match &layer.origin {
            Origin::Image(repository) => self
                .services
                .registry
                .fetch_blob(repository, &layer.blob, Purpose::Pull)
                .map(|reader| Box::new(reader) as Box<dyn Read + Send>)
                .map_err(|error| fetch_error(layer, error)),
            Origin::Layout => {
                let found = self.services.layouts.blob(&layer.blob)?;
                found.ok_or_else(|| fetch_error(layer, "the image layout lacks it"))
            }
            Origin::Record(record) | Origin::Built(record) => match self.services.cache {
                Some(cache) => cache.fetch_layer(record).map_err(|error| fetch_error(layer, error)),
                None => Err(fetch_error(layer, "it is not in the local store")),
            },
            Origin::InWriting => Err(fetch_error(layer, "it is still being compressed")),
        }
    }

    /// Makes sure that the local store has the layer's blob.
    pub(super) fn keep_blob(&self, layer: &StateLayer) -> Result<(), BuildError> {
        if self.services.store.has_blob(&layer.blob.digest) {
            return Ok(());
        }
        let mut reader = self.open_blob(layer)?;
        let mut writer = self.services.store.blob_writer()?;
        std::io::copy(&mut reader, &mut writer).map_err(|error| fetch_error(layer, error))?;
        writer.commit_as(&layer.blob)?;
        Ok(())
    }

    /// Host files for contents that are inside layers: one pass over each layer that is not
    /// extracted anyway.
    pub(super) fn spool(&self, contents: &[(Content, u64)]) -> Result<(), BuildError> {
        let mut by_layer: BTreeMap<DiffId, BTreeMap<u64, u64>> = BTreeMap::new();
        for (content, size) in contents {
            let Content::Layer { layer, offset } = content else { continue };
            if !self.is_on_host(content) {
                by_layer.entry(layer.clone()).or_default().insert(*offset, *size);
            }
        }
        by_layer.into_iter().try_for_each(|(layer, mut wanted)| {
            let _reading = self.reading.enter(layer.clone());
            let content = |offset: u64| Content::Layer { layer: layer.clone(), offset };
            wanted.retain(|offset, _| !self.is_on_host(&content(*offset)));
            if wanted.is_empty() { Ok(()) } else { self.spool_layer(&layer, &wanted) }
        })
    }

    fn is_on_host(&self, content: &Content) -> bool {
        self.known().spooled.contains_key(content) || self.find_in_directory(content)
    }

    /// Finds a file of a layer that is extracted.
    fn find_in_directory(&self, content: &Content) -> bool {
        let Content::Layer { layer, offset } = content else { return false };
        let mut known = self.known();
        let Some(directory) = known.holders.get(layer).cloned() else { return false };
        let Some(entry) = known.file_at(layer, *offset) else { return false };
        let path = directory.join(os_path(&entry.path));
        let is_there = path.symlink_metadata().is_ok_and(|found| found.is_file());
        if is_there {
            known.spooled.insert(content.clone(), path);
        }
        is_there
    }

    fn spool_layer(&self, layer: &DiffId, wanted: &BTreeMap<u64, u64>) -> Result<(), BuildError> {
        let tar = self.tar_of(layer)?;
        let directory = self.services.work.join("files").join(layer.0.hex());
        std::fs::create_dir_all(&directory).map_err(BuildError::file("create", &directory))?;
        let path = |offset: u64| directory.join(offset.to_string());
        let mut each = |offset: u64, reader: &mut dyn Read| {
            let mut file = File::create(path(offset))?;
            std::io::copy(reader, &mut file).map(drop)
        };
        let failed = |error: std::io::Error| match self.known().layers.get(layer) {
            Some(found) => fetch_error(found, error),
            None => BuildError::file("copy files out of", layer.to_string())(error),
        };
        read_files(tar, wanted, &mut each).map_err(failed)?;
        let spooled =
            wanted.keys().map(|offset| (Content::Layer { layer: layer.clone(), offset: *offset }, path(*offset)));
        self.known().spooled.extend(spooled);
        Ok(())
    }

    fn tar_of(&self, layer: &DiffId) -> Result<Box<dyn Read + Send + '_>, BuildError> {
        if let Some(path) = self.known().archives.get(layer) {
            return Ok(Box::new(File::open(path).map_err(BuildError::file("read", path))?));
        }
        let found = self.known().layers.get(layer).cloned();
        match found {
            Some(found) => self.open_tar(&found),
            None => Err(BuildError::UnknownLayer { layer: layer.to_string() }),
        }
    }

    /// Opens the bytes of a file; those inside layers must have been spooled.
    pub(super) fn open(&self, content: &Content) -> std::io::Result<Box<dyn Read>> {
        Ok(self.open_anywhere(content)?)
    }

    /// As [`Self::open`], for who does not read from the beginning to the end.
    pub(super) fn open_anywhere(&self, content: &Content) -> std::io::Result<Box<dyn ReadSeek>> {
        match content {
            Content::Host(path) => Ok(Box::new(open_file(path)?)),
            Content::Bytes(bytes) => Ok(Box::new(std::io::Cursor::new(Arc::clone(bytes)))),
            Content::Layer { .. } => Ok(Box::new(File::open(self.spooled_path(content)?)?)),
        }
    }

    fn spooled_path(&self, content: &Content) -> std::io::Result<PathBuf> {
        let missing = || std::io::Error::other("file was not copied out of its layer");
        self.known().spooled.get(content).cloned().ok_or_else(missing)
    }
}

/// The bytes of a file, at any place.
pub(super) trait ReadSeek: Read + Seek {}

impl<R: Read + Seek> ReadSeek for R {}

/// A reader that fails once the build is stopped: a layer may take minutes.
struct UntilStopped<'a, R> {
    reader: R,
    cancel: &'a Cancel,
}

impl<R: Read> Read for UntilStopped<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(std::io::Error::other("the build was stopped"));
        }
        self.reader.read(buffer)
    }
}

/// A path of an archive as the host writes it.
pub(super) fn os_path(path: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(path))
}

pub(super) fn check_diff_id(layer: &StateLayer, scanned: &Scanned) -> Result<(), BuildError> {
    if scanned.diff_id == layer.diff_id {
        return Ok(());
    }
    let [layer, found, expected] =
        [layer.blob.digest.to_string(), scanned.diff_id.to_string(), layer.diff_id.to_string()];
    Err(BuildError::DiffId { layer, found, expected })
}

fn changed(path: &Path) -> BuildError {
    ContextError::Changed { path: path.to_owned() }.into()
}

fn hash_file(path: &Path) -> Result<ContentHash, BuildError> {
    let mut hasher = blake3::Hasher::new();
    let hashed = File::open(path).and_then(|file| hasher.update_reader(file).map(|hasher| hasher.finalize()));
    hashed.map(|hash| ContentHash(*hash.as_bytes())).map_err(BuildError::file("read", path))
}

pub(super) fn decode_error(layer: &StateLayer, source: DecodeError) -> BuildError {
    BuildError::Decode { layer: layer.blob.digest.to_string(), source }
}

fn fetch_error(layer: &StateLayer, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BuildError {
    BuildError::Fetch { layer: layer.blob.digest.to_string(), source: source.into() }
}
