//! `/proc`, `/dev`, `/sys` and the two files of `/etc` that every step finds.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::failure::{During, Failure};
use super::mountpoints::Mountpoints;
use super::mounts::{NOTHING_SPECIAL, Tree};

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// What of `/proc` and `/sys` tells about or reaches the host (moby's default list).
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Root without capabilities may still write what root owns: `/proc/sys` changes the host.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Files of the tmpfs on `/dev` that are only there until they are mounted elsewhere.
const HOSTS: &str = ".hosts";
const RESOLV: &str = ".resolv.conf";
const EMPTY: &str = ".empty";

/// All of it, without a place yet.
#[derive(Debug)]
pub(super) struct Standard {
    proc: Tree,
    sys: Tree,
    cgroup: Option<Tree>,
    dev: Tree,
    devices: Vec<(&'static str, Tree)>,
    pts: Tree,
    shm: Tree,
    mqueue: Option<Tree>,
}

impl Standard {
    /// Makes it while the host's files can be named. `network` is the step's own one?
    pub(super) fn open(hostname: &str, own_network: bool) -> Result<Self, Failure> {
        let dev = Tree::new("tmpfs", &[("mode", "755"), ("size", "65536k")], MountAttrFlags::MOUNT_ATTR_NOSUID)
            .during(|| "make /dev".into())?;
        fill(&dev.descriptor, hostname, own_network).during(|| "fill /dev".into())?;
        let device = |name| Some((name, Tree::of(Path::new("/dev").join(name)).ok()?));
        Ok(Self {
            proc: own_or_host("proc", "/proc", NOTHING_SPECIAL).during(|| "make /proc".into())?,
            sys: own_or_host("sysfs", "/sys", NOTHING_SPECIAL).during(|| "make /sys".into())?.read_only(),
            cgroup: Tree::new("cgroup2", &[], NOTHING_SPECIAL).ok().filter(|_| host_has_cgroup2()).map(Tree::read_only),
            dev,
            devices: DEVICES.into_iter().filter_map(device).collect(),
            pts: pseudo_terminals().during(|| "make /dev/pts".into())?,
            shm: Tree::new("tmpfs", &[("mode", "1777"), ("size", "65536k")], NOTHING_SPECIAL)
                .during(|| "make /dev/shm".into())?,
            mqueue: Tree::new("mqueue", &[], NOTHING_SPECIAL).ok(),
        })
    }

    /// Puts it in place, in the root that the process is in by now; `/proc` is left to the step.
    pub(super) fn attach(self, mountpoints: &mut Mountpoints) -> Result<Processes, Failure> {
        ["/proc", "/sys", "/dev"].into_iter().try_for_each(make_lasting)?;
        let proc = mountpoints.place("/proc", true)?;
        self.proc.attach(&proc).during(|| "mount /proc".into())?;
        mountpoints.mounted(proc.clone());
        self.sys.attach_at("/sys", mountpoints)?;
        if let Some(cgroup) = self.cgroup {
            // Where the kernel has no such directory there is nothing to see.
            let _ = cgroup.attach(Path::new("/sys/fs/cgroup"));
        }
        let dev = mountpoints.place("/dev", true)?;
        self.dev.attach(&dev).during(|| "mount /dev".into())?;
        mountpoints.mounted(dev.clone());
        for (name, tree) in self.devices {
            tree.attach(&dev.join(name)).during(|| format!("mount /dev/{name}"))?;
        }
        self.pts.attach(&dev.join("pts")).during(|| "mount /dev/pts".into())?;
        self.shm.attach(&dev.join("shm")).during(|| "mount /dev/shm".into())?;
        if let Some(mqueue) = self.mqueue {
            mqueue.attach(&dev.join("mqueue")).during(|| "mount /dev/mqueue".into())?;
        }
        name_resolution(&dev, mountpoints)?;
        Ok(Processes { place: proc, dev })
    }
}

/// `/proc` shows the PID namespace that whoever mounts it is in: that around the step's, so far.
#[derive(Debug)]
pub(super) struct Processes {
    place: PathBuf,
    dev: PathBuf,
}

impl Processes {
    /// Mounts the step's own one on top, and hides what it says of the host; to be done by the step's process.
    ///
    /// In a user namespace the kernel wants to see another whole one while it mounts it.
    pub(super) fn attach(self) -> Result<(), Failure> {
        match Tree::new("proc", &[], NOTHING_SPECIAL).and_then(|proc| proc.attach(&self.place)) {
            Ok(()) | Err(Errno::PERM) => {}
            Err(errno) => return Err(errno).during(|| "mount /proc".into()),
        }
        cover(&self.dev)?;
        let _ = std::fs::remove_dir(self.dev.join(EMPTY));
        Ok(())
    }
}

/// A new instance of a kernel file system, or the host's where it may not be mounted: in a user
/// namespace of a container that hides parts of its own.
fn own_or_host(kind: &str, path: &str, flags: MountAttrFlags) -> Result<Tree, Errno> {
    match Tree::new(kind, &[], flags) {
        Err(Errno::PERM) => Tree::of(path),
        result => result,
    }
}

fn host_has_cgroup2() -> bool {
    // CGROUP2_SUPER_MAGIC; the field's type differs between architectures.
    rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|stat| stat.f_type == 0x6367_7270)
}

