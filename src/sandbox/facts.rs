//! What the kernel and the container say about themselves, for `executor doctor`.

use std::fs;
use std::path::Path;

use rustix::thread::CapabilitySet;
use serde::Serialize;

use super::user_namespace::in_user_namespace;
use super::{child, container};

/// By number.
///
/// # Source
/// `linux/capability.h`.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What gVisor says its kernel was built on, in every version.
const GVISOR_BUILD: &str = "Sun Jan 10 15:06:54 PST 2016";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Effective user and group.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// Effective ones, without `CAP_`.
    pub capabilities: Vec<&'static str>,
    /// `off`, `strict` or `filter`.
    pub seccomp: &'static str,
    /// The profile that confines this process, if any.
    pub apparmor: Option<String>,
    /// Set-user-id programs have no effect.
    pub no_new_privileges: bool,
    /// This is not the initial user namespace.
    pub in_user_namespace: bool,
    /// Files can be hidden with it.
    pub landlock: bool,
    /// Release.
    pub kernel: String,
    /// The kernel is gVisor's.
    pub gvisor: bool,
    /// What shows that this is a container.
    pub container: Option<String>,
    /// Nothing can be written to the root directory.
    pub read_only_root: bool,
}

impl Facts {
    /// Asks for all of them.
    pub fn gather() -> Self {
        let name = rustix::system::uname();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            capabilities: capabilities(),
            seccomp: match field("Seccomp") {
                Some("1") => "strict",
                Some("2") => "filter",
                _ => "off",
            },
            apparmor: apparmor(),
            no_new_privileges: field("NoNewPrivs") == Some("1"),
            in_user_namespace: in_user_namespace(),
            landlock: child::landlock_works(),
            kernel: name.release().to_string_lossy().into_owned(),
            gvisor: name.version().to_string_lossy().contains(GVISOR_BUILD),
            container: container::evidence(),
            read_only_root: rustix::fs::statvfs("/")
                .is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)),
        }
    }
}

fn capabilities() -> Vec<&'static str> {
    let held = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective).bits();
    CAPABILITIES.into_iter().enumerate().filter(|(number, _)| held >> number & 1 == 1).map(|(_, name)| name).collect()
}

fn apparmor() -> Option<String> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let text = read("/proc/self/attr/apparmor/current")?;
    Some(text.trim().to_owned()).filter(|profile| !profile.is_empty() && profile != "unconfined")
}

/// Bytes that can be written to the file system of `path`.
pub fn free_space(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
