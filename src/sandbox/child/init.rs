//! What stands above the step: reaps, watches the executor, and leaves nothing running.

use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use super::failure::{During, Failure};
use crate::sandbox::spec::Message;
use crate::sandbox::system::{self, Fork};

/// Which processes are the step's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All in this PID namespace, whose first this one is.
    Namespace,
    /// All descendants of this one, which is a child subreaper.
    Descendants,
}

/// How the step's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Exited(i32),
    Signaled(i32),
}

impl Ended {
    pub(super) fn send(self, channel: &UnixStream) {
        Message::from(self).send(channel);
    }
}

/// Runs `step` in a child process until it ends or the executor goes away, then kills the rest
/// of `scope`. `step` returns only when it could not execute the program.
pub(super) fn run(
    channel: &UnixStream,
    scope: Scope,
    step: impl FnOnce() -> Result<i32, Failure>,
) -> Result<Ended, Failure> {
    let signals = system::child_signals().during(|| "watch for ending processes".into())?;
    let child = match system::fork().during(|| "fork the step".into())? {
        Fork::Parent(child) => child,
        Fork::Child => std::process::exit(report(step(), channel)),
    };
    let ended = watch(child, channel, &signals);
    match scope {
        Scope::Namespace => system::kill_all(),
        Scope::Descendants => kill_descendants(),
    }
    let last = reap_all(child, scope);
    Ok(ended.or(last).unwrap_or(Ended::Signaled(Signal::KILL.as_raw())))
}

fn report(result: Result<i32, Failure>, channel: &UnixStream) -> i32 {
    result.unwrap_or_else(|failure| {
        failure.message().send(channel);
        1
    })
}

/// Reaps until `child` ends (returns how) or the executor's end of the socket closes (`None`).
fn watch(child: Pid, channel: &UnixStream, signals: &std::os::fd::OwnedFd) -> Option<Ended> {
    loop {
        if let Some(ended) = reap(child) {
            return Some(ended);
        }
        let mut descriptors = [PollFd::new(channel, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        match poll(&mut descriptors, None) {
            Ok(_) if !descriptors[0].revents().is_empty() => return None,
            Ok(_) => drop(rustix::io::read(signals, &mut [0; 1024])),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Reaps what has ended by now; says how `child` did.
fn reap(child: Pid) -> Option<Ended> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            ended = ending(status);
        }
    }
    ended
}

fn ending(status: rustix::process::WaitStatus) -> Option<Ended> {
    status.exit_status().map(Ended::Exited).or_else(|| status.terminating_signal().map(Ended::Signaled))
}

/// Waits until no process of `scope` is left.
fn reap_all(child: Pid, scope: Scope) -> Option<Ended> {
    let mut ended = None;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => ended = ending(status),
            Err(Errno::INTR) | Ok(_) => {}
            Err(_) => return ended,
        }
        // Children of the one that just ended are ours now.
        if scope == Scope::Descendants {
            kill_descendants();
        }
    }
}

/// Kills every child of this process.
fn kill_descendants() {
    let own = rustix::process::getpid().as_raw_pid();
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids.filter(|pid| parent_of(*pid) == Some(own)) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The fourth field of `stat`; the second, the name, may hold anything but ends at the last `)`.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_whitespace().nth(1)?.parse().ok()
}
