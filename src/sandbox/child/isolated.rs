//! A step in namespaces of its own, on a root that is mounted for it.

use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, mount_move, unmount};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{WaitOptions, chdir, chroot, pivot_root, waitpid};
use rustix::thread::UnshareFlags;

use super::devices::Standard;
use super::failure::{During, Failure};
use super::init::Scope;
use super::mountpoints::{Mountpoints, make_workdir};
use super::mounts::{self, Overlay, Tree};
use super::{die_with_parent, hide_from_step, init, step};
use crate::sandbox::spec::{Isolated, IsolatedRoot, Spec};
use crate::sandbox::system::{self, Fork};
use crate::sandbox::user_namespace::in_user_namespace;

/// Enters the namespaces. A process does not enter a new PID namespace, only its children do.
pub(super) fn run(spec: &Spec, place: &Isolated, channel: &UnixStream) -> Result<(), Failure> {
    let flags = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    system::unshare(flags).during(|| "enter new namespaces".into())?;
    // A kernel without control groups has none to hide.
    let _ = system::unshare(UnshareFlags::NEWCGROUP);
    if spec.own_network {
        leave_network().during(|| "enter a new network namespace".into())?;
    }
    match system::fork().during(|| "fork the first process of the step's namespace".into())? {
        Fork::Child => isolate(spec, place, channel),
        Fork::Parent(child) => loop {
            match waitpid(Some(child), WaitOptions::empty()) {
                Err(Errno::INTR) => {}
                _ => return Ok(()),
            }
        },
    }
}

/// A new network with loopback only.
pub(super) fn leave_network() -> Result<(), Errno> {
    system::unshare(UnshareFlags::NEWNET)?;
    system::loopback_up(socket(AddressFamily::INET, SocketType::DGRAM, None)?)
}

/// The first process of the new PID namespace, from here to its end. The step gets one inside it.
fn isolate(spec: &Spec, place: &Isolated, channel: &UnixStream) -> Result<(), Failure> {
    die_with_parent()?;
    // As with runc, the step is process 1.
    system::unshare(UnshareFlags::NEWPID).during(|| "enter the step's PID namespace".into())?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).during(|| "make mounts private".into())?;
    // Seccomp profiles of containers refuse this even where they let one mount.
    let _ = rustix::system::sethostname(place.hostname.as_bytes());
    let mounts = open_mounts(place)?;
    let standard = Standard::open(&place.hostname, spec.own_network)?;
    enter_root(&place.root)?;
    let user = step::user(&spec.user)?;
    make_workdir(&spec.workdir, &user)?;
    let mut mountpoints = Mountpoints::default();
    let processes = standard.attach(&mut mountpoints)?;
    for (target, tree) in mounts {
        tree.attach_at(target, &mut mountpoints)?;
    }
    // A mount may have covered it.
    make_workdir(&spec.workdir, &user)?;
    mountpoints.settle();
    hide_from_step()?;
    let ended = init::run(channel, Scope::Namespace, || processes.attach().and_then(|()| step::execute(spec, &user)))?;
    mountpoints.undo();
    ended.send(channel);
    Ok(())
}

fn open_mounts(place: &Isolated) -> Result<Vec<(&str, Tree)>, Failure> {
    let user_xattr = in_user_namespace();
    let open = |(number, mount): (usize, &'_ crate::sandbox::Mount)| {
        mounts::open(mount, &place.scratch.join(number.to_string()), user_xattr)
    };
    let targets = place.mounts.iter().map(|mount| mount.target.as_str());
    let trees: Result<Vec<_>, _> = place.mounts.iter().enumerate().map(open).collect();
    Ok(targets.zip(trees?).collect())
}

/// Mounts the root and makes it the root of this process; the host's is out of reach then.
fn enter_root(root: &IsolatedRoot) -> Result<(), Failure> {
    let place = mount_root(root)?;
    chdir(place).during(|| "enter the root".into())?;
    match pivot_root(".", ".") {
        Ok(()) => unmount(".", UnmountFlags::DETACH).during(|| "leave the old root".into())?,
        // The old root is the initial one, which cannot be exchanged.
        Err(_) => mount_move(".", "/").and_then(|()| chroot(".")).during(|| "change the root".into())?,
    }
    chdir("/").during(|| "enter the new root".into())
}

fn mount_root(root: &IsolatedRoot) -> Result<&Path, Failure> {
    match root {
        // With nothing below, everything in the upper directory is a change all the same.
        IsolatedRoot::Overlay { lowers, upper, .. } if lowers.is_empty() => mount_directory(upper),
        IsolatedRoot::Overlay { lowers, upper, work, user_xattr } => {
            let overlay = Overlay { lowers, upper, work, user_xattr: *user_xattr };
            overlay
                .mount(work)
                .during(|| format!("mount an overlay of {} layers on {}", lowers.len(), upper.display()))?;
            Ok(work)
        }
        IsolatedRoot::Directory(path) => mount_directory(path),
    }
}

/// Only a mount can become the root.
fn mount_directory(path: &Path) -> Result<&Path, Failure> {
    Tree::of(path).and_then(|tree| tree.attach(path)).during(|| format!("mount {}", path.display()))?;
    Ok(path)
}
