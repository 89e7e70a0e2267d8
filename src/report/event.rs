//! What a build says while it goes: one event type, many displays.

use std::time::Duration;

use crate::digest::Digest;

/// Receives events; called from any thread, must return soon.
pub trait Observer: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// Number of a step in the whole build, from 0, in plan order.
pub type StepNumber = usize;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The plan is known.
    Planned {
        /// All steps that may run, in plan order.
        steps: Vec<StepInfo>,
    },
    /// A step needs no work.
    StepCached {
        /// Which.
        step: StepNumber,
        /// Who had it.
        by: CacheTier,
    },
    /// A step runs, and why.
    StepStarted {
        /// Which.
        step: StepNumber,
        /// Why it was not cached.
        miss: String,
    },
    /// A line that the step's process wrote.
    StepOutput {
        /// Which.
        step: StepNumber,
        /// True for standard error.
        stderr: bool,
        /// Raw bytes, as they come (not always whole lines).
        bytes: Vec<u8>,
    },
    /// A step is done.
    StepFinished {
        /// Which.
        step: StepNumber,
        /// How long it took.
        took: Duration,
        /// Size of its layer blob in bytes; `None` when nothing changed.
        layer_bytes: Option<u64>,
    },
    /// A step failed.
    StepFailed {
        /// Which.
        step: StepNumber,
    },
    /// A transfer began, went on or ended.
    Transfer(Transfer),
    /// A phase of the whole build ended.
    Phase {
        /// `resolve`, `keys`, `lookup`, `build`, `export`, …
        name: &'static str,
        /// How long it took.
        took: Duration,
    },
    /// The nearest record of a step that missed.
    Explained {
        /// Which.
        step: StepNumber,
        /// Its key; `None` when no record is like the step.
        nearest: Option<String>,
        /// Clauses, the most telling first; some may be left out.
        differences: Vec<String>,
    },
    /// What would make the next builds faster.
    Advice(String),
    /// How remote caches were used.
    RemoteLookUps {
        /// Times that the build waited for remote caches; one batch of keys is one time, all caches
        /// are asked at once.
        rounds: usize,
        /// Keys looked up.
        keys: usize,
        /// Of these found.
        found: usize,
    },
    /// Something that the user should know, that does not stop the build.
    Warning(String),
    /// Detail for `-v debug`.
    Debug(String),
    /// Plain information.
    Info(String),
    /// The build is done.
    Finished(Summary),
}

/// One step, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepInfo {
    /// Name of its stage.
    pub stage: String,
    /// The instruction, one line.
    pub title: String,
    /// Its line in the Dockerfile.
    pub line: usize,
}

/// Where a hit came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheTier {
    /// The local store.
    Local,
    /// A cache repository in a registry.
    Registry,
    /// A cache-server.
    CacheServer,
}

/// Progress of one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Pull or push.
    pub direction: Direction,
    /// What moves.
    pub digest: Digest,
    /// Bytes so far.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Which way a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a registry.
    Pull,
    /// To a registry.
    Push,
}

/// The end of a build that worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Of the image manifest.
    pub digest: Digest,
    /// Sum of its layer blobs in bytes.
    pub image_bytes: u64,
    /// Layers in all.
    pub layers: usize,
    /// Where it was pushed or written.
    pub outputs: Vec<String>,
    /// Steps that were cached.
    pub cached_steps: usize,
    /// Steps that ran.
    pub run_steps: usize,
    /// Requests to registries.
    pub requests: usize,
    /// How many of them had to wait for one another: so many times the network's latency counts.
    pub round_trips: usize,
    /// The whole build.
    pub took: Duration,
}
