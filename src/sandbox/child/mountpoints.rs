//! Places for mounts, and that they leave no trace.
//!
//! The process is inside the root by now, so no path can lead out of it, and the step has not
//! started, so nothing changes underneath.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::failure::{During, Failure};
use super::hide::TakenAway;
use super::stand_in::StandIn;
use crate::sandbox::user::User;

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;

/// What was made and mounted, in order.
#[derive(Debug, Default)]
pub(super) struct Mountpoints(Vec<Done>);

#[derive(Debug)]
enum Done {
    Mounted(PathBuf),
    StoodIn(PathBuf, StandIn),
    TakenAway(TakenAway),
    Made(Made),
}

/// A file or directory that was not there before.
#[derive(Debug)]
struct Made {
    parent: OwnedFd,
    name: OsString,
    directory: bool,
    /// Where that which was there before is meanwhile, in the same parent.
    aside: Option<OsString>,
    /// The parent's modification time before.
    before: Timespec,
    /// And when the step started.
    settled: Option<Timespec>,
}

impl Mountpoints {
    /// Where `target` really is, made as a directory or an empty file when missing.
    pub(super) fn place(&mut self, target: &str, directory: bool) -> Result<PathBuf, Failure> {
        let (mut path, missing) = resolve(target)?;
        let count = missing.len();
        for (index, name) in missing.into_iter().enumerate() {
            let made = make(&path, &name, directory || index + 1 < count)
                .during(|| format!("make the mount point {target}"))?;
            self.0.push(Done::Made(made));
            path.push(name);
        }
        Ok(path)
    }

    /// Like [`Self::place`], but what is there now steps aside.
    pub(super) fn place_instead(&mut self, target: &str, directory: bool) -> Result<PathBuf, Failure> {
        let (path, missing) = resolve(target)?;
        if !missing.is_empty() {
            return self.place(target, directory);
        }
        match replace(&path, directory, self.0.len()) {
            // A mount point cannot step aside; it is emptied in the end, not removed.
            Err(Errno::BUSY) if directory && is_empty_directory(&path) => {}
            made => self.0.push(Done::Made(made.during(|| format!("put aside what is at {target}"))?)),
        }
        Ok(path)
    }

    /// `kind` stands at `path` now.
    pub(super) fn stood_in(&mut self, path: PathBuf, kind: StandIn) {
        self.0.push(Done::StoodIn(path, kind));
    }

    /// Takes a file away until [`Self::undo`].
    pub(super) fn take_away(&mut self, path: &Path) -> Result<(), Failure> {
        let taken = TakenAway::take(path).during(|| format!("hide {}", path.display()))?;
        self.0.push(Done::TakenAway(taken));
        Ok(())
    }

    /// Something was mounted at `path`.
    pub(super) fn mounted(&mut self, path: PathBuf) {
        self.0.push(Done::Mounted(path));
    }

    /// All is made, the step is about to start.
    pub(super) fn settle(&mut self) {
        for done in &mut self.0 {
            if let Done::Made(made) = done {
                made.settled = modified(&made.parent);
            }
        }
    }

    /// The step is over: unmounts what stands in the way, removes what was made and is still
    /// empty, and puts back the parents' times unless the step changed them too.
    pub(super) fn undo(self) {
        // Mounts on what was there before can stay to the end of the namespace.
        let Some(first) = self.0.iter().position(|done| !matches!(done, Done::Mounted(_))) else { return };
        let done = &self.0[first..];
        let times: Vec<_> = done.iter().filter_map(Done::made).map(|made| (made, made.time_to_leave())).collect();
        for done in done.iter().rev() {
            // What the step moved away or filled is its own now.
            let _ = done.undo();
        }
        for (made, time) in times.into_iter().rev() {
            let _ = made.set_time(time);
        }
    }
}

impl Done {
    fn made(&self) -> Option<&Made> {
        match self {
            Self::Made(made) => Some(made),
            Self::Mounted(_) | Self::StoodIn(..) | Self::TakenAway(_) => None,
        }
    }

