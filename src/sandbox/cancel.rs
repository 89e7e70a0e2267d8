use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::SandboxError;

/// Ends the running steps of a sandbox, and lets no other start. Clones act on the same steps.
///
/// When the executor itself dies, however it dies, its steps end the same way: what counts is
/// the socket between the executor and each step's helper, which closes in both cases.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    cancelled: bool,
    /// Until [`Cancel::go_on`].
    stopped: bool,
    running: Vec<(u64, UnixStream)>,
    next: u64,
}

/// A running step; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Running {
    cancel: Cancel,
    number: u64,
}

impl Cancel {
    /// Kills what runs; [`super::Sandbox::run`] then returns [`SandboxError::Cancelled`].
    pub fn cancel(&self) {
        let mut state = self.state();
        state.cancelled = true;
        state.end_all();
    }

    /// The same, until [`Self::go_on`].
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.end_all();
    }

    /// Takes back a [`Self::stop`]. False when [`Self::cancel`] was called.
    pub fn go_on(&self) -> bool {
        let mut state = self.state();
        state.stopped = false;
        !state.cancelled
    }

    /// Whether [`Self::cancel`] or [`Self::stop`] was called.
    pub fn is_cancelled(&self) -> bool {
        let state = self.state();
        state.cancelled || state.stopped
    }

    /// Registers a step by its channel.
    pub(super) fn register(&self, channel: &UnixStream) -> Result<Running, SandboxError> {
        let channel = channel.try_clone().map_err(SandboxError::setup(|| "copy a socket".into()))?;
        let mut state = self.state();
        if state.cancelled || state.stopped {
            return Err(SandboxError::Cancelled);
        }
        let number = state.next;
        state.next += 1;
        state.running.push((number, channel));
        Ok(Running { cancel: self.clone(), number })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end_all(&mut self) {
        for (_, channel) in self.running.drain(..) {
            let _ = channel.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.state().running.retain(|(number, _)| *number != self.number);
    }
}
