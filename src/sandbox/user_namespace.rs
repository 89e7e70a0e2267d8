//! Moves the executor into a user namespace, where it is root and may mount.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, WaitOptions, getegid, geteuid, getpid, waitpid};
use rustix::thread::{CapabilitySet, UnshareFlags};

use super::SandboxError;
use super::system::{self, Fork};

/// Set in the environment of the executor that is inside: it must not try again.
const MARKER: &str = "YADOKARI_USER_NAMESPACE";

/// Inode of the initial user namespace in `/proc`, the same on every kernel.
const INITIAL: &str = "user:[4026531837]";

/// Whether files can have the owners that their layers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// There are enough ids.
    Exact,
    /// There is one id: all files belong to it.
    BestEffort,
}

/// The ids that this process can give to files.
pub fn ownership() -> Ownership {
    if mapped_ids("/proc/self/uid_map") > 1 && mapped_ids("/proc/self/gid_map") > 1 {
        Ownership::Exact
    } else {
        Ownership::BestEffort
    }
}

/// Whether this process is in a user namespace other than the initial one.
pub fn in_user_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/user").is_ok_and(|link| link.as_os_str() != INITIAL)
}

/// Where the map cannot be read there are no user namespaces, and all ids.
fn mapped_ids(map: &str) -> u64 {
    let Ok(text) = std::fs::read_to_string(map) else { return u64::MAX };
    text.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum()
}

/// Executes this program again, with the same arguments, environment and process id, as root of
/// a new user and mount namespace; does not return then. Inside one already (made by this
/// function or by the container's runtime) where it may mount, it does nothing.
///
/// Ids: all of this namespace where the process may map them (it has CAP_SETUID and CAP_SETGID),
/// else the ranges of `/etc/subuid` and `/etc/subgid` through newuidmap and newgidmap, else one.
///
/// To be called while the process has one thread.
///
/// # Errors
/// The kernel or its settings refuse, or the process has more than one thread. The process may
/// have lost its ids by then, and can only report and end.
pub fn enter_user_namespace() -> Result<Ownership, SandboxError> {
    if in_user_namespace() && may_mount() {
        return Ok(ownership());
    }
    if std::env::var_os(MARKER).is_some() {
        let why = "a user namespace was made, but mounting is not allowed in it (AppArmor restricts it?)";
        return Err(SandboxError::Unavailable(why.into()));
    }
    unshare_mapped()?;
    let executable = std::env::current_exe().map_err(SandboxError::setup(|| "find this program".into()))?;
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env(MARKER, "1");
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    Err(SandboxError::Spawn { path: executable, source: command.exec() })
}

/// Whether this process has CAP_SYS_ADMIN.
pub(super) fn may_mount() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Why this process could make a user namespace, but not give it an id: root can only be mapped
/// with CAP_SETFCAP, since Linux 5.12.
pub(super) fn cannot_map() -> Option<&'static str> {
    let held = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let stuck = geteuid().is_root() && !held.contains(CapabilitySet::SETFCAP);
    stuck.then_some("root without CAP_SETFCAP cannot be mapped into one")
}

/// Enters the namespaces. Only a process outside can map ids, so one is made that stays there.
fn unshare_mapped() -> Result<(), SandboxError> {
    let what = || "enter a user namespace".to_owned();
    let (mut channel, theirs) = UnixStream::pair().map_err(SandboxError::setup(what))?;
    let own = getpid();
    let mapper = match system::fork().map_err(SandboxError::setup(what))? {
        Fork::Child => {
            drop(channel);
            std::process::exit(map_when_told(theirs, own));
        }
        Fork::Parent(mapper) => mapper,
    };
    drop(theirs);
    let unshared = system::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS);
    let mut answer = String::new();
    if unshared.is_ok() {
        let asked = channel.write_all(b"\n").and_then(|()| channel.read_to_string(&mut answer));
        asked.map_err(SandboxError::setup(what))?;
    }
    drop(channel);
    let _ = waitpid(Some(mapper), WaitOptions::empty());
    unshared.map_err(SandboxError::setup(what))?;
    if answer.is_empty() { Ok(()) } else { Err(SandboxError::Unavailable(answer)) }
}

