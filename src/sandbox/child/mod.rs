//! The helper process: the executor, executed again, with one thread and nothing of its parent
//! but a socket (as standard input) and two pipes.
//!
//! ```text
//! executor ── helper ── init (process 1 of a PID namespace) ── step (process 1 of another)      isolated
//! executor ── helper (child subreaper) ── step                                                  in place
//! ```
//! The one above the step reaps orphans, notices when the executor goes away, kills what the
//! step left running and says over the socket how the step ended.

mod devices;
mod failure;
mod hide;
mod init;
mod isolated;
mod mountpoints;
pub(super) use hide::landlock_works;
pub(super) use mounts::Overlay;

mod mounts;
mod stand_in;
mod step;

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use failure::{During, Failure};
use mountpoints::{Mountpoints, make_workdir};
use rustix::process::{Signal, set_parent_process_death_signal, umask};

use super::spec::{Message, Place, Spec};
use super::{HidingMethod, Mount, SandboxError, system};

/// First argument of the helper process.
pub(super) const ARGUMENT: &str = "__yadokari_sandbox_helper";

const NO_NETWORK: &str = "RUN --network=none needs a network namespace, which this container may not make: in place, a step has \
     the container's network; give the container CAP_SYS_ADMIN or a user namespace, or leave --network=none out";

/// Does the helper's work and ends the process, when this process is a sandbox helper; returns
/// at once otherwise. `main` calls it before anything else.
pub fn run_if_child() {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT) {
        std::process::exit(run());
    }
}

fn run() -> i32 {
    let Ok(channel) = take_channel() else { return 1 };
    match Spec::receive(&channel)
        .during(|| "read the orders of the helper".into())
        .and_then(|spec| obey(spec, &channel))
    {
        Ok(()) => 0,
        Err(failure) => {
            failure.message().send(&channel);
            1
        }
    }
}

/// The socket that came as standard input, which becomes `/dev/null`.
fn take_channel() -> Result<UnixStream, Failure> {
    let channel = std::io::stdin().as_fd().try_clone_to_owned().during(|| "keep the socket".into())?;
    let null = File::open("/dev/null").during(|| "open /dev/null".into())?;
    rustix::stdio::dup2_stdin(&null).during(|| "replace standard input".into())?;
    system::close_others_on_exec();
    Ok(UnixStream::from(channel))
}

fn obey(spec: Spec, channel: &UnixStream) -> Result<(), Failure> {
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    match &spec.place {
        Place::Isolated(place) => isolated::run(&spec, place, channel),
        Place::InPlace { mounts, hidden, hiding } => in_place(&spec, mounts, hidden, *hiding, channel),
    }
}

/// Runs the step where we are. Nothing but a step that is process 1 can be sure to see the end
/// of all its descendants; a child subreaper is, as long as it lives;
/// where there are none, see [`init::Strays`].
fn in_place(
    spec: &Spec,
    mounts: &[Mount],
    hidden: &[PathBuf],
    hiding: Option<HidingMethod>,
    channel: &UnixStream,
) -> Result<(), Failure> {
    let scope = init::Scope::descendants()?;
    hide_from_step()?;
    if spec.own_network {
        isolated::leave_network().map_err(|_| Failure::Step(NO_NETWORK.into()))?;
    }
    let user = step::user(&spec.user)?;
    make_workdir(&spec.workdir, &user)?;
    let mut mountpoints = Mountpoints::default();
    let removed = if hiding == Some(HidingMethod::Removal) { hidden } else { &[] };
    let hide = || hiding.map_or(Ok(()), |method| hide::from_this_process(method, hidden));
    let ended = mounts.iter().try_for_each(|mount| stand_in::place(mount, &mut mountpoints)).and_then(|()| {
        removed.iter().try_for_each(|path| mountpoints.take_away(path))?;
        make_workdir(&spec.workdir, &user)?;
        mountpoints.settle();
        init::run(channel, scope, || hide().and_then(|()| step::execute(spec, &user)))
    });
    mountpoints.undo();
    ended?.send(channel);
    Ok(())
}

/// Makes memory, environment and descriptors of this process unreadable for steps that run in the same
/// PID namespace, unless they have CAP_SYS_PTRACE, which no step has.
///
/// # Errors
/// The kernel refuses.
pub fn close_memory() -> Result<(), SandboxError> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(SandboxError::setup(|| "close the executor's memory to the steps".into()))
}

/// Makes memory, environment and descriptors of this process unreadable for the step.
fn hide_from_step() -> Result<(), Failure> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .during(|| "close /proc/self to the step".into())
}

/// Dies with the process that made this one.
fn die_with_parent() -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).during(|| "tie the step's life to the helper's".into())
}

/// A line on the step's standard error.
fn eprint(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Reads a small regular file of the (hostile) root; what is missing or something else is empty.
fn read_small(path: &str) -> Vec<u8> {
    const MAX_BYTES: u64 = 16 << 20;
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    // A FIFO without a writer would block.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else { return Vec::new() };
    let mut text = Vec::new();
    if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        let _ = file.take(MAX_BYTES).read_to_end(&mut text);
    }
    text
}

impl From<init::Ended> for Message {
    fn from(ended: init::Ended) -> Self {
        match ended {
            init::Ended::Exited(code) => Self::Exited(code),
            init::Ended::Signaled(signal) => Self::Signaled(signal),
        }
    }
}
