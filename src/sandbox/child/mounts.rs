//! Mounts that have no place yet: made while the host's files can be named, put in place once
//! the process is inside the root.

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_remount, move_mount, open_tree,
};

use super::failure::{During, Failure};
use super::mountpoints::Mountpoints;
use crate::sandbox::{Mount, MountKind, system};

/// No programs with special rights, no devices, nothing executable.
pub(super) const NOTHING_SPECIAL: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// A mount without a place.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) descriptor: OwnedFd,
    pub(super) directory: bool,
    read_only: bool,
    /// Its root gets the mode of the directory that it is put onto.
    like_place: bool,
}

impl Tree {
    /// A new file system. An option without a value is a flag.
    pub(super) fn new(kind: &str, options: &[(&str, &str)], flags: MountAttrFlags) -> Result<Self, Errno> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            match *value {
                "" => fsconfig_set_flag(&context, *key)?,
                value => fsconfig_set_string(&context, *key, value)?,
            }
        }
        fsconfig_create(&context)?;
        let descriptor = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)?;
        Ok(Self { descriptor, directory: true, read_only: false, like_place: false })
    }

    /// Another view of what is at `path`, with everything mounted below it.
    pub(super) fn of(path: impl AsRef<Path>) -> Result<Self, Errno> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        Self::opened(open_tree(CWD, path.as_ref(), flags)?)
    }

    /// The same of an opened file.
    fn of_opened(file: &OwnedFd) -> Result<Self, Errno> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        Self::opened(open_tree(file, c"", flags)?)
    }

    fn opened(descriptor: OwnedFd) -> Result<Self, Errno> {
        let mode = rustix::fs::fstat(&descriptor)?.st_mode;
        let directory = rustix::fs::FileType::from_raw_mode(mode).is_dir();
        Ok(Self { descriptor, directory, read_only: false, like_place: false })
    }

    pub(super) fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    /// Puts it at `path`, which is not followed when it is a link.
    pub(super) fn attach(self, path: &Path) -> Result<(), Errno> {
        let early = if self.read_only { system::set_mount_read_only(&self.descriptor) } else { Ok(()) };
        move_mount(&self.descriptor, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        match early {
            Err(Errno::NOSYS) => remount_read_only(path),
            result => result,
        }
    }

    /// Puts it at a place that is made when missing.
    pub(super) fn attach_at(self, target: &str, mountpoints: &mut Mountpoints) -> Result<(), Failure> {
        let present = self.like_place.then(|| std::fs::metadata(target).ok()).flatten();
        if let Some(directory) = present {
            let mode = Mode::from_raw_mode(directory.mode() & 0o7777);
            rustix::fs::chmodat(&self.descriptor, c".", mode, AtFlags::empty())
                .during(|| format!("set the mode of {target}"))?;
        }
        let path = mountpoints.place(target, self.directory)?;
        self.attach(&path).map_err(|errno| unmountable(target, errno))?;
        mountpoints.mounted(path);
        Ok(())
    }
}

fn unmountable(target: &str, errno: Errno) -> Failure {
    match errno {
        Errno::NOTDIR | Errno::ISDIR | Errno::INVAL => {
            Failure::Step(format!("cannot mount on {target}: one is a directory, the other is not"))
        }
        errno => Failure::System { what: format!("mount on {target}"), errno: errno.raw_os_error() },
    }
}

/// Before Linux 5.12. What is locked in a user namespace must be given again.
fn remount_read_only(path: &Path) -> Result<(), Errno> {
    let present = rustix::fs::statvfs(path)?.f_flag;
    let pairs = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let kept = pairs.into_iter().filter(|(flag, _)| present.contains(*flag)).map(|(_, flag)| flag);
    mount_remount(path, kept.fold(MountFlags::BIND | MountFlags::RDONLY, |all, flag| all | flag), "")
}

/// Directories of an overlay.
#[derive(Debug, Clone, Copy)]
pub(in crate::sandbox) struct Overlay<'a> {
    /// Bottom first, at least one.
    pub(in crate::sandbox) lowers: &'a [PathBuf],
    pub(in crate::sandbox) upper: &'a Path,
    pub(in crate::sandbox) work: &'a Path,
    pub(in crate::sandbox) user_xattr: bool,
}