/// The mapper: waits for the word, maps, answers with what went wrong, if anything.
fn map_when_told(mut channel: UnixStream, pid: Pid) -> i32 {
    let mut word = [0];
    if channel.read_exact(&mut word).is_err() {
        return 0;
    }
    let result = map_all(pid).or_else(|_| map_ranges(pid)).or_else(|_| map_one(pid));
    match result {
        Ok(()) => 0,
        Err(error) => {
            let _ = write!(channel, "failed to map ids into a new user namespace: {error}");
            1
        }
    }
}

/// Every id of this namespace to itself.
fn map_all(pid: Pid) -> io::Result<()> {
    let identity = |map: &str| -> io::Result<String> {
        let lines = std::fs::read_to_string(map)?;
        let fields = lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        Ok(fields.filter(|f| f.len() == 3).map(|f| format!("{0} {0} {1}\n", f[0], f[2])).collect())
    };
    let (users, groups) = (identity("/proc/self/uid_map")?, identity("/proc/self/gid_map")?);
    if !geteuid().is_root() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    write_map(pid, "uid_map", &users)?;
    write_map(pid, "gid_map", &groups)
}

/// The own id to 0, the subordinate ranges to 1 and on.
fn map_ranges(pid: Pid) -> io::Result<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let name = login_name(uid);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let users = ranges(&read("/etc/subuid"), name.as_deref(), uid);
    let groups = ranges(&read("/etc/subgid"), name.as_deref(), uid);
    if users.is_empty() || groups.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    map_with("newuidmap", pid, uid, &users)?;
    map_with("newgidmap", pid, gid, &groups)
}

fn map_with(program: &str, pid: Pid, own: u32, ranges: &[(u32, u32)]) -> io::Result<()> {
    let mut arguments = vec![pid.as_raw_pid().to_string(), "0".into(), own.to_string(), "1".into()];
    let mut next = 1;
    for (start, count) in ranges {
        arguments.extend([next, *start, *count].map(|number| number.to_string()));
        next += count;
    }
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() { Ok(()) } else { Err(io::Error::other(format!("{program} failed"))) }
}

/// The own id to 0, nothing else. Without groups being given up, this could be used to get
/// around files that a group may not read, hence the kernel asks for `deny`.
fn map_one(pid: Pid) -> io::Result<()> {
    write_map(pid, "uid_map", &format!("0 {} 1\n", geteuid().as_raw())).or_else(unless_mapped(pid, "uid_map"))?;
    write_map(pid, "setgroups", "deny")?;
    write_map(pid, "gid_map", &format!("0 {} 1\n", getegid().as_raw()))
}

/// A map can be written once; an attempt before may have got as far as the users.
fn unless_mapped(pid: Pid, file: &'static str) -> impl FnOnce(io::Error) -> io::Result<()> {
    move |error| {
        let map = std::fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_pid())).unwrap_or_default();
        if map.is_empty() { Err(error) } else { Ok(()) }
    }
}

fn write_map(pid: Pid, file: &str, text: &str) -> io::Result<()> {
    std::fs::write(format!("/proc/{}/{file}", pid.as_raw_pid()), text)
}

fn login_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let uid = uid.to_string();
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f.get(2) == Some(&&*uid))?;
    entry.first().map(|name| (*name).to_owned())
}

/// Start and count of each range of a user in `/etc/subuid` or `/etc/subgid`.
fn ranges(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let uid = uid.to_string();
    let of_user = |line: &str| -> Option<(u32, u32)> {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (owner == uid || Some(owner) == name).then_some(range)
    };
    text.lines().filter_map(of_user).filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ranges() {
        let text = "root:1:2\napp:100000:65536\n# x\n1000:300000:10\nother:5:5\napp:7:0\nbad\n";
        assert_eq!(ranges(text, Some("app"), 1000), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(ranges(text, None, 7), []);
    }
}
