use std::borrow::Cow;

use super::{EntryPath, NodeKind, View, components};
use crate::layer::path::{MAX_PATH, join, split};

/// How many links one path may lead through; as the kernel's limit.
const MAX_LINKS: usize = 40;

/// What to do when the last component of a path is a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLink {
    /// Go on to its target.
    Follow,
    /// The link itself is meant.
    Keep,
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// More than 40 links, or a path longer than 4096 bytes: most likely links that form a loop.
    #[error("failed to resolve /{}: too many levels of symbolic links", String::from_utf8_lossy(path))]
    TooManyLinks {
        /// The path asked for.
        path: Vec<u8>,
    },
    /// Something on the way is neither a directory nor a link.
    #[error("/{} is not a directory", String::from_utf8_lossy(path))]
    NotADirectory {
        /// The canonical path of the something.
        path: EntryPath,
    },
}

/// What stands at a canonical path, as far as resolving cares.
pub(crate) enum Found<'a> {
    Missing,
    Directory,
    Link(Cow<'a, [u8]>),
    Other,
}

impl View {
    /// The canonical path of `path` inside the tree: `.` and `..` cleaned, links followed
    /// (absolute ones too start at the root), what does not exist appended as it is. A leading
    /// or trailing slash means nothing.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub fn resolve(&self, path: &[u8], last: LastLink) -> Result<EntryPath, ResolveError> {
        let mut file = None;
        let resolved = resolve(path, last, |path| {
            let found = self.found(path);
            if matches!(found, Found::Other) {
                file = Some(path.to_vec());
            }
            Ok(found)
        })?;
        match file {
            Some(path) if is_below(&resolved, &path) => Err(ResolveError::NotADirectory { path }),
            _ => Ok(resolved),
        }
    }

    /// Where a layer member of that path belongs: its directory resolved, its name kept.
    pub(crate) fn member_path<'a>(&self, path: &'a [u8]) -> Result<Cow<'a, [u8]>, ResolveError> {
        let Some((parent, name)) = split(path) else {
            return Ok(Cow::Borrowed(path));
        };
        if self.is_plain(parent) {
            return Ok(Cow::Borrowed(path));
        }
        Ok(Cow::Owned(join(&self.directory_path(parent)?, name)))
    }

    /// The directory that a layer means by `path`: links followed to the end. A file on the way
    /// will be replaced by an implied directory.
    pub(crate) fn directory_path(&self, path: &[u8]) -> Result<EntryPath, ResolveError> {
        resolve(path, LastLink::Follow, |path| Ok(self.found(path)))
    }

    fn found(&self, path: &[u8]) -> Found<'_> {
        match self.get(path).map(|node| &node.kind) {
            None => Found::Missing,
            Some(NodeKind::Directory) => Found::Directory,
            Some(NodeKind::Symlink(target)) => Found::Link(Cow::Borrowed(target)),
            Some(_) => Found::Other,
        }
    }

    /// Whether only directories, and then nothing, stand on the way to `path`.
    fn is_plain(&self, path: &[u8]) -> bool {
        let mut tree = &self.root;
        for name in components(path) {
            let Some(child) = tree.children.get(name) else { return true };
            if !child.is_directory() {
                return false;
            }
            tree = child;
        }
        true
    }
}

/// The canonical path of `path`, whatever the tree is: `look_up` tells what stands at a
/// canonical path. Files on the way are passed as if they were directories.
///
/// This is the only place that follows links, for trees in memory as for those on disk.
pub(crate) fn resolve<'a, E: From<ResolveError>>(
    path: &[u8],
    last: LastLink,
    mut look_up: impl FnMut(&[u8]) -> Result<Found<'a>, E>,
) -> Result<EntryPath, E> {
    let too_many = || ResolveError::TooManyLinks { path: path.to_vec() };
    let mut done = EntryPath::new();
    let mut pending = names_reversed(path);
    let mut links = 0;
    while let Some(name) = pending.pop() {
        if &*name == b".." {
            done.truncate(split(&done).map_or(0, |(parent, _)| parent.len()));
            continue;
        }
        let parent = done.len();
        done = join(&done, &name);
        if done.len() > MAX_PATH {
            return Err(too_many().into());
        }
        if pending.is_empty() && last == LastLink::Keep {
            break;
        }
        if let Found::Link(target) = look_up(&done)? {
            links += 1;
            if links > MAX_LINKS {
                return Err(too_many().into());
            }
            done.truncate(if target.starts_with(b"/") { 0 } else { parent });
            pending.extend(names_reversed(&target));
        }
    }
    Ok(done)
}

/// The names in `path`, the first one last; `.` left out.
fn names_reversed(path: &[u8]) -> Vec<Box<[u8]>> {
    let names: Vec<&[u8]> = components(path).filter(|name| *name != b".").collect();
    names.into_iter().rev().map(Into::into).collect()
}

fn is_below(path: &[u8], ancestor: &[u8]) -> bool {
    path.strip_prefix(ancestor).is_some_and(|rest| rest.starts_with(b"/"))
}
