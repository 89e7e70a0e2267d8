use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, Result};

use crate::layer::path::split;
use crate::view::Found;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A name in an open directory.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) directory: BorrowedFd<'a>,
    pub(super) name: &'a [u8],
    /// Its path below the root.
    pub(super) path: &'a [u8],
}

/// The directory in which members are being written, and those above it, held open: the next
/// member is most likely there or near.
pub(super) struct Directories {
    root: OwnedFd,
    /// From the top down.
    open: Vec<(Box<[u8]>, OwnedFd)>,
}

impl Directories {
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        // The root itself may be given through a link.
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        Ok(Self { root: rustix::fs::openat(CWD, root, flags, Mode::empty())?, open: Vec::new() })
    }

    /// Opens a directory; `None` when there is none at that path.
    pub(super) fn enter(&mut self, path: &[u8]) -> Result<Option<BorrowedFd<'_>>> {
        let missing = self.enter_as_far_as_possible(path)?;
        Ok(if missing.is_empty() { Some(self.current()) } else { None })
    }

    /// Opens as much of `path` as there are directories, and returns the rest of it.
    pub(super) fn enter_as_far_as_possible<'p>(&mut self, path: &'p [u8]) -> Result<&'p [u8]> {
        let mut rest = self.leave(path);
        while !rest.is_empty() {
            let (name, below) = split_first(rest);
            let Some(directory) = open_directory(self.current(), name)? else { return Ok(rest) };
            self.open.push((name.into(), directory));
            rest = below;
        }
        Ok(rest)
    }

    /// What stands at a path all whose parents are directories or missing.
    pub(super) fn look_up(&mut self, path: &[u8]) -> Result<Found<'static>> {
        let rest = self.enter_as_far_as_possible(path)?;
        if rest.is_empty() {
            return Ok(Found::Directory);
        }
        if split(rest).is_some_and(|(parent, _)| !parent.is_empty()) {
            return Ok(Found::Missing);
        }
        match rustix::fs::readlinkat(self.current(), rest, Vec::new()) {
            Ok(target) => Ok(Found::Link(Cow::Owned(target.into_bytes()))),
            Err(Errno::INVAL) => Ok(Found::Other),
            Err(Errno::NOENT) => Ok(Found::Missing),
            Err(error) => Err(error),
        }
    }

    pub(super) fn current(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd())
    }

    /// Closes what is not on the way to `path`, and returns the part of it that is not open.
    fn leave<'p>(&mut self, path: &'p [u8]) -> &'p [u8] {
        let (mut rest, mut kept) = (path, 0);
        for (open, _) in &self.open {
            let (name, below) = split_first(rest);
            if rest.is_empty() || **open != *name {
                break;
            }
            rest = below;
            kept += 1;
        }
        self.open.truncate(kept);
        rest
    }
}

/// The first name of a path, and what is below it.
pub(super) fn split_first(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().position(|byte| *byte == b'/');
    slash.map_or((path, b""), |at| (&path[..at], &path[at + 1..]))
}

/// `None` when there is no directory of that name; a link is none.
pub(super) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<OwnedFd>> {
    match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error),
    }
}
