//! `RUN --mount=type=ssh`: a socket for one step, in front of the user's ssh agent.
//!
//! Not the agent's own socket: that has the wrong owner, agents refuse other users, and a step has no
//! business with changing what the agent holds.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::mounts::Ownership;

/// Longer messages are refused, in bytes; OpenSSH has the same limit.
const MAX_MESSAGE_BYTES: u32 = 256 << 10;
/// Connections at a time; more are closed at once.
const MAX_CONNECTIONS: usize = 64;

/// # Source
/// draft-ietf-sshm-ssh-agent, "Message numbers". The others add, remove and lock keys.
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;
const FAILURE: u8 = 5;

/// The socket; closed and removed when dropped.
pub(super) struct AgentSocket {
    path: PathBuf,
    /// The server ends when this is closed.
    stop: Option<UnixStream>,
    server: Option<JoinHandle<()>>,
}

impl AgentSocket {
    /// Makes a socket at `path` that answers with what the agent at the socket `agent` says.
    pub(super) fn open(path: &Path, agent: &Path, owner: Ownership) -> io::Result<Self> {
        // Better said now than by the step's ssh.
        UnixStream::connect(agent)?;
        let listener = UnixListener::bind(path)?;
        chown(path, Some(owner.uid), Some(owner.gid))?;
        fs::set_permissions(path, Permissions::from_mode(owner.mode))?;
        let (stop, stopped) = UnixStream::pair()?;
        let agent = agent.to_owned();
        let server = thread::Builder::new().name("ssh agent".into());
        let server = server.spawn(move || drop(serve(&listener, &agent, &stopped)))?;
        Ok(Self { path: path.to_owned(), stop: Some(stop), server: Some(server) })
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes connections until `stopped`. Those that are open end with their clients.
fn serve(listener: &UnixListener, agent: &Path, stopped: &UnixStream) -> io::Result<()> {
    let running = Arc::new(());
    loop {
        let mut ready = [PollFd::new(listener, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut ready, None) {
            Err(Errno::INTR) => continue,
            result => result?,
        };
        if !ready[1].revents().is_empty() {
            return Ok(());
        }
        let (client, _) = listener.accept()?;
        if Arc::strong_count(&running) > MAX_CONNECTIONS {
            continue;
        }
        let (agent, running) = (agent.to_owned(), Arc::clone(&running));
        thread::Builder::new().spawn(move || {
            let _running = running;
            // The client sees a closed connection; there is nobody else to tell.
            let _ = forward(client, &agent);
        })?;
    }
}

/// Answers one client, message by message.
fn forward(mut client: UnixStream, agent: &Path) -> io::Result<()> {
    let mut agent = UnixStream::connect(agent)?;
    while let Some(request) = receive(&mut client)? {
        let answer = if matches!(request.first(), Some(&(REQUEST_IDENTITIES | SIGN_REQUEST))) {
            send(&mut agent, &request)?;
            receive(&mut agent)?.ok_or(ErrorKind::UnexpectedEof)?
        } else {
            vec![FAILURE]
        };
        send(&mut client, &answer)?;
    }
    Ok(())
}

/// The next message without its length; `None` at the end.
fn receive(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let length = u32::from_be_bytes(length);
    if length == 0 || length > MAX_MESSAGE_BYTES {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length as usize];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

fn send(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| ErrorKind::InvalidData)?;
    to.write_all(&[&length.to_be_bytes(), message].concat())
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a failed step of a test ends it")]
mod tests {
    use super::*;

    #[test]
    fn messages_have_a_length_within_bounds() {
        let mut bytes = Vec::new();
        send(&mut bytes, &[REQUEST_IDENTITIES, 7]).expect("memory");
        assert_eq!(bytes, [0, 0, 0, 2, 11, 7]);
        assert_eq!(receive(&mut bytes.as_slice()).expect("whole"), Some(vec![11, 7]));
        assert_eq!(receive(&mut [].as_slice()).expect("the end"), None);
        for bad in [&[0, 0, 0, 0][..], &[0, 4, 0, 1, 0], &[0, 0, 0, 2, 1]] {
            assert!(receive(&mut &*bad).is_err(), "{bad:?}");
        }
    }
}
