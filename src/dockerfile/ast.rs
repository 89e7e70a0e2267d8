//! What a Dockerfile says, before any variable is expanded.

/// Lines of the Dockerfile, 1-based, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First line.
    pub start: usize,
    /// Last line.
    pub end: usize,
    /// The word to point at, when it is known.
    pub caret: Option<Caret>,
}

/// A place in the Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caret {
    /// 1-based, one of the span's.
    pub line: usize,
    /// Byte in the line, 0-based; bytes that are no UTF-8 count as their replacement characters.
    pub column: usize,
}

impl Span {
    /// Whole lines.
    pub fn lines(start: usize, end: usize) -> Self {
        Span { start, end, caret: None }
    }
}

/// A parsed Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// Parser directives.
    pub directives: Directives,
    /// ARGs before the first FROM, in order.
    pub global_args: Vec<Instruction>,
    /// At least one.
    pub stages: Vec<Stage>,
    /// One for each instruction, FROMs included, in the order of the file.
    pub notes: Vec<Note>,
}

/// How an instruction is written, as far as that does not change what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// That of the instruction.
    pub span: Span,
    /// As [`Instruction::text`].
    pub text: String,
    /// The text of the comment lines before it, without `#`; blank lines do not matter, but an
    /// empty comment cuts off what stands before it.
    pub comments: Vec<String>,
    /// A blank line stands inside its continuation.
    pub empty_continuation: bool,
}

/// `# syntax=`, `# escape=` and `# check=` at the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// Noted, never run.
    pub syntax: Option<String>,
    /// Backslash or backtick.
    pub escape: char,
    /// The raw value.
    pub check: Option<String>,
}

/// One FROM and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Image or stage name, unexpanded.
    pub base: String,
    /// Lower-cased.
    pub name: Option<String>,
    /// `--platform`, unexpanded.
    pub platform: Option<String>,
    /// The FROM.
    pub span: Span,
    /// In order.
    pub instructions: Vec<Instruction>,
}

/// One instruction with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Where it stands, heredoc bodies included.
    pub span: Span,
    /// The logical line as written (continuations joined, heredoc bodies left out), for display.
    pub text: String,
    /// What it does.
    pub kind: Kind,
}

/// `NAME=value` of ARG, ENV or LABEL; both unexpanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Left of `=`.
    pub name: String,
    /// `None` for an ARG with no default.
    pub value: Option<String>,
}

/// The instructions; all words unexpanded, with their quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `ARG name[=value] …`.
    Arg(Vec<Pair>),
    /// `ENV name=value …`.
    Env(Vec<Pair>),
    /// `LABEL name=value …`.
    Label(Vec<Pair>),
    /// `RUN`.
    Run(Run),
    /// `COPY`.
    Copy(Copy),
    /// `ADD`.
    Add(Add),
    /// `WORKDIR path`.
    Workdir(String),
    /// `USER name`.
    User(String),
    /// `VOLUME path …`.
    Volume(Vec<String>),
    /// `EXPOSE port …`.
    Expose(Vec<String>),
    /// `STOPSIGNAL signal`.
    StopSignal(String),
    /// `SHELL [...]`.
    Shell(Vec<String>),
    /// `CMD`.
    Cmd(Command),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `HEALTHCHECK`.
    Healthcheck(HealthcheckSpec),
    /// `MAINTAINER name`.
    Maintainer(String),
    /// `ONBUILD …`: the trigger's text (with heredoc bodies), not looked at before it is triggered.
    OnBuild(String),
}

/// Shell or exec form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Text for the shell.
    Shell(String),
    /// JSON form.
    Exec(Vec<String>),
}

/// `<<NAME` and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word after `<<`, quotes removed.
    pub name: String,
    /// Raw body, leading tabs stripped when `chomp` is set.
    pub body: String,
    /// False when the word was quoted: then nothing in the body is expanded.
    pub expand: bool,
    /// `<<-`.
    pub chomp: bool,
}

/// RUN before expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What to run: text with heredoc bodies and terminators appended, exactly as the shell
    /// gets it; or [`RunCommand::Script`] when the line is one heredoc.
    pub command: RunCommand,
    /// `--mount`, raw CSV text each.
    pub mounts: Vec<String>,
    /// `--network`.
    pub network: Option<String>,
    /// `--security`.
    pub security: Option<String>,
    /// `--device`, raw.
    pub devices: Vec<String>,
}

/// The three forms of RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunCommand {
    /// Text for the shell.
    Shell(String),
    /// JSON form.
    Exec(Vec<String>),
    /// The line is exactly one heredoc: its body is the script.
    Script(Heredoc),
}

/// COPY before expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// `--from`, as written.
    pub from: Option<String>,
    /// `--parents`.
    pub parents: bool,
    /// What ADD has too.
    pub paths: Transfer,
}

/// ADD before expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// `--checksum`.
    pub checksum: Option<String>,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`.
    pub unpack: Option<bool>,
    /// What COPY has too.
    pub paths: Transfer,
}

/// Sources, destination and the flags that COPY and ADD share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Paths, wildcards or URLs; heredoc tokens are in `heredocs` instead.
    pub sources: Vec<String>,
    /// Heredoc sources, in order.
    pub heredocs: Vec<Heredoc>,
    /// Destination.
    pub destination: String,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, in order.
    pub excludes: Vec<String>,
}

/// HEALTHCHECK before evaluation; durations in nanoseconds, 0 when not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthcheckSpec {
    /// `HEALTHCHECK NONE`.
    None,
    /// `HEALTHCHECK CMD …`.
    Check {
        /// Exec form becomes `CMD`, shell form `CMD-SHELL`.
        command: Command,
        /// `--interval`.
        interval: i64,
        /// `--timeout`.
        timeout: i64,
        /// `--start-period`.
        start_period: i64,
        /// `--start-interval`.
        start_interval: i64,
        /// `--retries`.
        retries: i64,
    },
}
