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
    for file in files {
        let fields = file.fields();
        listing.add(&fields);
        frame.field("file", &fields);
        match depth {
            Some(depth) => {
                let directory = directories.entry(ancestor(&file.path, depth)).or_default();
                directory.add(&(fields.len() as u64).to_le_bytes()).add(&fields);
            }
            None => frame.note(format!("file {}", String::from_utf8_lossy(&file.path)), short_hash(&fields)),
        }
    }
    for (directory, pieces) in directories {
        let name = String::from_utf8_lossy(directory);
        frame.note(format!("files below {name}/"), pieces.hash().to_hex()[..16].to_owned());
    }
    frame.note("files".into(), format!("{} [{}]", files.len(), &listing.hash().to_hex()[..16]));
}

/// How many directories deep files are told apart in an explanation: as far down as there are few
/// enough directories.
fn telling_depth(files: &[InputFile]) -> usize {
    const DEEPEST: usize = 6;
    let is_fitting = |depth: &usize| {
        let mut directories = BTreeSet::new();
        files.iter().all(|file| {
            directories.insert(ancestor(&file.path, *depth));
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
    /// All fields, framed.
    fn fields(&self) -> Vec<u8> {
        let Self { path, kind, mode, uid, gid, xattrs } = self;
        let (tag, data) = kind.fields();
        let mut out = Vec::with_capacity(path.len() + data.len() + 64);
        let mut put = |bytes: &[u8]| {
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        put(path);
        put(&[tag]);
        put(&data);
        put(&mode.to_le_bytes());
        put(&uid.to_le_bytes());
        put(&gid.to_le_bytes());
        for (name, value) in xattrs {
            put(name.as_bytes());
            put(value);
        }
        out
    }
}

impl InputKind {
    fn fields(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Directory => (b'd', Vec::new()),
            Self::File(hash) => (b'f', hash.0.to_vec()),
            Self::Symlink(target) => (b'l', target.clone()),
            Self::Hardlink(target) => (b'h', target.clone()),
            Self::Device(kind, major, minor) => (b'v', format!("{kind}{major}:{minor}").into_bytes()),
            Self::Fifo => (b'p', Vec::new()),
            Self::Socket => (b's', Vec::new()),
            Self::Whiteout => (b'w', Vec::new()),
        }
    }
}
