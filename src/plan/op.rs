//! What a stage does, with every variable expanded: the input of keys and of the build.

use std::collections::BTreeSet;

use crate::dockerfile::Span;
use crate::image::{ImageConfig, Platform, Reference};

/// Index of a stage in [`Plan::stages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageIndex(pub usize);

/// Everything that the target needs, in Dockerfile order; every reference points backwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Only reachable stages.
    pub stages: Vec<Stage>,
    /// Which stage is the image.
    pub target: StageIndex,
    /// The names that ARGs of those stages declare, those of triggers included.
    pub arguments: BTreeSet<String>,
    /// `SOURCE_DATE_EPOCH`: the time of everything that the build makes.
    pub epoch: Option<Epoch>,
}

impl Plan {
    /// `stage` and the stages that it is built FROM, down to the one that starts at an image or scratch.
    pub fn chain(&self, stage: StageIndex) -> Vec<StageIndex> {
        let below = |at: &StageIndex| match self.stages[at.0].base {
            Base::Stage(below) => Some(below),
            Base::Image(_) | Base::Scratch => None,
        };
        std::iter::successors(Some(stage), below).collect()
    }
}

/// What `SOURCE_DATE_EPOCH` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epoch {
    /// Seconds since 1970.
    Seconds(i64),
    /// The time of the build context, when it has one.
    Context,
}

/// One stage: where it starts and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Name for display: the stage's own, else `stage-N` (N counts FROMs of the file from 0).
    pub name: String,
    /// Where its file system starts.
    pub base: Base,
    /// The platform that its processes and its image are for.
    pub platform: Platform,
    /// Layer-making steps in order (config instructions have no step of their own).
    pub steps: Vec<Step>,
    /// The finished configuration: base's plus this stage's instructions; `created`, `history`
    /// and `rootfs` are left at the base's values, `config.on_build` holds new triggers only.
    pub config: ImageConfig,
    /// One entry per instruction of this stage (not of its base), in order.
    pub history: Vec<HistoryEntry>,
}

/// Where a stage's file system starts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Base {
    /// `FROM scratch`.
    Scratch,
    /// `FROM <image>`, for the stage's platform.
    Image(ImageRef),
    /// `FROM <stage>`.
    Stage(StageIndex),
}

/// An image from a registry, for one platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    /// What to pull.
    pub reference: Reference,
    /// Which of an index to take.
    pub platform: Platform,
}

/// A history entry to be; `created` is filled in at export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// As BuildKit words it.
    pub created_by: String,
    /// Index into [`Stage::steps`] when the instruction makes a layer.
    pub step: Option<usize>,
}

/// One layer-making instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where it stands (a trigger: its stage's FROM).
    pub span: Span,
    /// For display: the instruction as written, one line.
    pub title: String,
    /// What it does.
    pub op: Op,
}

/// What makes a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// RUN.
    Run(RunOp),
    /// COPY, and ADD of local files.
    Copy(CopyOp),
    /// WORKDIR other than `/`.
    Workdir(WorkdirOp),
}

/// A process on the stage's file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOp {
    /// The whole argument vector, shell included.
    pub argv: Vec<String>,
    /// A heredoc script with `#!`: mounted read-only, mode 0755, at `/dev/pipes/<name>`; `argv` names that path.
    pub script: Option<Script>,
    /// The environment of the process, in order, without proxies and secrets (PATH included).
    pub env: Vec<(String, String)>,
    /// Proxy build arguments: in the environment, never in a key.
    pub proxy_env: Vec<(String, String)>,
    /// USER at that point; empty is root.
    pub user: String,
    /// Absolute working directory.
    pub workdir: String,
    /// `--mount`s in order.
    pub mounts: Vec<Mount>,
    /// `--network`.
    pub network: Network,
    /// `BUILDKIT_SANDBOX_HOSTNAME`, when it is set.
    pub hostname: Option<String>,
}

/// See [`RunOp::script`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// File name below `/dev/pipes`.
    pub name: String,
    /// Its content.
    pub body: String,
}

/// `--network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The builder's.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// The build context.
    Context,
    /// An earlier stage.
    Stage(StageIndex),
    /// An image.
    Image(ImageRef),
    /// Files of a named context, by its key.
    Named(String),
}

/// One `--mount`, evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// `type=bind`.
    Bind {
        /// Whose files.
        from: Source,
        /// Absolute path within `from`.
        source: String,
        /// Absolute.
        target: String,
        /// Writes are allowed, and discarded.
        writable: bool,
    },
    /// `type=cache`.
    Cache {
        /// Identity; the cleaned target when not given.
        id: String,
        /// Absolute.
        target: String,
        /// Who may use it at a time.
        sharing: Sharing,
        /// Not writable.
        readonly: bool,
        /// Initial content, with the path within it.
        from: Option<(Source, String)>,
        /// Of a newly made cache.
        mode: u32,
        /// Of a newly made cache.
        uid: u32,
        /// Of a newly made cache.
        gid: u32,
    },
    /// `type=tmpfs`.
    Tmpfs {
        /// Absolute.
        target: String,
        /// Bytes; `None` is unlimited.
        size_bytes: Option<u64>,
        /// Writes are refused.
        readonly: bool,
    },
    /// `type=secret`.
    Secret {
        /// Which secret.
        id: String,
        /// Absolute path of the file, when one is wanted.
        target: Option<String>,
        /// Environment variable, when one is wanted.
        env: Option<String>,
        /// Fail when the secret is not given.
        required: bool,
        /// Of the file.
        mode: u32,
        /// Of the file.
        uid: u32,
        /// Of the file.
        gid: u32,
    },
    /// `type=ssh`.
    Ssh {
        /// Which agent.
        id: String,
        /// Absolute path of the socket.
        target: String,
        /// Fail when the agent is not given.
        required: bool,
        /// Of the socket.
        mode: u32,
        /// Of the socket.
        uid: u32,
        /// Of the socket.
        gid: u32,
    },
}

/// `sharing=` of a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// Any number at a time.
    #[default]
    Shared,
    /// One each.
    Private,
    /// One at a time.
    Locked,
}

/// COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOp {
    /// ADD: local archives are unpacked, URLs fetched.
    pub add: Option<AddOptions>,
    /// Whose files the paths are.
    pub from: Source,
    /// Paths and wildcards (and for ADD, URLs), in order, expanded, as written otherwise.
    pub sources: Vec<CopySource>,
    /// Expanded, joined with the working directory when relative; a trailing slash is kept.
    pub destination: String,
    /// Expanded.
    pub chown: Option<String>,
    /// Parsed.
    pub chmod: Option<Chmod>,
    /// `--link`, unless `--chmod` switches it off.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude` patterns in order.
    pub excludes: Vec<String>,
}

/// One source of a [`CopyOp`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// A path or wildcard within [`CopyOp::from`].
    Path(String),
    /// A heredoc: file name and expanded content.
    Inline {
        /// File name.
        name: String,
        /// Content.
        content: String,
    },
    /// `http(s)://…` (ADD).
    Url(String),
    /// A git repository (ADD).
    Git(String),
}

/// What only ADD has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddOptions {
    /// `--checksum`.
    pub checksum: Option<String>,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// `--unpack`; default: local archives yes, URLs no.
    pub unpack: Option<bool>,
}

/// `--chmod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chmod {
    /// 0 to 0o7777.
    Octal(u32),
    /// BSD syntax, checked.
    Symbolic(String),
}

/// WORKDIR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkdirOp {
    /// Absolute, clean.
    pub path: String,
    /// USER at that point: owner of what is made.
    pub user: String,
}
