//! The system calls that have no safe wrapper, and nothing else. All `unsafe` of the crate is here.
#![allow(unsafe_code, reason = "system calls that rustix has no safe function for")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Which side of a [`fork`] this is.
pub(super) enum Fork {
    Parent(Pid),
    Child,
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

/// Splits the process in two. Refused when it has more than one thread: the child of such a
/// process may hold locks of threads that it does not have.
pub(super) fn fork() -> Result<Fork, Errno> {
    if std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count) != 1 {
        return Err(Errno::BUSY);
    }
    // SAFETY: there is no other thread, so the child sees every lock and the allocator in order.
    let pid = unsafe { libc::fork() };
    match Pid::from_raw(check(pid.into())? as i32) {
        Some(pid) => Ok(Fork::Parent(pid)),
        None => Ok(Fork::Child),
    }
}

/// Moves this process (or, for mounts, this thread) into new namespaces.
pub(super) fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    assert!(!flags.contains(UnshareFlags::FILES), "descriptors stay shared");
    // SAFETY: only unsharing the descriptor table can break what other code relies on.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Marks every descriptor above standard error to be closed at exec.
pub(super) fn close_others_on_exec() {
    // SAFETY: closes nothing now; descriptors of this process keep working until exec.
    let done = unsafe {
        libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if done == 0 {
        return;
    }
    for descriptor in 3..4096 {
        // SAFETY: setting a flag on a number that is no open descriptor fails and does nothing.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Replaces the program of this process; returns only when that fails. `argv` and `env` are
/// passed as they are.
pub(super) fn execve(path: &CStr, argv: &[CString], env: &[CString]) -> Errno {
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: all pointers are to NUL-terminated strings that outlive the call, both lists end with NULL.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    last_errno()
}

/// Puts every signal back to its default action and unblocks all.
pub(super) fn reset_signals() {
    // SAFETY: no handler is installed, so no code is run; setting SIGKILL and the like just fails.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Blocks SIGCHLD and returns a descriptor that is readable when it is pending.
pub(super) fn child_signals() -> Result<OwnedFd, Errno> {
    // SAFETY: the set is initialised by sigemptyset before use; the new descriptor is ours alone.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        let descriptor = check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?;
        Ok(OwnedFd::from_raw_fd(descriptor as c_int))
    }
}

/// Makes a group of this session the one that a terminal belongs to, also from the background.
pub(super) fn put_in_foreground(terminal: impl AsFd, group: Pid) -> Result<(), Errno> {
    // SAFETY: the sets are initialised before use; only the mask of this thread changes, and back.
    unsafe {
        let (mut blocked, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&mut blocked);
        libc::sigaddset(&mut blocked, libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, &blocked, &mut before);
        let done = check(libc::tcsetpgrp(terminal.as_fd().as_raw_fd(), group.as_raw_pid()).into());
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        done.map(drop)
    }
}

/// Kills every process that this one may signal, but itself: as process 1 all of its namespace.
pub(super) fn kill_all() {
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Makes a mount that has no place yet, and all mounts below it, read-only. Linux 5.12.
pub(super) fn set_mount_read_only(mount: impl AsFd) -> Result<(), Errno> {
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is NUL-terminated, the structure is as long as said.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}

/// Switches the loopback interface of this network namespace on.
pub(super) fn loopback_up(socket: impl AsFd) -> Result<(), Errno> {
    // SAFETY: an all-zero ifreq is valid; the name is shorter than the field; the ioctl reads
    // and writes only the structure that it is given.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as c_char;
        request.ifr_name[1] = b'o' as c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        check(libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS as _, &request).into()).map(drop)
    }
}

/// Whether a process may be made in a new user namespace and may change mounts there. Works
/// however many threads there are.
pub(super) fn try_user_namespace() -> Result<(), Errno> {
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::SIGCHLD;
    // SAFETY: like fork: no stack is given. The child makes one system call and ends, so the
    // state of other threads does not matter to it.
    unsafe {
        let pid = check(libc::syscall(libc::SYS_clone, flags as libc::c_long, 0, 0, 0, 0))? as c_int;
        if pid == 0 {
            let flags = libc::MS_REC | libc::MS_PRIVATE;
            let done = libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null());
            libc::_exit(if done == 0 { 0 } else { 1 });
        }
        let mut status = 0;
        while libc::waitpid(pid, &mut status, 0) < 0 {
            if last_errno() != Errno::INTR {
                return Err(last_errno());
            }
        }
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 { Ok(()) } else { Err(Errno::PERM) }
    }
}
