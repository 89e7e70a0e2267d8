//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use jiff::Span;

use crate::access::Grant;
use crate::access_log::LogLevel;
use crate::configuration::Settings;
use crate::eviction::{Time, TimeToLive};
use crate::name::RepositoryName;
use crate::storage::StoreAddress;

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
    Serve(Box<ServeFlags>),
    /// Make, list and revoke static tokens
    Token(TokenFlags),
    /// Remove what is no longer wanted from a directory whose server is not running, or a store
    Gc(GcFlags),
    /// Check a directory whose server is not running, or a store
    Verify(VerifyFlags),
    /// Make the index of a directory again from its journal; its server must not be running
    Rebuild(RebuildFlags),
    /// Open an index and end
    #[command(hide = true)]
    ProbeIndex {
        /// Its file
        path: PathBuf,
    },
    /// Say what takes the space in a directory whose server is not running, or in a store
    Stats(StatsFlags),
    /// Write the data of a server that is not running to an archive
    Export(ExportFlags),
    /// Store what an archive holds in the data of a server that is not running
    Import(ImportFlags),
    /// Print the version
    Version,
    /// Write man pages, one for each command
    Man {
        /// Directory, made when missing
        directory: PathBuf,
    },
    /// Print a completion script for a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// How to serve.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints `listening on http://HOST:PORT` on standard output once it accepts connections.
On SIGTERM or SIGINT it takes no new connections, finishes running requests and exits;
a second signal ends it at once. On SIGHUP it reads certificates, users and tokens again;
it also does so by itself when they change.

Exit codes: 0 after a signal, 1 on failure, 2 on wrong usage.")]
pub(crate) struct ServeFlags {
    /// File with settings (TOML); flags and the environment win over it
    #[arg(long, value_name = "FILE", env = "CACHE_SERVER_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Check the settings, and the files that they name, and end
    #[arg(long)]
    pub(crate) check_config: bool,

    #[command(flatten)]
    settings: Settings,

    /// Log faults of the server only; the same as --log error
    #[arg(long, conflicts_with = "log")]
    quiet: bool,
}

/// Whose data.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct PlaceFlags {
    /// Directory of the server's data
    #[arg(long, value_name = "DIR", env = "CACHE_SERVER_DATA")]
    pub(crate) data: Option<PathBuf>,

    /// Place of the servers' data in an object store; they may be running
    #[arg(long, value_name = "URL", env = "CACHE_SERVER_STORE")]
    pub(crate) store: Option<StoreAddress>,
}

/// What to remove.
#[derive(Debug, Args)]
#[command(after_help = "A running server collects by itself, every few minutes.")]
pub(crate) struct GcFlags {
    #[command(flatten)]
    pub(crate) place: PlaceFlags,

    /// Remove what was not used for so long: 30d, or REPOSITORY=30d; units s, m, h, d
    ///
    /// May be given several times; the first one that fits a repository counts.
    #[arg(long, value_name = "[REPOSITORY=]TIME", env = "CACHE_SERVER_TTL", value_delimiter = ',')]
    pub(crate) ttl: Vec<TimeToLive>,

    /// Keep blobs that no manifest names for so long after their upload
    #[arg(long, value_name = "TIME", env = "CACHE_SERVER_GRACE", default_value = "1h")]
    pub(crate) grace: Time,
}

/// What to check.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints one line per problem. A problem is healed by pushing again what it names; one within the index of a directory by
`cache-server rebuild`.

Exit codes: 0 when there is no problem, 1 when there is one, 2 on wrong usage.")]
pub(crate) struct VerifyFlags {
    #[command(flatten)]
    pub(crate) place: PlaceFlags,

    /// Compare sizes only, instead of hashing every blob
    #[arg(long)]
    pub(crate) quick: bool,
}

/// Which index to make again.
#[derive(Debug, Args)]
#[command(after_help = "\
`serve` does the same by itself when the index is gone or cannot be opened. The old file stays as index.redb.damaged.
What is in the journal comes back: who holds which blob, manifests, tags and pins; when they were used does not.")]
pub(crate) struct RebuildFlags {
    /// Directory of the server's data
    #[arg(long, value_name = "DIR", env = "CACHE_SERVER_DATA")]
    pub(crate) data: PathBuf,
}

/// What to say.
#[derive(Debug, Args)]
pub(crate) struct StatsFlags {
    #[command(flatten)]
    pub(crate) place: PlaceFlags,

    /// Write one JSON document instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to take elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "\
The archive is an OCI image layout, which other tools read: `skopeo list-tags` and `skopeo copy` know it as
oci-archive:FILE:REPOSITORY:TAG. Cache records are manifests in it like all others. What is incomplete is left out.

It needs the directory for itself: stop the server first. Over the registry's API nobody can list manifests without a
tag; to copy the tagged images of a running server, use `skopeo sync`.")]
pub(crate) struct ExportFlags {
    /// Directory of the server's data
    #[arg(long, value_name = "DIR", env = "CACHE_SERVER_DATA")]
    pub(crate) data: PathBuf,

    /// Take this repository only; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) repository: Vec<RepositoryName>,

    /// Archive to write; - is standard output
    #[arg(value_name = "FILE")]
    pub(crate) archive: PathBuf,
}

/// What to bring here.
#[derive(Debug, Args)]
#[command(after_help = "\
Every digest is checked. What is here stays; tags that are in the archive move.
What was stored before a failure stays, and the next import goes on from there.

It needs the directory for itself: stop the server first. To push to a running server, use `skopeo copy`.")]
pub(crate) struct ImportFlags {
    /// Directory of the server's data; made if absent
    #[arg(long, value_name = "DIR", env = "CACHE_SERVER_DATA")]
    pub(crate) data: PathBuf,

    /// Repository for images whose names in the archive say none
    #[arg(long, value_name = "NAME")]
    pub(crate) repository: Option<RepositoryName>,

    /// Archive to read: an OCI image layout in a tar; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) archive: PathBuf,
}

impl ServeFlags {
    /// The settings that flags and environment give.
    pub(crate) fn into_settings(self) -> Settings {
        let log = if self.quiet { Some(LogLevel::Error) } else { self.settings.log };
        Settings { log, ..self.settings }
    }
}

/// What to do with the tokens of a file.
#[derive(Debug, Args)]
pub(crate) struct TokenFlags {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,

    /// File of tokens; made if absent
    #[arg(long, global = true, value_name = "FILE", env = "CACHE_SERVER_TOKENS", default_value = "tokens.json")]
    pub(crate) tokens: PathBuf,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it; only its hash is kept
    Create {
        /// What the token is for; shown in logs
        #[arg(long, value_name = "NAME")]
        name: String,

        /// What it allows, such as `team/**=pull,push`; may be given several times
        ///
        /// `*` stands for any characters within a component, `**` for any components. Actions are
        /// pull, push, delete, read-keys, write-keys, and * for all of them.
        #[arg(long = "grant", value_name = "PATTERN=ACTIONS", required = true)]
        grants: Vec<Grant>,

        /// End of the token, counted from now, such as `90d`; without it, it lives until revoked
        #[arg(long, value_name = "DURATION")]
        expires: Option<Span>,
    },
    /// List IDs, names and rights of all tokens
    List,
    /// Forget a token; it stops working within seconds, its sessions within five minutes
    Revoke {
        /// ID of the token, as `list` shows it
        id: String,
    },
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;
    use crate::flag_page;

    #[test]
    fn flags_are_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn the_page_of_flags_lists_every_one() {
        let mut command = Flags::command();
        command.build();
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/flags.md");
        flag_page::compare("cache-server", &flag_page::page(&command), &document);
    }
}