fn pseudo_terminals() -> Result<Tree, Errno> {
    const OPTIONS: [(&str, &str); 4] = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    // Group 5, tty, may not be mapped in a user namespace.
    Tree::new("devpts", &OPTIONS, flags).or_else(|_| Tree::new("devpts", &OPTIONS[..3], flags))
}

/// Directories, links, places for devices, and the contents of the generated files.
fn fill(dev: &OwnedFd, hostname: &str, own_network: bool) -> Result<(), std::io::Error> {
    for name in ["pts", "shm", "mqueue", EMPTY] {
        rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755))?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, dev, name)?;
    }
    for name in DEVICES {
        file(dev, name, b"")?;
    }
    file(dev, HOSTS, hosts(hostname, own_network).as_bytes())?;
    file(dev, RESOLV, &std::fs::read("/etc/resolv.conf").unwrap_or_default())
}

fn file(directory: &OwnedFd, name: &str, text: &[u8]) -> Result<(), std::io::Error> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))?;
    std::fs::File::from(file).write_all(text)
}

/// The loopback names, and what the executor's own file has beside them (Kubernetes puts
/// `hostAliases` there), for that is the network that the step is in.
fn hosts(hostname: &str, own_network: bool) -> String {
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    if !own_network {
        let host = String::from_utf8_lossy(&std::fs::read("/etc/hosts").unwrap_or_default()).into_owned();
        host.lines().filter(|line| names_other_host(line)).for_each(|line| text.extend([line, "\n"]));
    }
    text
}

fn names_other_host(line: &str) -> bool {
    let address = line.split_whitespace().next().and_then(|word| word.parse::<std::net::IpAddr>().ok());
    address.is_some_and(|address| match address {
        std::net::IpAddr::V4(address) => !address.is_loopback(),
        std::net::IpAddr::V6(address) => !address.is_loopback() && address.segments()[0] < 0xfe00,
    })
}

/// Hides and protects parts of `/proc` and `/sys`. What this kernel does not have is left out.
fn cover(dev: &Path) -> Result<(), Failure> {
    for path in MASKED.map(Path::new) {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        let over = dev.join(if metadata.is_dir() { EMPTY } else { "null" });
        let done = Tree::of(over).and_then(|tree| tree.read_only().attach(path));
        done.during(|| format!("hide {}", path.display()))?;
    }
    for path in READ_ONLY.map(Path::new).into_iter().filter(|path| path.exists()) {
        let done = Tree::of(path).and_then(|tree| tree.read_only().attach(path));
        done.during(|| format!("protect {}", path.display()))?;
    }
    Ok(())
}

/// Mounts the generated files on `/etc`; mounted, they need no name in `/dev` any more.
fn name_resolution(dev: &Path, mountpoints: &mut Mountpoints) -> Result<(), Failure> {
    for (name, target) in [(HOSTS, "/etc/hosts"), (RESOLV, "/etc/resolv.conf")] {
        let tree = Tree::of(dev.join(name)).during(|| format!("prepare {target}"))?;
        tree.read_only().attach_at(target, mountpoints)?;
        let _ = std::fs::remove_file(dev.join(name));
    }
    Ok(())
}

/// A root without these directories has them after its first step, as with BuildKit and runc.
fn make_lasting(path: &str) -> Result<(), Failure> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error).during(|| format!("make {path}")),
        _ => Ok(()),
    }
}
