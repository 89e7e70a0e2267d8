//! Carries out a [`HidingMethod`].

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use landlock::{
    AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError,
};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

use super::failure::{During, Failure};
use super::mounts::Tree;
use crate::sandbox::{HidingMethod, same_status, system};

/// More than any file with credentials.
const MAX_BYTES: u64 = 16 << 20;

/// To be called by the process that becomes the step, with all its privileges: hides what needs no
/// bringing back.
pub(super) fn from_this_process(method: HidingMethod, paths: &[PathBuf]) -> Result<(), Failure> {
    match method {
        HidingMethod::Mounts => cover(paths),
        HidingMethod::Landlock => restrict(paths).map_err(|error| Failure::Step(error.to_string())),
        HidingMethod::Removal => Ok(()),
    }
}

fn cover(paths: &[PathBuf]) -> Result<(), Failure> {
    system::unshare(UnshareFlags::NEWNS).during(|| "make a mount namespace for the step".into())?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).during(|| "make mounts private".into())?;
    for path in paths {
        let tree = if path.is_dir() {
            Tree::new("tmpfs", &[("mode", "755")], MountAttrFlags::MOUNT_ATTR_RDONLY)
        } else {
            Tree::of("/dev/null")
        };
        tree.and_then(|tree| tree.attach(path)).during(|| format!("hide {}", path.display()))?;
    }
    Ok(())
}

/// Whether [`HidingMethod::Landlock`] works here: before ABI 2 no file could be moved to another directory.
pub(in crate::sandbox) fn landlock_works() -> bool {
    ruleset().is_ok()
}

fn ruleset() -> Result<RulesetCreated, RulesetError> {
    let access = AccessFs::ReadFile | AccessFs::Refer;
    Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(access)?.create()
}

/// Allows to read everything beside the way to `hidden`. Files can be moved between what is allowed: if
/// the way to `hidden` were in, a link could lead around it.
fn restrict(hidden: &[PathBuf]) -> Result<(), RulesetError> {
    let is_hidden = |path: &Path| hidden.iter().any(|hidden| hidden == path);
    let is_above = |path: &Path| hidden.iter().any(|hidden| hidden.starts_with(path));
    let mut rules = ruleset()?;
    let mut open = vec![PathBuf::from("/")];
    while let Some(directory) = open.pop() {
        // What cannot be listed cannot be allowed.
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !is_hidden(&path) && is_above(&path) => open.push(path),
                Ok(kind) if !is_hidden(&path) => rules = allow(rules, &path, kind)?,
                _ => {}
            }
        }
    }
    rules.no_new_privs(true).restrict_self().map(drop)
}

fn allow(rules: RulesetCreated, path: &Path, kind: fs::FileType) -> Result<RulesetCreated, RulesetError> {
    let access: BitFlags<AccessFs> = match kind {
        kind if kind.is_dir() => AccessFs::ReadFile | AccessFs::Refer,
        kind if kind.is_symlink() => return Ok(rules),
        _ => AccessFs::ReadFile.into(),
    };
    match PathFd::new(path) {
        Ok(descriptor) => rules.add_rule(PathBeneath::new(descriptor, access)),
        Err(_) => Ok(rules),
    }
}

/// A file that is not there while a step runs.
#[derive(Debug)]
pub(super) struct TakenAway {
    parent: OwnedFd,
    parent_path: PathBuf,
    name: OsString,
    bytes: Vec<u8>,
    metadata: fs::Metadata,
}

impl TakenAway {
    /// Takes the file at `path`, which has no links in it, off the disk.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        let (Some(parent_path), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = rustix::fs::open(parent_path, flags, Mode::empty())?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::File::from(rustix::fs::openat(&parent, name, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        let mut bytes = Vec::new();
        if !metadata.is_file() || file.take(MAX_BYTES + 1).read_to_end(&mut bytes)? as u64 > MAX_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
        Ok(Self { parent, parent_path: parent_path.to_owned(), name: name.to_owned(), bytes, metadata })
    }

    /// Puts it back, in place of what the step may have put there. Not when the directory is somewhere
    /// else by now: the file might get into the image.
    pub(super) fn put_back(&self) -> io::Result<()> {
        if !self.parent_is_at_its_place()? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name: &OsStr = &self.name;
        let _ = rustix::fs::unlinkat(&self.parent, name, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.parent, name, flags, Mode::from_raw_mode(0o600))?;
        let mut file = fs::File::from(file);
        file.write_all(&self.bytes)?;
        same_status(&file, &self.metadata)
    }

    fn parent_is_at_its_place(&self) -> io::Result<bool> {
        let held = rustix::fs::fstat(&self.parent)?;
        let there = fs::symlink_metadata(&self.parent_path)?;
        let is_same = (held.st_dev, held.st_ino) == (there.dev(), there.ino());
        Ok(is_same && fs::canonicalize(&self.parent_path)? == self.parent_path)
    }
}
