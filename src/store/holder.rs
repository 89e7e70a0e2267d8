use std::fs;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// How often a holder says that it is alive.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);

/// A holder on another machine that was not heard of for this long is gone.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// The process behind a lease: what tells, on the same machine, whether it still runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Host name, for people.
    pub host: String,
    /// Process id in its own namespace.
    pub pid: u32,
    /// Boot and pid namespace: process ids of the same machine can be compared. Empty when unknown.
    #[serde(default)]
    machine: String,
    /// When the process started, as the kernel counts: ids are given again.
    #[serde(default)]
    started: String,
    /// No two leases have the same.
    nonce: String,
    /// When the lease was taken, seconds since the epoch by the clock of the file system.
    pub since: u64,
}

impl Holder {
    pub(super) fn this_process(now: SystemTime) -> Self {
        let pid = std::process::id();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let nonce = format!("{:x}-{:x}", since.as_nanos(), next_number());
        Self { host, pid, machine: machine(), started: started(pid).unwrap_or_default(), nonce, since: since.as_secs() }
    }

    /// True or false where it can be known without waiting.
    fn is_running(&self) -> Option<bool> {
        let comparable = !self.machine.is_empty() && !self.started.is_empty() && self.machine == machine();
        comparable.then(|| started(self.pid).is_some_and(|started| started == self.started))
    }

    /// Whether it is gone, given how long ago its heart beat.
    pub(super) fn is_gone(&self, silent_for: Duration) -> bool {
        self.is_running().map_or(silent_for > SILENCE, |running| !running)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Strings and numbers only: nothing can fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn next_number() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    // Each `RandomState` has keys of its own.
    RandomState::new().hash_one(std::process::id())
}

/// Where `/proc` does not say, only heartbeats count.
fn machine() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match fs::read_link("/proc/self/ns/pid") {
        Ok(namespace) if !boot.is_empty() => format!("{} {}", boot.trim(), namespace.display()),
        _ => String::new(),
    }
}

/// Field 22 of `/proc/<pid>/stat`; the second field may hold anything, spaces and brackets too.
fn started(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let is_zombie = matches!(fields.next(), Some("Z" | "X"));
    fields.nth(18).filter(|_| !is_zombie).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_one_that_ended_and_from_one_with_its_id() {
        let now = SystemTime::now();
        let mine = Holder::this_process(now);
        assert_eq!(Holder::from_bytes(&mine.to_bytes()), Some(mine.clone()));
        assert!(!mine.is_gone(Duration::from_secs(3600)), "it runs, heartbeat or not");
        let namesake = Holder { started: "1".into(), ..mine.clone() };
        assert!(namesake.is_gone(Duration::ZERO));
        let elsewhere = Holder { machine: "another".into(), ..mine.clone() };
        assert!(!elsewhere.is_gone(SILENCE));
        assert!(elsewhere.is_gone(SILENCE + Duration::from_secs(1)));
        assert_ne!(Holder::this_process(now).nonce, mine.nonce);
    }
}
