//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::access_log::LogLevel;
use crate::eviction::Policy;
use crate::mirror::MirrorFlags;

/// An OCI registry that shares image layers and cache records among build runners.
#[derive(Debug, Parser)]
#[command(name = "cache-server", version, max_term_width = 100)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the registry until SIGTERM or SIGINT
    Serve(ServeFlags),
    /// Remove what is no longer wanted from the data of a server that is not running
    Gc(GcFlags),
    /// Check the data of a server that is not running
    Verify(VerifyFlags),
    /// Say what takes the space in the data of a server that is not running
    Stats(StatsFlags),
    /// Print the version
    Version,
}

/// How to serve.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints `listening on http://HOST:PORT` on standard output once it accepts connections.
On SIGTERM or SIGINT it takes no new connections, finishes running requests and exits;
a second signal ends it at once.

Exit codes: 0 after a signal, 1 on failure, 2 on wrong usage.")]
pub(crate) struct ServeFlags {
    /// Address to listen on; port 0 picks a free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5000")]
    pub(crate) listen: String,

    /// Directory that holds all content; made if absent
    ///
    /// One server at a time. The server may be killed at any moment.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,

    /// Listen on other than loopback addresses although there is no authentication
    ///
    /// Anyone who can reach the address may then read, write and delete everything.
    #[arg(long)]
    pub(crate) allow_anonymous: bool,

    #[command(flatten)]
    pub(crate) policy: Policy,

    #[command(flatten)]
    pub(crate) mirrors: MirrorFlags,

    /// What to log on standard error
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = LogLevel::Info)]
    log: LogLevel,

    /// Log faults of the server only; the same as --log error
    #[arg(long, conflicts_with = "log")]
    quiet: bool,
}

/// What to remove.
#[derive(Debug, Args)]
#[command(after_help = "A running server collects by itself, every few minutes.")]
pub(crate) struct GcFlags {
    /// Directory of the server's data
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,

    #[command(flatten)]
    pub(crate) policy: Policy,
}

/// What to check.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints one line per problem. A problem is healed by pushing again what it names.

Exit codes: 0 when there is no problem, 1 when there is one, 2 on wrong usage.")]
pub(crate) struct VerifyFlags {
    /// Directory of the server's data
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,

    /// Compare sizes only, instead of hashing every blob
    #[arg(long)]
    pub(crate) quick: bool,
}

/// What to say.
#[derive(Debug, Args)]
pub(crate) struct StatsFlags {
    /// Directory of the server's data
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,

    /// Write one JSON document instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

impl ServeFlags {
    pub(crate) fn log_level(&self) -> LogLevel {
        if self.quiet { LogLevel::Error } else { self.log }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Flags::command().debug_assert();
    }
}
