use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::directories::{Directories, Target, split_first};
use super::objects::{Made, Metadata, is_directory, make_node, replace};
use super::{ExtractError, Ownership, SkipReason, Skipped, write_error};
use crate::layer::scan::Contents;
use crate::layer::{Device, Entry, EntryKind, EntryPath, path};

const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const NO_DEVICE: Device = Device { major: 0, minor: 0 };

/// The tree on disk. Its paths are canonical: nothing on the way is a link.
pub(super) struct Tree<'a> {
    pub(super) directories: Directories,
    ownership: Ownership,
    /// Paths that stay as they are, with everything below them.
    pub(super) skip: &'a dyn Fn(&[u8]) -> bool,
    /// The attribute of directories that took the place of something else, when they need one.
    opaque: Option<&'static str>,
    /// What directories are to look like in the end; until then they are 0700.
    pub(super) metadata: BTreeMap<EntryPath, Metadata>,
    skipped: Vec<Skipped>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(
        root: &Path,
        ownership: Ownership,
        skip: &'a dyn Fn(&[u8]) -> bool,
        opaque: Option<&'static str>,
    ) -> Result<Self, ExtractError> {
        let directories = Directories::new(root).map_err(|source| write_error("open the root of", b"", source))?;
        Ok(Self { directories, ownership, skip, opaque, metadata: BTreeMap::new(), skipped: Vec::new() })
    }

    pub(super) fn note(&mut self, path: &[u8], reason: SkipReason) {
        self.skipped.push(Skipped { path: path.to_vec(), reason });
    }

    /// Sets what directories are to look like, and returns what was left out.
    pub(super) fn finish(mut self) -> Result<Vec<Skipped>, ExtractError> {
        // What is below first: afterwards it may be out of reach for who is not root.
        for (path, metadata) in self.metadata.iter().rev() {
            let failed = |error| write_error("set metadata of", path, error);
            // A later member may have taken its place.
            if let Some(directory) = self.directories.enter(path).map_err(failed)? {
                metadata.set(directory, self.ownership).map_err(failed)?;
            }
        }
        Ok(self.skipped)
    }

    /// Writes the member to `path`; `link` is where the target of a hard link is.
    pub(super) fn place(
        &mut self,
        path: &[u8],
        entry: &Entry,
        link: Option<&[u8]>,
        contents: &mut Contents<'_>,
    ) -> Result<(), ExtractError> {
        let Some((parent, _)) = path::split(path) else {
            self.metadata.insert(EntryPath::new(), entry.into());
            return Ok(());
        };
        match &entry.kind {
            EntryKind::Hardlink { target } => return self.place_link(path, link.unwrap_or(target)),
            EntryKind::Whiteout | EntryKind::OpaqueWhiteout => return Ok(()),
            _ => self.make_directories(parent)?,
        }
        match &entry.kind {
            EntryKind::Directory => self.place_directory(path, entry.into()),
            EntryKind::File { .. } => self.place_file(path, &entry.into(), contents),
            EntryKind::CharDevice(NO_DEVICE) if self.opaque.is_some() => {
                self.note(path, SkipReason::Device);
                Ok(())
            }
            _ => self.place_unopenable(path, entry),
        }
    }

    /// Opens a directory; it and those above it are made where something else or nothing stands.
    pub(super) fn make_directories(&mut self, path: &[u8]) -> Result<(), ExtractError> {
        loop {
            let failed = |error| write_error("open directories above", path, error);
            let rest = self.directories.enter_as_far_as_possible(path).map_err(failed)?;
            if rest.is_empty() {
                return Ok(());
            }
            let (_, below) = split_first(rest);
            let end = path.len() - below.len() - usize::from(!below.is_empty());
            self.place_directory(&path[..end], Metadata::implied())?;
        }
    }

    /// Makes a directory in the one that is open, unless there is one.
    fn place_directory(&mut self, path: &[u8], metadata: Metadata) -> Result<(), ExtractError> {
        let failed = |error| write_error("make directory", path, error);
        let target = self.target(path);
        let make = || match rustix::fs::mkdirat(target.directory, target.name, Mode::RWXU) {
            Err(Errno::EXIST) if is_directory(target)? => Ok(()),
            other => other,
        };
        match replace(target, self.skip, make).map_err(failed)? {
            None => return Err(failed(Errno::BUSY)),
            Some(Made { replaced: true, .. }) => self.mark_opaque(path)?,
            Some(_) => {}
        }
        self.metadata.insert(path.to_vec(), metadata);
        Ok(())
    }

    /// Hides what the layers underneath have below a directory.
    pub(super) fn mark_opaque(&mut self, path: &[u8]) -> Result<(), ExtractError> {
        let Some(attribute) = self.opaque else { return Ok(()) };
        let failed = |error| write_error("mark as opaque", path, error);
        if let Some(directory) = self.directories.enter(path).map_err(failed)? {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::fsetxattr(directory, attribute, b"y", flags).map_err(failed)?;
        }
        Ok(())
    }

    fn place_file(
        &mut self,
        path: &[u8],
        metadata: &Metadata,
        contents: &mut Contents<'_>,
    ) -> Result<(), ExtractError> {
        let failed = |error: io::Error| write_error("write", path, error);
        let target = self.target(path);
        let open = || rustix::fs::openat(target.directory, target.name, NEW_FILE, Mode::RUSR | Mode::WUSR);
        let Some(made) = replace(target, self.skip, open).map_err(|error| failed(error.into()))? else {
            self.note(path, SkipReason::Excluded);
            return Ok(());
        };
        let mut file = File::from(made.object);
        contents.copy(|piece| file.write_all(piece).map_err(failed))?;
        let capable = metadata.set(&file, self.ownership);
        if !capable.map_err(|error| write_error("set metadata of", path, error))? {
            self.note(path, SkipReason::Capability);
        }
        Ok(())
    }

    /// Symbolic links, device nodes and fifos.
    fn place_unopenable(&mut self, path: &[u8], entry: &Entry) -> Result<(), ExtractError> {
        let failed = |error| write_error("make", path, error);
        let target = self.target(path);
        let made = replace(target, self.skip, || match &entry.kind {
            EntryKind::Symlink { target: to } => rustix::fs::symlinkat(to.as_slice(), target.directory, target.name),
            EntryKind::CharDevice(device) => make_node(target, FileType::CharacterDevice, *device),
            EntryKind::BlockDevice(device) => make_node(target, FileType::BlockDevice, *device),
            _ => make_node(target, FileType::Fifo, NO_DEVICE),
        });
        let is_device = matches!(entry.kind, EntryKind::CharDevice(_) | EntryKind::BlockDevice(_));
        match made {
            Err(Errno::PERM) if is_device => self.note(path, SkipReason::Device),
            Err(error) => return Err(failed(error)),
            Ok(None) => self.note(path, SkipReason::Excluded),
            Ok(Some(_)) => {
                let is_link = matches!(entry.kind, EntryKind::Symlink { .. });
                let set = Metadata::from(entry).set_by_name(target, is_link, self.ownership);
                set.map_err(|error| write_error("set metadata of", path, error))?;
            }
        }
        Ok(())
    }

    fn place_link(&mut self, path: &[u8], to: &[u8]) -> Result<(), ExtractError> {
        let failed = |error| write_error("link", path, error);
        let missing = || ExtractError::Hardlink { path: path.to_vec(), target: to.to_vec() };
        let (parent, _) = path::split(path).unwrap_or_default();
        let (to_parent, to_name) = path::split(to).ok_or_else(missing)?;
        // Only one chain of directories is open at a time.
        let source: OwnedFd = match self.directories.enter(to_parent).map_err(failed)? {
            Some(directory) => directory.try_clone_to_owned().map_err(|error| write_error("link", path, error))?,
            None => return Err(missing()),
        };
        if path == to {
            return Err(missing());
        }
        self.make_directories(parent)?;
        let target = self.target(path);
        let link = || rustix::fs::linkat(&source, to_name, target.directory, target.name, AtFlags::empty());
        match replace(target, self.skip, link) {
            Err(Errno::NOENT) => Err(missing()),
            Err(error) => Err(failed(error)),
            Ok(None) => {
                self.note(path, SkipReason::Excluded);
                Ok(())
            }
            Ok(Some(_)) => Ok(()),
        }
    }

    /// The place of a path in the directory that is open.
    pub(super) fn target<'p>(&'p self, path: &'p [u8]) -> Target<'p> {
        let name = path::split(path).map_or(path, |(_, name)| name);
        Target { directory: self.directories.current(), name, path }
    }
}
