//! What ignore files leave out of contexts that were fetched: links in them lead nowhere else than inside.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::layer::{Content, EntryPath};
use crate::pattern::Patterns;
use crate::view::{FileNode, LastLink, NodeKind, View};

/// The file on this machine that is at `path` in the tree.
pub(super) fn file_at(view: &View, path: &Path) -> Option<PathBuf> {
    let path = view.resolve(path.as_os_str().as_bytes(), LastLink::Follow).ok()?;
    match &view.get(&path)?.kind {
        NodeKind::File(FileNode { content: Content::Host(file), .. }) => Some(file.clone()),
        _ => None,
    }
}

/// The file `<dockerfile>.dockerignore`: in the tree where the Dockerfile is from there, else on this machine.
pub(super) fn beside(view: &View, dockerfile: &Path) -> PathBuf {
    let is_it = |kind: &NodeKind| matches!(kind, NodeKind::File(FileNode { content: Content::Host(file), .. }) if file == dockerfile);
    let inside = view.walk(b"").find(|(_, node)| is_it(&node.kind)).map(|(path, _)| path);
    match inside {
        Some(path) => {
            let path = Path::new(std::ffi::OsStr::from_bytes(&path)).to_owned();
            file_at(view, &named_after(&path)).unwrap_or_default()
        }
        None => named_after(dockerfile),
    }
}

/// `<dockerfile>.dockerignore`
pub(super) fn named_after(dockerfile: &Path) -> PathBuf {
    let mut name = dockerfile.as_os_str().to_owned();
    name.push(".dockerignore");
    name.into()
}

/// Removes from the tree what `ignore` leaves out. A directory that is left out stays when something in it does.
pub(super) fn remove(view: &mut View, ignore: &Patterns) {
    if ignore.is_empty() {
        return;
    }
    let (out, kept): (Vec<EntryPath>, Vec<EntryPath>) =
        view.walk(b"").map(|(path, _)| path).partition(|path| ignore.matches(path));
    let needed: BTreeSet<&[u8]> = kept.iter().flat_map(|path| ancestors(path)).collect();
    for path in out.iter().filter(|path| !needed.contains(path.as_slice())) {
        view.remove(path);
    }
}

/// The directories above `path`.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at])
}
