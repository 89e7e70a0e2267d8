use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::{Errno, Result};

use super::Ownership;
use super::directories::Target;
use super::remove::{Keep, remove};
use crate::layer::{Device, Entry};
use crate::view::Node;

const CAPABILITY: &str = "security.capability";

/// What an object is to look like.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    mode: Mode,
    uid: u64,
    gid: u64,
    mtime: i64,
    capability: Option<Vec<u8>>,
}

impl From<&Entry> for Metadata {
    fn from(entry: &Entry) -> Self {
        let capability = entry.xattrs.get(CAPABILITY).cloned();
        let mode = Mode::from_raw_mode(entry.mode);
        Self { mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime, capability }
    }
}

impl From<&Node> for Metadata {
    fn from(node: &Node) -> Self {
        let mode = Mode::from_raw_mode(node.mode);
        Self { mode, uid: node.uid, gid: node.gid, mtime: node.mtime, capability: None }
    }
}

impl Metadata {
    /// 0755 0:0.
    pub(super) fn implied() -> Self {
        Self { mode: Mode::from_raw_mode(0o755), uid: 0, gid: 0, mtime: 0, capability: None }
    }

    /// Sets it all on an open file or directory. Returns whether capabilities could be set.
    pub(super) fn set(&self, object: impl AsFd, ownership: Ownership) -> Result<bool> {
        let chown = self.owner().and_then(|(uid, gid)| rustix::fs::fchown(&object, Some(uid), Some(gid)));
        tolerated(chown, ownership)?;
        // After the owner, since changing that clears set-id bits and capabilities.
        rustix::fs::fchmod(&object, self.mode)?;
        let capable = self.set_capability(&object)?;
        rustix::fs::futimens(&object, &self.times())?;
        Ok(capable)
    }

    fn set_capability(&self, object: impl AsFd) -> Result<bool> {
        let Some(capability) = &self.capability else { return Ok(true) };
        match rustix::fs::fsetxattr(object, CAPABILITY, capability, XattrFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets it all on an object that cannot be opened, just made; a link has no mode.
    pub(super) fn set_by_name(&self, target: Target<'_>, is_link: bool, ownership: Ownership) -> Result<()> {
        let Target { directory, name, .. } = target;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let chown = |(uid, gid)| rustix::fs::chownat(directory, name, Some(uid), Some(gid), flags);
        tolerated(self.owner().and_then(chown), ownership)?;
        if !is_link {
            rustix::fs::chmodat(directory, name, self.mode, AtFlags::empty())?;
        }
        rustix::fs::utimensat(directory, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn owner(&self) -> Result<(Uid, Gid)> {
        // The highest number means "do not change" to the kernel.
        let id = |number: u64| u32::try_from(number).ok().filter(|id| *id != u32::MAX).ok_or(Errno::INVAL);
        Ok((Uid::from_raw(id(self.uid)?), Gid::from_raw(id(self.gid)?)))
    }

    fn times(&self) -> Timestamps {
        let time = Timespec { tv_sec: self.mtime, tv_nsec: 0 };
        Timestamps { last_access: time, last_modification: time }
    }
}

fn tolerated(chown: Result<()>, ownership: Ownership) -> Result<()> {
    match chown {
        Err(Errno::PERM | Errno::INVAL) if ownership == Ownership::BestEffort => Ok(()),
        other => other,
    }
}

/// What [`replace`] made.
pub(super) struct Made<T> {
    pub(super) object: T,
    /// Whether something else was removed for it.
    pub(super) replaced: bool,
}

/// Makes an object, removing what stands in its place; `None` when that must stay.
pub(super) fn replace<T>(
    target: Target<'_>,
    skip: &dyn Fn(&[u8]) -> bool,
    make: impl Fn() -> Result<T>,
) -> Result<Option<Made<T>>> {
    match make() {
        Err(Errno::EXIST) => {}
        made => return Ok(Some(Made { object: made?, replaced: false })),
    }
    let keep = |path: &[u8]| if skip(path) { Keep::Everything } else { Keep::Nothing };
    if !remove(target, &keep)? {
        return Ok(None);
    }
    Ok(Some(Made { object: make()?, replaced: true }))
}

/// Whether a directory stands there.
pub(super) fn is_directory(target: Target<'_>) -> Result<bool> {
    match rustix::fs::statat(target.directory, target.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode).is_dir()),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a device node or a fifo.
pub(super) fn make_node(target: Target<'_>, kind: FileType, device: Device) -> Result<()> {
    let number = rustix::fs::makedev(device.major, device.minor);
    rustix::fs::mknodat(target.directory, target.name, kind, Mode::from_raw_mode(0o600), number)
}
