use std::borrow::Cow;

use super::{EntryPath, NodeKind, View, components, split_last};

/// How many links one path may lead through; as the kernel's limit.
const MAX_LINKS: usize = 40;
/// Longest path that resolving yields, bytes; as the kernel's limit.
const MAX_PATH: usize = 4096;

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

impl View {
    /// The canonical path of `path` inside the tree: `.` and `..` cleaned, links followed
    /// (absolute ones too start at the root), what does not exist appended as it is. A leading
    /// or trailing slash means nothing.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub fn resolve(&self, path: &[u8], last: LastLink) -> Result<EntryPath, ResolveError> {
        self.resolve_past(path, last, false)
    }

    /// [`View::resolve`]; with `past_files`, files on the way are as good as directories.
    fn resolve_past(&self, path: &[u8], last: LastLink, past_files: bool) -> Result<EntryPath, ResolveError> {
        let too_many = || ResolveError::TooManyLinks { path: path.to_vec() };
        let mut done = EntryPath::new();
        let mut pending = Pending::default();
        pending.push(path);
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if &*name == b".." {
                done.truncate(split_last(&done).map_or(0, |(parent, _)| parent.len()));
                continue;
            }
            let parent = done.len();
            push_name(&mut done, &name);
            let is_last = pending.is_empty();
            match self.get(&done).map(|node| &node.kind) {
                Some(NodeKind::Symlink(target)) if !is_last || last == LastLink::Follow => {
                    links += 1;
                    done.truncate(if target.first() == Some(&b'/') { 0 } else { parent });
                    pending.push(target);
                }
                None | Some(NodeKind::Directory | NodeKind::Symlink(_)) => {}
                Some(_) if !past_files && pending.descends() => return Err(ResolveError::NotADirectory { path: done }),
                Some(_) => {}
            }
            if links > MAX_LINKS || done.len() > MAX_PATH {
                return Err(too_many());
            }
        }
        Ok(done)
    }

    /// Where a layer member of that path belongs: its directory resolved, its name kept.
    pub(crate) fn member_path<'a>(&self, path: &'a [u8]) -> Result<Cow<'a, [u8]>, ResolveError> {
        let Some((parent, name)) = split_last(path) else {
            return Ok(Cow::Borrowed(path));
        };
        if self.is_plain(parent) {
            return Ok(Cow::Borrowed(path));
        }
        // A file on the way will be replaced by an implied directory.
        let mut resolved = self.directory_path(parent)?;
        push_name(&mut resolved, name);
        Ok(Cow::Owned(resolved))
    }

    /// The directory that a layer means by `path`: links followed to the end.
    pub(crate) fn directory_path(&self, path: &[u8]) -> Result<EntryPath, ResolveError> {
        self.resolve_past(path, LastLink::Follow, true)
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

pub(super) fn push_name(path: &mut EntryPath, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// The components still to go, the next one last.
#[derive(Default)]
struct Pending(Vec<Box<[u8]>>);

impl Pending {
    fn push(&mut self, path: &[u8]) {
        let names: Vec<&[u8]> = components(path).filter(|name| *name != b".").collect();
        self.0.extend(names.into_iter().rev().map(Into::into));
    }

    fn pop(&mut self) -> Option<Box<[u8]>> {
        self.0.pop()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the next component is a name.
    fn descends(&self) -> bool {
        self.0.last().is_some_and(|name| &**name != b"..")
    }
}
