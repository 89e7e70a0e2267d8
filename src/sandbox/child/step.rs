//! From a process with all privileges to the step's program.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::failure::{During, Failure};
use super::{die_with_parent, eprint, read_small};
use crate::sandbox::spec::Spec;
use crate::sandbox::system;
use crate::sandbox::user::{User, home_of, resolve};

/// What root may do in a step: runc's and Docker's default set.
const ROOT_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Docker's limit of open files.
const MAX_FILES: u64 = 1 << 20;

/// Between 0, what the executor has, and 1000.
const OUT_OF_MEMORY_SCORE: &str = "500";

/// The highest capability that a kernel may know, with room to come.
const LAST_CAPABILITY: u32 = 63;

/// Looks the step's user up in the root that this process is in.
pub(super) fn user(spec: &str) -> Result<User, Failure> {
    let user = resolve(spec, &read_small("/etc/passwd"), &read_small("/etc/group")).map_err(Failure::Step)?;
    Ok(User { home: home_of(user.uid, &read_small("/etc/passwd")).unwrap_or_else(|| "/".into()), ..user })
}

/// Becomes the step's program. Returns the exit code when it cannot be executed, having said
/// why on standard error, as a shell would.
pub(super) fn execute(spec: &Spec, user: &User) -> Result<i32, Failure> {
    die_with_parent()?;
    system::reset_signals();
    if spec.terminal {
        take_terminal().during(|| "take the terminal".into())?;
    } else {
        rustix::process::setsid().during(|| "start a session".into())?;
    }
    limit_resources();
    let inside = rustix::process::chdir(&*spec.workdir);
    if !spec.terminal {
        give_outputs(user);
    }
    become_user(user)?;
    // A user may reach what root may not (a mounted directory of theirs).
    inside.or_else(|_| rustix::process::chdir(&*spec.workdir)).map_err(|errno| unusable(&spec.workdir, errno))?;
    // Changing ids clears this.
    die_with_parent()?;
    Ok(exec(spec, user))
}

/// Programs that go through all descriptors there could be take minutes where a container allows a
/// billion; a crash leaves no memory image in the layer; when memory runs out, it is the step that ends and
/// not the executor. What cannot be set stays as it is.
fn limit_resources() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    let at_most = |limit: Option<u64>| Some(limit.map_or(MAX_FILES, |limit| limit.min(MAX_FILES)));
    let limit = Rlimit { current: at_most(files.current), maximum: at_most(files.maximum) };
    let _ = setrlimit(Resource::Nofile, limit);
    let core = getrlimit(Resource::Core);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..core });
    let _ = std::fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE);
}

fn unusable(workdir: &str, errno: Errno) -> Failure {
    Failure::Step(format!("cannot change to the working directory {workdir:?}: {}", std::io::Error::from(errno)))
}

/// A group of its own in the session of the executor: the terminal stays that session's.
fn take_terminal() -> Result<(), Errno> {
    rustix::stdio::dup2_stdin(std::io::stderr())?;
    rustix::process::setpgid(None, None)?;
    system::put_in_foreground(std::io::stderr(), rustix::process::getpid())
}

/// So that /dev/stdout and /dev/stderr can be opened by the user.
fn give_outputs(user: &User) {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let _ = rustix::fs::fchown(std::io::stdout(), Some(uid), Some(gid));
    let _ = rustix::fs::fchown(std::io::stderr(), Some(uid), Some(gid));
}

fn become_user(user: &User) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_groups(user)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(|errno| unmapped("group", user.gid, errno))?;
    limit_bounding_set();
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|errno| unmapped("user", user.uid, errno))?;
    limit_capabilities(user.uid == 0)
}

/// In a user namespace with one id, groups cannot be changed, and there are none to have.
fn set_groups(user: &User) -> Result<(), Failure> {
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        Err(Errno::PERM) if user.uid == 0 => Ok(()),
        Err(errno @ (Errno::INVAL | Errno::PERM)) => Err(unmapped("user", user.uid, errno)),
        result => result.during(|| "set supplementary groups".into()),
    }
}