impl Overlay<'_> {
    /// Mounts it at the absolute path `target`. Changes the current directory.
    ///
    /// The kernel takes one page of options, and a layer's path may be long: each directory is
    /// named by the number of a descriptor, relative to `/proc/self/fd`. 500 layers, as many as
    /// an overlay may have, fit.
    pub(in crate::sandbox) fn mount(&self, target: &Path) -> Result<(), Errno> {
        let directory =
            |path: &Path| rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let lowers: Vec<OwnedFd> = self.lowers.iter().rev().map(|path| directory(path)).collect::<Result<_, _>>()?;
        let (upper, work) = (directory(self.upper)?, directory(self.work)?);
        let mut options = String::from("lowerdir=");
        for (index, lower) in lowers.iter().enumerate() {
            let _ = write!(options, "{}{}", if index == 0 { "" } else { ":" }, lower.as_raw_fd());
        }
        let _ = write!(options, ",upperdir={},workdir={}", upper.as_raw_fd(), work.as_raw_fd());
        options.push_str(if self.user_xattr { ",userxattr" } else { "" });
        rustix::process::chdir("/proc/self/fd")?;
        let done = mount_with_extras(target, &options);
        rustix::process::chdir("/")?;
        done
    }
}

/// Renames of directories and changes of attributes must copy, or the upper directory alone
/// would not tell what changed; flushing a step's files to the disk would be for nothing.
fn mount_with_extras(target: &Path, options: &str) -> Result<(), Errno> {
    const EXTRAS: [&str; 3] = [",redirect_dir=off,metacopy=off,index=off,volatile", ",redirect_dir=off", ""];
    let mut result = Err(Errno::INVAL);
    for extra in EXTRAS {
        let options = CString::new(format!("{options}{extra}")).map_err(|_| Errno::INVAL)?;
        result = mount("overlay", target, "overlay", MountFlags::empty(), &*options);
        if result != Err(Errno::INVAL) {
            break;
        }
    }
    result
}

/// A step's mount, while the host's files can still be named. `scratch` is for it alone.
pub(super) fn open(mount: &Mount, scratch: &Path, user_xattr: bool) -> Result<Tree, Failure> {
    let what = || format!("prepare the mount on {}", mount.target);
    match &mount.kind {
        MountKind::Bind { source, readonly } => {
            let tree = Tree::of(source).during(what)?;
            Ok(if *readonly { tree.read_only() } else { tree })
        }
        MountKind::Discard { source } if source.is_dir() => {
            stack(std::slice::from_ref(source), "/", scratch, user_xattr).during(what)
        }
        MountKind::Discard { source } => copied_file(source, scratch).during(what),
        MountKind::Layers { lowers, source, writable } => {
            let tree = stack(lowers, source, scratch, user_xattr).during(what)?;
            Ok(if *writable { tree } else { tree.read_only() })
        }
        MountKind::Tmpfs { size_bytes, readonly } => {
            let tree = tmpfs(*size_bytes).during(what)?;
            Ok(if *readonly { tree.read_only() } else { tree })
        }
    }
}

/// As runc mounts it: an existing directory keeps its mode, a new one is for everybody.
fn tmpfs(size_bytes: Option<u64>) -> Result<Tree, Errno> {
    // Without an option the kernel takes half of the memory.
    let size = size_bytes.unwrap_or(0).to_string();
    let tree = Tree::new("tmpfs", &[("size", &size), ("mode", "1777")], MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    Ok(Tree { like_place: true, ..tree })
}

/// The file or directory `source` of a stack of layers; what is written stays in `scratch`.
fn stack(lowers: &[PathBuf], source: &str, scratch: &Path, user_xattr: bool) -> Result<Tree, std::io::Error> {
    let [upper, work, place] = ["upper", "work", "root"].map(|name| scratch.join(name));
    for directory in [&upper, &work, &place] {
        std::fs::create_dir_all(directory)?;
    }
    let none = [place.clone()];
    let lowers = if lowers.is_empty() { &none } else { lowers };
    Overlay { lowers, upper: &upper, work: &work, user_xattr }.mount(&place)?;
    let root = rustix::fs::open(&place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(Tree::of_opened(&open_inside(&root, source)?)?)
}

/// Opens a path that links cannot lead out of `root`.
fn open_inside(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    // The kernel gives up when anything is renamed or mounted meanwhile, anywhere, and `..` is on the way.
    const TRIES: usize = 1000;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let open = || rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    (1..TRIES).map(|_| open()).find(|opened| !matches!(opened, Err(Errno::AGAIN))).unwrap_or_else(open)
}

fn copied_file(source: &Path, scratch: &Path) -> Result<Tree, std::io::Error> {
    std::fs::create_dir_all(scratch)?;
    let copy = scratch.join("file");
    std::fs::copy(source, &copy)?;
    let metadata = std::fs::metadata(source)?;
    std::os::unix::fs::chown(&copy, Some(metadata.uid()), Some(metadata.gid()))?;
    Ok(Tree::of(&copy)?)
}
