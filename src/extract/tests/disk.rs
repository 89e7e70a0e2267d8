//! What stands on disk and in a view, in one comparable form.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::digest::ContentHash;
use crate::layer::path::join;
use crate::view::{NodeKind, View};

/// A line for each object, in walk order: path, kind and details, mode, owner, time.
pub(super) type Listing = Vec<String>;

pub(super) fn listing_of(view: &View) -> Listing {
    let mut first_names = HashMap::new();
    let line = |(path, node): (Vec<u8>, &crate::view::Node)| {
        let path = String::from_utf8(path).unwrap();
        let kind = match &node.kind {
            NodeKind::Directory => "directory".to_owned(),
            NodeKind::File(file) => {
                let first = file.inode.map_or(&path, |inode| first_names.entry(inode).or_insert(path.clone()));
                format!("file {} {:?} first {first}", file.size, file.hash)
            }
            NodeKind::Symlink(target) => format!("link {}", String::from_utf8_lossy(target)),
            NodeKind::CharDevice(device) => format!("char {}:{}", device.major, device.minor),
            NodeKind::BlockDevice(device) => format!("block {}:{}", device.major, device.minor),
            NodeKind::Fifo => "fifo".to_owned(),
            NodeKind::Socket => "socket".to_owned(),
        };
        line(&path, &kind, node.mode, (node.uid, node.gid), node.mtime)
    };
    view.walk(b"").map(line).collect()
}

/// Modes of links, and times of directories, are not ours to choose.
fn line(path: &str, kind: &str, mode: u32, owner: (u64, u64), mtime: i64) -> String {
    let mode = if kind.starts_with("link") { 0 } else { mode };
    let mtime = if kind == "directory" { 0 } else { mtime };
    format!("{path}: {kind}, {mode:o} {owner:?} {mtime}")
}

pub(super) fn listing_on(root: &Path) -> Listing {
    listing_under(&[root.to_owned()])
}

/// What overlayfs shows of these lower directories, the topmost first.
pub(super) fn listing_under(layers: &[PathBuf]) -> Listing {
    let (mut lines, mut first_names) = (Vec::new(), HashMap::new());
    list(layers, b"", &mut first_names, &mut lines);
    lines
}

fn list(directories: &[PathBuf], path: &[u8], first_names: &mut HashMap<(u64, u64), String>, lines: &mut Listing) {
    for (name, found) in merged(directories) {
        let path = join(path, &name);
        let text = String::from_utf8(path.clone()).unwrap();
        let metadata = fs::symlink_metadata(&found[0]).unwrap();
        let kind = kind_of(&found[0], &metadata, &text, first_names);
        let owner = (metadata.uid().into(), metadata.gid().into());
        lines.push(line(&text, &kind, metadata.mode() & 0o7777, owner, metadata.mtime()));
        if metadata.is_dir() {
            list(&found, &path, first_names, lines);
        }
    }
}

fn kind_of(path: &Path, metadata: &fs::Metadata, name: &str, first_names: &mut HashMap<(u64, u64), String>) -> String {
    let device = |kind| {
        let number = metadata.rdev();
        format!("{kind} {}:{}", rustix::fs::major(number), rustix::fs::minor(number))
    };
    match metadata.file_type() {
        kind if kind.is_dir() => "directory".to_owned(),
        kind if kind.is_symlink() => format!("link {}", fs::read_link(path).unwrap().display()),
        kind if kind.is_char_device() => device("char"),
        kind if kind.is_block_device() => device("block"),
        kind if kind.is_fifo() => "fifo".to_owned(),
        _ => {
            let bytes = fs::read(path).unwrap();
            let first = first_names.entry((metadata.dev(), metadata.ino())).or_insert_with(|| name.to_owned());
            format!("file {} {:?} first {first}", bytes.len(), Some(ContentHash::of(&bytes)))
        }
    }
}

/// The names in a merged directory, each with the directories (or the one other object) that
/// make it up.
fn merged(directories: &[PathBuf]) -> BTreeMap<Vec<u8>, Vec<PathBuf>> {
    // What is settled takes nothing more from underneath.
    let mut names: BTreeMap<Vec<u8>, (Vec<PathBuf>, bool)> = BTreeMap::new();
    for directory in directories {
        for child in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (found, settled) = names.entry(child.file_name().as_bytes().to_vec()).or_default();
            let metadata = child.metadata().unwrap();
            if *settled {
                continue;
            }
            *settled = !metadata.is_dir() || is_opaque(&child.path());
            let is_whiteout = metadata.file_type().is_char_device() && metadata.rdev() == 0;
            if metadata.is_dir() || found.is_empty() && !is_whiteout {
                found.push(child.path());
            }
        }
        if is_opaque(directory) {
            break;
        }
    }
    names.into_iter().map(|(name, (found, _))| (name, found)).filter(|(_, found)| !found.is_empty()).collect()
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::lgetxattr(directory, "trusted.overlay.opaque", &mut value).is_ok()
}
