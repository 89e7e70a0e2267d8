use std::collections::{BTreeMap, BTreeSet};

use super::CacheKey;
use super::frame::{Frame, Pieces, short_hash};
use crate::digest::ContentHash;

/// One file that a step takes or writes, as far as a key cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Relative path, any bytes.
    pub path: Vec<u8>,
    /// Type and content.
    pub kind: InputKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// By full name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Type and content of an [`InputFile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputKind {
    /// Directory.
    Directory,
    /// Regular file.
    File(ContentHash),
    /// Symbolic link.
    Symlink(Vec<u8>),
    /// Hard link to another path of the same list.
    Hardlink(Vec<u8>),
    /// Device numbers; `c` or `b`.
    Device(char, u32, u32),
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// A removal.
    Whiteout,
}

/// What a COPY or a mount reads, before anything runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceInput {
    /// The very files.
    Files(Vec<InputFile>),
    /// A match of a wildcard that is a link: it is copied under its own name, not under that of the
    /// file that it leads to.
    Link {
        /// Last component.
        name: Vec<u8>,
        /// Where it leads.
        path: Vec<u8>,
    },
    /// Whatever the stage or image under this key has at the op's paths.
    Definition(CacheKey),
    /// A download: its address and what identifies its bytes.
    Remote {
        /// Without user information.
        address: String,
        /// Content hash, checksum or commit.
        identity: String,
    },
}

/// So many files, or directories of files, are named one by one in an explanation.
const NAMED_FILES: usize = 64;

impl SourceInput {
    pub(super) fn add_to(&self, frame: &mut Frame) {
        match self {
            Self::Files(files) => add_files(frame, files),
            Self::Link { name, path } => {
                frame.field("link", name).field("leads to", path);
                frame.note(format!("link {}", String::from_utf8_lossy(name)), short_hash(path));
            }
            Self::Definition(key) => {
                frame.part("from", &key.to_string());
            }
            Self::Remote { address, identity } => {
                frame.part("remote", address).part("remote identity", identity);
            }
        }
    }
}

/// Adds all fields of all files, in the given order.
pub(super) fn add_files(frame: &mut Frame, files: &[InputFile]) {
    let mut listing = Pieces::default();
    let depth = if files.len() > NAMED_FILES { Some(telling_depth(files)) } else { None };
    let mut directories: BTreeMap<&[u8], Pieces> = BTreeMap::new();
    frame.list("files", files.len());
    let mut framed = Vec::new();
    for file in files {
        frame_fields(file, &mut framed);
        let fields = &framed[LENGTH..];
        listing.add(fields);
        match depth {
            Some(depth) => {
                directories.entry(ancestor(&file.path, depth)).or_default().add(&framed);
            }
            None => frame.note(format!("file {}", String::from_utf8_lossy(&file.path)), short_hash(fields)),
        }
        frame.framed_field("file", &framed);
    }
    for (directory, pieces) in directories {
        let name = String::from_utf8_lossy(directory);
        frame.note(format!("files below {name}/"), pieces.hash().to_hex()[..16].to_owned());
    }
    frame.note("files".into(), format!("{} [{}]", files.len(), &listing.hash().to_hex()[..16]));
}

/// Bytes of a length.
const LENGTH: usize = size_of::<u64>();

/// Replaces what `framed` holds by the file's fields behind their length.
fn frame_fields(file: &InputFile, framed: &mut Vec<u8>) {
    framed.clear();
    framed.extend_from_slice(&[0; LENGTH]);
    file.write_fields(framed);
    let length = (framed.len() - LENGTH) as u64;
    framed[..LENGTH].copy_from_slice(&length.to_le_bytes());
}

/// How many directories deep files are told apart in an explanation: as far down as there are few
/// enough directories.
fn telling_depth(files: &[InputFile]) -> usize {
    const DEEPEST: usize = 6;
    let is_fitting = |depth: &usize| {
        let (mut directories, mut last) = (BTreeSet::new(), None);
        files.iter().all(|file| {
            let directory = ancestor(&file.path, *depth);
            // Most files stand beside the one before.
            if last.replace(directory) != Some(directory) {
                directories.insert(directory);
            }
            directories.len() <= NAMED_FILES
        })
    };
    (1..=DEEPEST).take_while(is_fitting).last().unwrap_or_default()
}

/// The first `depth` directories of a path; fewer when it has fewer.
fn ancestor(path: &[u8], depth: usize) -> &[u8] {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    slashes.take(depth).last().map_or(b"", |end| &path[..end])
}

impl InputFile {
    /// Adds all fields, framed.
    fn write_fields(&self, out: &mut Vec<u8>) {
        let Self { path, kind, mode, uid, gid, xattrs } = self;
        put(out, path);
        put(out, &[kind.tag()]);
        match kind {
            InputKind::File(hash) => put(out, &hash.0),
            InputKind::Symlink(target) | InputKind::Hardlink(target) => put(out, target),
            InputKind::Device(kind, major, minor) => put(out, format!("{kind}{major}:{minor}").as_bytes()),
            InputKind::Directory | InputKind::Fifo | InputKind::Socket | InputKind::Whiteout => put(out, b""),
        }
        put(out, &mode.to_le_bytes());
        put(out, &uid.to_le_bytes());
        put(out, &gid.to_le_bytes());
        for (name, value) in xattrs {
            put(out, name.as_bytes());
            put(out, value);
        }
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

impl InputKind {
    fn tag(&self) -> u8 {
        match self {
            Self::Directory => b'd',
            Self::File(_) => b'f',
            Self::Symlink(_) => b'l',
            Self::Hardlink(_) => b'h',
            Self::Device(..) => b'v',
            Self::Fifo => b'p',
            Self::Socket => b's',
            Self::Whiteout => b'w',
        }
    }
}
