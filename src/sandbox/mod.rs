//! Runs the process of a RUN step on a root file system.
//!
//! What a step may touch: its root, the mounts that it was given, fresh `/proc`, `/dev` and
//! (read-only) `/sys`, and the network unless it was told not to. The environment, the file
//! descriptors and the memory of the executor, which may hold credentials, are out of reach: the
//! step is started by a re-executed, single-threaded copy of the executor ([`run_if_child`]) that
//! gets a clean environment and its orders over a socket.
//!
//! Three ways, see [`probe()`]:
//! - [`OverlaySandbox`]: private mount, process, IPC and host name namespaces, an overlay (or a
//!   plain tree) as the root. Serves [`Kind::Overlay`], and [`Kind::UserNamespace`] once the executor
//!   is inside one ([`enter_user_namespace`]).
//! - [`InPlaceSandbox`]: the root of the container that the executor itself runs in.
//! - none: no step runs a process.

mod cancel;
mod child;
mod container;
mod emulation;
mod error;
mod facts;
mod hide;
mod ignore;
mod in_place;
mod launch;
mod overlay;
mod probe;
mod spec;
mod status;
mod system;
mod user;
mod user_namespace;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use cancel::Cancel;
pub use child::{close_memory, run_if_child};
pub use emulation::runs;
pub use error::SandboxError;
pub use facts::{Facts, free_space};
pub use hide::{Credential, Hidden, Hiding, HidingMethod};
pub use ignore::{IgnoreList, ignore_list, wipe};
pub use in_place::InPlaceSandbox;
pub use overlay::OverlaySandbox;
pub use probe::{Kind, Probe, Requested, attempts, probe, supports_overlay};
pub use status::same_status;
pub use user_namespace::{Ownership, enter_user_namespace, in_user_namespace, ownership};

use crate::plan::Network;

/// Runs processes on root file systems.
pub trait Sandbox: Send + Sync {
    /// Runs `process` on `root` to its end, and everything that it left running with it.
    ///
    /// `output` gets what it writes, as it comes. Blocks. A process that could not be found or
    /// executed is an [`Exit::Code`] of 127 or 126 with a message on standard error, as a shell does.
    ///
    /// # Errors
    /// The step could not be started, or was cancelled.
    fn run(
        &self,
        process: &Process,
        root: &Root<'_>,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Exit, SandboxError>;
}

/// What to run.
#[derive(Clone, PartialEq, Eq)]
pub struct Process {
    /// The whole argument vector; the first is looked up in the environment's `PATH`, in the root.
    pub argv: Vec<String>,
    /// The whole environment, in order; `HOME` is added from the root's `/etc/passwd` when missing.
    pub env: Vec<(String, String)>,
    /// `user[:group]`, names or numbers, looked up in the root; empty is root.
    pub user: String,
    /// Absolute; made with mode 0755 and the user's ids when missing, and stays.
    pub workdir: String,
    /// Host name (ignored in place).
    pub hostname: String,
    /// Which network.
    pub network: Network,
    /// In order.
    pub mounts: Vec<Mount>,
    /// It gets the terminal that this process has as its standard error, and is in the foreground there.
    pub terminal: bool,
}

impl std::fmt::Debug for Process {
    // The environment may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("argv", &self.argv)
            .field("user", &self.user)
            .field("workdir", &self.workdir)
            .field("network", &self.network)
            .field("mounts", &self.mounts)
            .finish_non_exhaustive()
    }
}

/// Something that the process sees at a path while it runs, and that leaves no trace there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What.
    pub kind: MountKind,
    /// Absolute path in the root.
    pub target: String,
}

/// See [`Mount`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file, socket or directory of the host; writes reach it unless `readonly`.
    Bind {
        /// Resolved by the caller: links in it are followed on the host.
        source: PathBuf,
        /// Whether writing fails (in place, where that cannot be enforced, writes are discarded).
        readonly: bool,
    },
    /// A file or directory of the host; writes are discarded.
    Discard {
        /// As in `Bind`.
        source: PathBuf,
    },
    /// Part of a stack of layer directories; writes are discarded or refused. Not in place.
    Layers {
        /// Bottom first.
        lowers: Vec<PathBuf>,
        /// Absolute path in the stack; links are followed within it.
        source: String,
        /// Writes are allowed, and discarded.
        writable: bool,
    },
    /// An empty directory in memory (in place: on the disk, without a limit).
    Tmpfs {
        /// Bytes; `None` is unlimited.
        size_bytes: Option<u64>,
        /// Writes are refused (in place: not).
        readonly: bool,
    },
}

/// The file system that a process runs on.
#[derive(Debug, Clone, Copy)]
pub enum Root<'a> {
    /// A stack of layer directories.
    Overlay {
        /// Bottom first; may be empty.
        lowers: &'a [PathBuf],
        /// Gets the changes; see [`crate::snapshot::overlay`].
        upper: &'a Path,
        /// Empty directory on the same file system as `upper`.
        work: &'a Path,
        /// Use `user.overlay.*` attributes: needed inside a user namespace ([`in_user_namespace`]).
        user_xattr: bool,
    },
    /// A plain tree.
    Directory {
        /// Changed in place.
        path: &'a Path,
    },
    /// The root that the executor itself runs in.
    InPlace,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

/// Which of its outputs a process wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
