//! What the executor and its helper process say to each other over their socket: first one
//! [`Spec`], with its length in front, then [`Message`]s back, one a line. Both in JSON.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{HidingMethod, Mount};

/// More than any environment and argument vector that the kernel would take.
const MAX_SPEC_BYTES: u64 = 64 << 20;

/// What the helper is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) place: Place,
    /// An own network with nothing but loopback.
    pub(super) own_network: bool,
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) user: String,
    pub(super) workdir: String,
    pub(super) terminal: bool,
}

/// Where the step runs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Place {
    /// In namespaces of its own.
    Isolated(Isolated),
    /// Where the helper itself is.
    InPlace { mounts: Vec<Mount>, hidden: Vec<PathBuf>, hiding: Option<HidingMethod> },
}

/// See [`Place::Isolated`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Isolated {
    pub(super) root: IsolatedRoot,
    pub(super) hostname: String,
    pub(super) mounts: Vec<Mount>,
    /// Empty directory for what mounts discard, on the same file system as the root.
    pub(super) scratch: PathBuf,
}

/// An owned [`super::Root`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum IsolatedRoot {
    Overlay { lowers: Vec<PathBuf>, upper: PathBuf, work: PathBuf, user_xattr: bool },
    Directory(PathBuf),
}

/// What the helper says. The first [`Message::Failed`] or [`Message::Step`] is the result.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// A system call failed.
    Failed { what: String, errno: i32 },
    /// The step asked for something impossible.
    Step(String),
    /// The step's process returned.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
}

impl Spec {
    /// Writes the spec for [`Self::receive`].
    pub(super) fn send(&self, mut channel: &UnixStream) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        channel.write_all(&(text.len() as u64).to_le_bytes())?;
        channel.write_all(&text)
    }

    /// Reads what [`Self::send`] wrote.
    pub(super) fn receive(mut channel: &UnixStream) -> io::Result<Self> {
        let mut length = [0; 8];
        channel.read_exact(&mut length)?;
        let mut text = Vec::new();
        let length = u64::from_le_bytes(length).min(MAX_SPEC_BYTES);
        channel.take(length).read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }
}

impl Message {
    /// Writes one line; when nobody listens any more there is nobody to tell.
    pub(super) fn send(&self, mut channel: &UnixStream) {
        if let Ok(mut line) = serde_json::to_vec(self) {
            line.push(b'\n');
            let _ = channel.write_all(&line);
        }
    }

    /// All messages in what was read from the channel.
    pub(super) fn parse(bytes: &[u8]) -> Vec<Self> {
        bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}
