//! The executor's end: starts the helper, passes output on, learns how the step ended.

use std::fs::File;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::child::ARGUMENT;
use super::spec::{Message, Spec};
use super::{Cancel, Exit, SandboxError, Stream, system};

/// As much as a pipe holds.
const BUFFER_BYTES: usize = 64 << 10;
/// More than all messages of a helper.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

type Output<'a> = &'a mut dyn FnMut(Stream, &[u8]);

/// Runs a helper on `spec` to its end.
pub(super) fn run(executable: &Path, cancel: &Cancel, spec: &Spec, output: Output<'_>) -> Result<Exit, SandboxError> {
    let (channel, theirs) = UnixStream::pair().map_err(SandboxError::setup(|| "make a socket".into()))?;
    let running = cancel.register(&channel)?;
    let mut child = start(executable, theirs, spec.terminal)?;
    // A helper that died cannot take its orders; what it said, or did not, tells more.
    let said = spec.send(&channel).or_else(ignore_gone).and_then(|()| follow(&channel, &mut child, output));
    // Had following failed, this ends the step.
    let _ = channel.shutdown(Shutdown::Both);
    drop(running);
    if spec.terminal {
        // It was the step's; without it, a write would stop this process.
        let _ = system::put_in_foreground(io::stderr(), rustix::process::getpgrp());
    }
    let status = child.wait().map_err(SandboxError::setup(|| "wait for the helper".into()))?;
    if cancel.is_cancelled() {
        return Err(SandboxError::Cancelled);
    }
    let said = said.map_err(SandboxError::setup(|| "follow the step".into()))?;
    Message::parse(&said).into_iter().next().map_or_else(|| Err(SandboxError::Lost(status.to_string())), verdict)
}

fn start(executable: &Path, channel: UnixStream, terminal: bool) -> Result<Child, SandboxError> {
    let output = || if terminal { Stdio::from(io::stderr()) } else { Stdio::piped() };
    Command::new(executable)
        .arg(ARGUMENT)
        .env_clear()
        .stdin(OwnedFd::from(channel))
        .stdout(output())
        .stderr(output())
        .spawn()
        .map_err(|source| SandboxError::Spawn { path: executable.to_owned(), source })
}

fn ignore_gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

fn verdict(message: Message) -> Result<Exit, SandboxError> {
    match message {
        Message::Exited(code) => Ok(Exit::Code(code)),
        Message::Signaled(signal) => Ok(Exit::Signal(signal)),
        Message::Step(text) => Err(SandboxError::Step(text)),
        Message::Failed { what, errno } => {
            Err(SandboxError::Setup { what, source: io::Error::from_raw_os_error(errno) })
        }
    }
}

/// Passes output on until the helper closes its end of the channel; returns what it said there.
///
/// The pipes are not waited for: a process that got away may hold them open for ever. What it
/// wrote before is in them, and read.
fn follow(channel: &UnixStream, child: &mut Child, output: Output<'_>) -> io::Result<Vec<u8>> {
    let mut pipes = Vec::new();
    pipes.extend(child.stdout.take().map(|pipe| (Stream::Stdout, File::from(OwnedFd::from(pipe)))));
    pipes.extend(child.stderr.take().map(|pipe| (Stream::Stderr, File::from(OwnedFd::from(pipe)))));
    for (_, pipe) in &pipes {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    channel.set_nonblocking(true)?;
    let (mut said, mut buffer) = (Vec::new(), vec![0; BUFFER_BYTES]);
    loop {
        let (talking, ready) = wait(channel, &pipes)?;
        for index in ready.into_iter().rev() {
            if !pass_on(&mut pipes[index], &mut buffer, output)? {
                pipes.remove(index);
            }
        }
        if talking && !listen(channel, &mut said)? {
            break;
        }
    }
    for pipe in &mut pipes {
        while pass_on(pipe, &mut buffer, output)? && !wait_now(pipe)? {}
    }
    Ok(said)
}

/// Whether the channel has something, and which pipes have.
fn wait(channel: &UnixStream, pipes: &[(Stream, File)]) -> io::Result<(bool, Vec<usize>)> {
    let mut descriptors = vec![PollFd::new(channel, PollFlags::IN)];
    descriptors.extend(pipes.iter().map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)));
    while let Err(errno) = poll(&mut descriptors, None) {
        if errno != Errno::INTR {
            return Err(errno.into());
        }
    }
    let ready = |descriptor: &PollFd<'_>| !descriptor.revents().is_empty();
    let pipes = (1..descriptors.len()).filter(|index| ready(&descriptors[*index])).map(|index| index - 1);
    Ok((ready(&descriptors[0]), pipes.collect()))
}

/// Whether the pipe is empty for now.
fn wait_now((_, pipe): &(Stream, File)) -> io::Result<bool> {
    let mut descriptors = [PollFd::new(pipe, PollFlags::IN)];
    Ok(poll(&mut descriptors, Some(&rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 }))? == 0)
}

/// One read. False at the end.
fn pass_on((stream, pipe): &mut (Stream, File), buffer: &mut [u8], output: Output<'_>) -> io::Result<bool> {
    match pipe.read(buffer) {
        Ok(0) => Ok(false),
        Ok(count) => {
            output(*stream, &buffer[..count]);
            Ok(true)
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Takes what the helper says. False when it has ended.
fn listen(mut channel: &UnixStream, said: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    match channel.read(&mut buffer) {
        Ok(0) => Ok(false),
        Ok(_) if said.len() > MAX_MESSAGE_BYTES => Ok(true),
        Ok(count) => {
            said.extend_from_slice(&buffer[..count]);
            Ok(true)
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(true),
        // The helper died with unread orders.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
        Err(error) => Err(error),
    }
}
