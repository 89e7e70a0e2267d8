//! Archives of `docker save`, `podman save` and `--tar-path`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzEncoder;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tempfile::TempPath;
use yadokari::digest::Digest;
use yadokari::image::media_type::{self, Compression as LayerFormat};
use yadokari::image::{Descriptor, Manifest};
use yadokari::layer::sniff;

use super::{Blob, Document, PushError, Stored, unusable};

/// Larger documents are not read, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;
/// No image has more members.
const MAX_MEMBERS: usize = 10_000;
const BUFFER: usize = 128 << 10;

/// An entry of the archive's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    layers: Vec<String>,
}

/// The one image of the archive, as an image of Docker's.
pub(super) fn open(path: &Path) -> Result<Stored, PushError> {
    let archive = Archive::open(path)?;
    let entries: Vec<Entry> = serde_json::from_slice(&archive.read("manifest.json")?)
        .map_err(|error| unusable(path, format!("manifest.json: {error}")))?;
    let [Entry { config, layers }] = entries.as_slice() else {
        return Err(unusable(path, format!("it holds {} images, not one", entries.len())));
    };
    let config = archive.read(config)?;
    let descriptor = Descriptor::of(media_type::DOCKER_CONFIG, &config);
    let layers = layers.iter().map(|name| archive.layer(name)).collect::<Result<Vec<_>, _>>()?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::DOCKER_MANIFEST.into()),
        artifact_type: None,
        config: descriptor.clone(),
        layers: layers.iter().map(|(layer, _)| layer.clone()).collect(),
        subject: None,
        annotations: BTreeMap::new(),
    };
    let mut blobs: BTreeMap<Digest, (Descriptor, Box<dyn Blob>)> = BTreeMap::new();
    for (layer, source) in layers.into_iter().chain([(descriptor, Box::new(Bytes(config)) as Box<dyn Blob>)]) {
        blobs.insert(layer.digest.clone(), (layer, source));
    }
    let root = Document { media_type: media_type::DOCKER_MANIFEST.into(), bytes: manifest.to_bytes() };
    Ok(Stored { blobs: blobs.into_values().collect(), below: Vec::new(), root })
}

/// Where the members' bytes are.
struct Archive {
    path: PathBuf,
    /// Offset and size in bytes, by name.
    members: BTreeMap<String, (u64, u64)>,
}

impl Archive {
    fn open(path: &Path) -> Result<Self, PushError> {
        let failed = |source| PushError::Read { path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut tar = tar::Archive::new(BufReader::new(file));
        let mut members = BTreeMap::new();
        for entry in tar.entries_with_seek().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            if entry.raw_file_position().saturating_add(entry.size()) > length {
                return Err(unusable(path, format!("it ends within {name:?}")));
            }
            if entry.header().entry_type().is_file() {
                members.insert(name, (entry.raw_file_position(), entry.size()));
            }
            if members.len() > MAX_MEMBERS {
                return Err(unusable(path, format!("more than {MAX_MEMBERS} members")));
            }
        }
        Ok(Self { path: path.into(), members })
    }

    fn member(&self, name: &str) -> Result<Member, PushError> {
        let missing = || unusable(&self.path, format!("it has no file {name:?}"));
        let (offset, size) = *self.members.get(name).ok_or_else(missing)?;
        Ok(Member { archive: self.path.clone(), offset, size })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, PushError> {
        let member = self.member(name)?;
        if member.size > MAX_DOCUMENT {
            return Err(unusable(&self.path, format!("{name} has {} bytes", member.size)));
        }
        let mut bytes = Vec::new();
        let read = member.open().and_then(|mut reader| reader.read_to_end(&mut bytes));
        read.map_err(|source| PushError::Read { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    /// As it is when it is compressed, else as gzip.
    fn layer(&self, name: &str) -> Result<(Descriptor, Box<dyn Blob>), PushError> {
        let member = self.member(name)?;
        let described = member.describe();
        described.map_err(|source| PushError::Read { path: self.path.clone(), source })
    }
}

/// A file inside an archive.
struct Member {
    archive: PathBuf,
    offset: u64,
    size: u64,
}

impl Blob for Member {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.archive)?;
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(Box::new(file.take(self.size)))
    }
}

impl Member {
    fn describe(self) -> io::Result<(Descriptor, Box<dyn Blob>)> {
        let mut start = Vec::new();
        self.open()?.take(4).read_to_end(&mut start)?;
        let media_type = match sniff(&start) {
            LayerFormat::Gzip => media_type::DOCKER_LAYER_GZIP,
            LayerFormat::Zstd => media_type::DOCKER_LAYER_ZSTD,
            LayerFormat::None => return self.compressed(),
        };
        let (digest, size) = copy(self.open()?, &mut io::sink())?;
        Ok((Descriptor::new(media_type, digest, size), Box::new(self)))
    }

    fn compressed(self) -> io::Result<(Descriptor, Box<dyn Blob>)> {
        let mut file = tempfile::NamedTempFile::new()?;
        let (digest, size) = copy(GzEncoder::new(self.open()?, Compression::fast()), file.as_file_mut())?;
        let blob = Temporary(file.into_temp_path());
        Ok((Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest, size), Box::new(blob)))
    }
}

/// Copies all, and returns the digest and the number of bytes.
fn copy(mut from: impl Read, to: &mut dyn io::Write) -> io::Result<(Digest, u64)> {
    let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0, vec![0; BUFFER]);
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok((Digest::from_sha256(&hasher.finalize().into()), size));
        }
        hasher.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
        size += count as u64;
    }
}

/// A compressed layer; removed at the end.
struct Temporary(TempPath);

impl Blob for Temporary {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(&self.0)?))
    }
}

struct Bytes(Vec<u8>);

impl Blob for Bytes {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.0.clone())))
    }
}
