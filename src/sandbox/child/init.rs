//! What stands above the step: reaps, watches the executor, and leaves nothing running.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait};

use super::failure::{During, Failure};
use crate::sandbox::spec::Message;
use crate::sandbox::system::{self, Fork};

/// Which processes are the step's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// All in this PID namespace, whose first this one is.
    Namespace,
    /// All descendants of this one, which is a child subreaper.
    Descendants,
    /// All descendants of this one, where a kernel has no child subreapers.
    Strays(Strays),
}

/// What tells a step's orphans from other processes: they belong to process 1, did not before, and are not
/// of the executor's session, since every step starts a session of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Strays {
    before: BTreeSet<i32>,
    session: Option<i32>,
}

impl Strays {
    fn note() -> Self {
        Self {
            before: processes().into_iter().map(|process| process.pid).collect(),
            session: own().map(|own| own.session),
        }
    }

    fn contains(&self, process: &Process) -> bool {
        process.parent == 1 && !self.before.contains(&process.pid) && Some(process.session) != self.session
    }
}

impl Scope {
    /// The descendants of this process. gVisor of 2022 answers EINVAL to whoever would be a child subreaper.
    pub(super) fn descendants() -> Result<Self, Failure> {
        match set_child_subreaper(Some(rustix::process::getpid())) {
            Ok(()) => Ok(Self::Descendants),
            Err(Errno::INVAL) => Ok(Self::Strays(Strays::note())),
            Err(errno) => Err(errno).during(|| "become the reaper of the step".into()),
        }
    }

    /// Kills what the step left.
    fn kill(&self) {
        match self {
            Self::Namespace => system::kill_all(),
            Self::Descendants => kill_those(|_| false),
            Self::Strays(strays) => kill_those(|process| strays.contains(process)),
        }
    }
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
    scope.kill();
    let last = reap_all(child, &scope);
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

/// Waits until no child is left.
fn reap_all(child: Pid, scope: &Scope) -> Option<Ended> {
    let mut ended = None;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => ended = ending(status),
            Err(Errno::INTR) | Ok(_) => {}
            Err(_) => return ended,
        }
        // Children of the one that just ended belong to another one now.
        if *scope != Scope::Namespace {
            scope.kill();
        }
    }
}

/// Kills every child of this process, and every other one that `also` says.
fn kill_those(also: impl Fn(&Process) -> bool) {
    let own = rustix::process::getpid().as_raw_pid();
    for process in processes().into_iter().filter(|process| process.parent == own || also(process)) {
        if let Some(pid) = Pid::from_raw(process.pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// A process, as `/proc/PID/stat` tells.
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
}

fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(process).collect()
}

fn own() -> Option<Process> {
    process(rustix::process::getpid().as_raw_pid())
}

/// Fourth and sixth field; the second, the name, may hold anything but ends at the last `)`.
fn process(pid: i32) -> Option<Process> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.iter().rposition(|b| *b == b')')?;
    let mut rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?.split_whitespace().skip(1);
    let parent = rest.next()?.parse().ok()?;
    let session = rest.nth(1)?.parse().ok()?;
    Some(Process { pid, parent, session })
}