    fn undo(&self) -> std::io::Result<()> {
        match self {
            Self::Mounted(path) => Ok(unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?),
            Self::StoodIn(path, kind) => kind.remove(path),
            Self::TakenAway(file) => file.put_back(),
            Self::Made(made) => Ok(made.remove()?),
        }
    }
}

impl Made {
    fn time_to_leave(&self) -> Timespec {
        let now = modified(&self.parent);
        if now == self.settled { self.before } else { now.unwrap_or(self.before) }
    }

    fn remove(&self) -> Result<(), Errno> {
        let removed = self.remove_if_empty();
        match &self.aside {
            Some(aside) => rustix::fs::renameat(&self.parent, aside, &self.parent, &self.name),
            None => removed,
        }
    }

    fn remove_if_empty(&self) -> Result<(), Errno> {
        let flags = if self.directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        if !self.directory && rustix::fs::statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW)?.st_size > 0 {
            return Ok(());
        }
        rustix::fs::unlinkat(&self.parent, &self.name, flags)
    }

    fn set_time(&self, time: Timespec) -> Result<(), Errno> {
        let unchanged = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        rustix::fs::futimens(&self.parent, &Timestamps { last_access: unchanged, last_modification: time })
    }
}

fn modified(directory: &OwnedFd) -> Option<Timespec> {
    let stat = rustix::fs::fstat(directory).ok()?;
    Some(Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ })
}

fn make(parent: &Path, name: &OsStr, directory: bool) -> Result<Made, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = rustix::fs::open(parent, flags, Mode::empty())?;
    let before = modified(&parent).ok_or(Errno::IO)?;
    make_in(&parent, name, directory)?;
    Ok(Made { parent, name: name.to_owned(), directory, aside: None, before, settled: None })
}

fn make_in(parent: &OwnedFd, name: &OsStr, directory: bool) -> Result<(), Errno> {
    if directory {
        return rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755));
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
}

/// Renames what is at `path` and makes something new there. `number` makes the other name unique.
fn replace(path: &Path, directory: bool, number: usize) -> Result<Made, Errno> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::BUSY) };
    let parent = rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let before = modified(&parent).ok_or(Errno::IO)?;
    let aside = OsString::from(format!(".yadokari-aside-{}-{number}", std::process::id()));
    rustix::fs::renameat(&parent, name, &parent, &aside)?;
    make_in(&parent, name, directory)?;
    Ok(Made { parent, name: name.to_owned(), directory, aside: Some(aside), before, settled: None })
}

fn is_empty_directory(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Makes the working directory and its missing parents, as the step's user.
pub(super) fn make_workdir(workdir: &str, user: &User) -> Result<(), Failure> {
    let (mut path, missing) = resolve(workdir)?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(user.uid), rustix::fs::Gid::from_raw(user.gid));
    for name in missing {
        path.push(name);
        rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755))
            .and_then(|()| rustix::fs::chown(&path, Some(uid), Some(gid)))
            .during(|| format!("make the working directory {workdir}"))?;
    }
    Ok(())
}

/// The existing part of a path, free of links, and the names that are missing below it.
fn resolve(target: &str) -> Result<(PathBuf, Vec<OsString>), Failure> {
    let mut path = PathBuf::from("/");
    let mut missing = Vec::new();
    let mut rest = names(Path::new(target));
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            if missing.pop().is_none() {
                path.pop();
            }
            continue;
        }
        if !missing.is_empty() {
            missing.push(name);
            continue;
        }
        match std::fs::symlink_metadata(path.join(&name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => missing.push(name),
            Ok(metadata) if metadata.is_symlink() => {
                links += 1;
                let link = std::fs::read_link(path.join(&name)).during(|| format!("resolve {target}"))?;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP).during(|| format!("resolve {target}"));
                }
                if link.is_absolute() {
                    path = PathBuf::from("/");
                }
                let mut followed = names(&link);
                followed.append(&mut rest);
                rest = followed;
            }
            Ok(_) => path.push(name),
            Err(error) => return Err(error).during(|| format!("resolve {target}")),
        }
    }
    Ok((path, missing))
}

/// The components of a path, without the root and `.`.
fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    names.map(|part| part.as_os_str().to_owned()).collect()
}
