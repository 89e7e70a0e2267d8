//! The command line.

// Doc comments are help texts here.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

use std::path::PathBuf;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use yadokari::image::Reference;

use crate::command_line::flags::{LogFlags, PullFlags, with_booleans};
use crate::command_line::values::{AgeLimit, Bytes, boolean, parse_age, parse_bytes, path};

/// Fetches base images into a cache directory, from which the executor takes them.
///
/// Takes the command line of Kaniko's warmer. Exit codes: 0 when all images are in the directory
/// afterwards, 1 when one is not (the others are), 2 for wrong usage, 130 after a signal.
#[derive(Debug, Parser)]
#[command(
    name = "warmer",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    args_override_self = true
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Image to fetch. Repeatable.
    #[arg(short, long, value_name = "REFERENCE")]
    pub(crate) image: Vec<Reference>,
    /// Dockerfile whose images are fetched: those of FROM, COPY --from and RUN --mount, in all stages.
    /// A path or an http(s) URL.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) dockerfile: Option<String>,
    /// Value of an ARG of the Dockerfile; a bare NAME takes it from the environment. Repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) build_arg: Vec<String>,
    /// Cache-server for --hot: a URL such as https://HOST:PORT/REPOSITORY; without a path the repository is `cache`.
    #[arg(long, env = "YADOKARI_CACHE_SERVER", value_name = "URL")]
    pub(crate) cache_server: Option<String>,
    /// Also fetch what the runners of --cache-server ask for most: this many base images, through its
    /// mirrors, and as many records of its REPOSITORY.
    #[arg(long, value_name = "NUMBER", requires = "cache_server")]
    pub(crate) hot: Option<usize>,
    /// Where images are kept; made when missing.
    #[arg(short, long, value_name = "DIRECTORY", default_value = "/cache", value_parser = path())]
    pub(crate) cache_dir: PathBuf,
    /// The executors' --cache-ttl: an image that is there and unchanged is renewed after half of it.
    #[arg(long, value_name = "DURATION", default_value = "336h", value_parser = parse_age)]
    pub(crate) cache_ttl: AgeLimit,
    /// Read all stored bytes of the images and fetch again what is damaged.
    #[arg(short, long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) force: bool,
    /// Extract the layers too, as executors on this machine use them for RUN.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) extract: bool,
    /// Platform of the images: os/arch[/variant]; this machine's by default. Several, repeated or
    /// between commas, stand side by side.
    #[arg(long, aliases = ["customPlatform", "platform"], value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) custom_platform: Vec<String>,
    /// Do not end, but look again after this long, give or take a tenth: for what expired or moved.
    /// The Dockerfile and the credentials are read anew each time. SIGTERM ends it with exit code 0.
    #[arg(long, value_name = "DURATION", value_parser = parse_age)]
    pub(crate) interval: Option<AgeLimit>,
    /// Then remove what nobody needs until no more bytes are left: first what no image has, least recently
    /// used first, then images that are not asked for any more. What the images asked for and running builds
    /// need stays. With a unit: 20GiB, 500MB.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) max_bytes: Option<Bytes>,
    /// Serve /healthz, /readyz and, for Prometheus, /metrics.
    #[arg(long, value_name = "HOST:PORT", requires = "interval")]
    pub(crate) listen: Option<String>,
    #[command(flatten)]
    pub(crate) pull: PullFlags,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

impl CommandLine {
    /// Takes flags with nothing in the place of their value for flags that are not there, as pipelines write them
    /// where a variable is empty.
    pub(crate) fn without_empty(mut self) -> Self {
        self.dockerfile = self.dockerfile.filter(|path| !path.is_empty());
        self.custom_platform.retain(|platform| !platform.is_empty());
        self.pull.drop_empty();
        if self.cache_dir.as_os_str().is_empty() {
            self.cache_dir = "/cache".into();
        }
        self
    }
}

/// What is asked for instead of images.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the man page.
    Man {
        /// Directory, made when missing.
        directory: PathBuf,
    },
    /// Print a completion script for a shell.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// The whole command line.
pub(crate) fn command() -> clap::Command {
    with_booleans(CommandLine::command())
}