fn unmapped(what: &str, id: u32, errno: Errno) -> Failure {
    match errno {
        Errno::INVAL | Errno::PERM => Failure::Step(format!(
            "cannot run as {what} {id}: the executor's user namespace does not have that id; \
             give the executor's user a range in /etc/subuid and /etc/subgid, with newuidmap and newgidmap installed"
        )),
        errno => Failure::System { what: format!("become {what} {id}"), errno: errno.raw_os_error() },
    }
}

/// Without CAP_SETPCAP the set cannot shrink; the container has set it then.
fn limit_bounding_set() {
    for number in 0..=LAST_CAPABILITY {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if !ROOT_CAPABILITIES.contains(capability) {
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
    }
}

fn limit_capabilities(root: bool) -> Result<(), Failure> {
    let held = rustix::thread::capabilities(None).during(|| "read capabilities".into())?;
    let kept = if root { held.permitted & ROOT_CAPABILITIES } else { CapabilitySet::empty() };
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    let _ = rustix::thread::clear_ambient_capability_set();
    rustix::thread::set_capabilities(None, sets).during(|| "drop capabilities".into())
}

/// Finds and executes the program; returns 127 when it is not there, 126 when it does not run.
fn exec(spec: &Spec, user: &User) -> i32 {
    let Some(name) = spec.argv.first() else {
        eprint("exec: no command given");
        return 127;
    };
    let path = match find(name, &spec.env) {
        Ok(path) => path,
        Err((code, why)) => {
            eprint(&format!("exec: {name:?}: {why}"));
            return code;
        }
    };
    let errno = call(&path, spec, user);
    eprint(&format!("exec {}: {}", path.display(), words(errno)));
    if errno == Errno::NOENT { 127 } else { 126 }
}

fn call(path: &Path, spec: &Spec, user: &User) -> Errno {
    // As runc: an empty HOME is none.
    let given = spec.env.iter().filter(|(name, value)| name != "HOME" || !value.is_empty());
    let has_home = given.clone().any(|(name, _)| name == "HOME");
    let home = (!has_home).then(|| format!("HOME={}", user.home));
    let env = given.map(|(name, value)| format!("{name}={value}")).chain(home);
    let strings =
        |list: Vec<String>| -> Option<Vec<CString>> { list.into_iter().map(|text| CString::new(text).ok()).collect() };
    let path = CString::new(path.as_os_str().as_encoded_bytes()).ok();
    match (path, strings(spec.argv.clone()), strings(env.collect())) {
        (Some(path), Some(argv), Some(env)) => system::execve(&path, &argv, &env),
        _ => Errno::INVAL,
    }
}

/// Where the program is: as given when it has a slash, else in the absolute directories of PATH.
fn find(name: &str, env: &[(String, String)]) -> Result<PathBuf, (i32, String)> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        return executable(&path).map(|()| path).map_err(|errno| match errno {
            Errno::ACCESS => (126, words(errno)),
            errno => (127, format!("stat {name}: {}", words(errno))),
        });
    }
    let path = env.iter().rev().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
    let directories = path.split(':').filter(|directory| directory.starts_with('/'));
    let mut candidates = directories.map(|directory| Path::new(directory).join(name));
    candidates
        .find(|path| executable(path).is_ok())
        .ok_or_else(|| (127, "executable file not found in $PATH".to_owned()))
}

fn executable(path: &Path) -> Result<(), Errno> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::empty())?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(Errno::ACCESS);
    }
    rustix::fs::accessat(CWD, path, rustix::fs::Access::EXEC_OK, AtFlags::empty())
}

fn words(errno: Errno) -> String {
    match errno {
        Errno::NOENT => "no such file or directory".into(),
        Errno::ACCESS => "permission denied".into(),
        Errno::NOEXEC => "exec format error".into(),
        errno => std::io::Error::from(errno).to_string(),
    }
}
