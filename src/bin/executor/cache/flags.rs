//! The command line of `executor cache`.

// Doc comments are help texts here: brackets mean optional parts.
#![allow(rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::values::parse_span;
use crate::command_line::flags::LogFlags;
use crate::command_line::values::{AgeLimit, Bytes, parse_bytes};
use crate::flags::RegistryFlags;

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List the records: key, size, age, duration, instruction.
    Ls(ListFlags),
    /// Show one record whole.
    Show(ShowFlags),
    /// Say in what a record differs from another one, or from the nearest one.
    Explain(ExplainFlags),
    /// Remove what was not used for long, and what nothing names any more.
    Prune(PruneFlags),
    /// Check that everything that is named is there, and is what its digest says; exit code 1 when not.
    Verify(VerifyFlags),
    /// Numbers about the cache.
    Stats(StatsFlags),
}

/// Which cache.
#[derive(Debug, Args)]
pub(crate) struct PlaceFlags {
    /// Cache directory.
    #[arg(long, value_name = "DIRECTORY", default_value = "/cache", conflicts_with = "cache_repo")]
    pub(crate) cache_dir: PathBuf,
    /// Cache repository in a registry, or oci:PATH, instead of a directory.
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) cache_repo: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// What is printed.
#[derive(Debug, Args)]
pub(crate) struct FormFlags {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListFlags {
    /// Only records whose instruction contains this, in any case.
    #[arg(long, value_name = "TEXT")]
    pub(crate) instruction: Option<String>,
    /// Only records whose key begins with this.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) key: Option<String>,
    /// Only records that were not used (in a repository: made) for this long: 7d, 12h.
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    pub(crate) older_than: Option<AgeLimit>,
    /// Only records of at least this many bytes: 10MB, 1GiB.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) larger_than: Option<Bytes>,
    #[command(flatten)]
    pub(crate) form: FormFlags,
    #[command(flatten)]
    pub(crate) place: PlaceFlags,
}

#[derive(Debug, Args)]
pub(crate) struct ShowFlags {
    /// Key of the record, or the beginning of it.
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) form: FormFlags,
    #[command(flatten)]
    pub(crate) place: PlaceFlags,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainFlags {
    /// Key of the record, or the beginning of it.
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// The record to compare with; without it the nearest one.
    #[arg(value_name = "OTHER")]
    pub(crate) other: Option<String>,
    #[command(flatten)]
    pub(crate) form: FormFlags,
    #[command(flatten)]
    pub(crate) place: PlaceFlags,
}

#[derive(Debug, Args)]
pub(crate) struct PruneFlags {
    /// Remove what was not used (in a repository: made) for this long: 7d, 12h.
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    pub(crate) older_than: Option<AgeLimit>,
    /// Then remove the least recently used until no more bytes than these are left: 10GB, 512MiB.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) keep_bytes: Option<Bytes>,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) form: FormFlags,
    #[command(flatten)]
    pub(crate) place: PlaceFlags,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyFlags {
    /// Remove what is damaged, and what needs it: it will be made or fetched anew.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Of a repository fetch and hash all blobs, too; a directory is always read whole.
    #[arg(long)]
    pub(crate) read: bool,
    #[command(flatten)]
    pub(crate) form: FormFlags,
    #[command(flatten)]
    pub(crate) place: PlaceFlags,
}

#[derive(Debug, Args)]
pub(crate) struct StatsFlags {
    #[command(flatten)]
    pub(crate) form: FormFlags,
    #[command(flatten)]
    pub(crate) place: PlaceFlags,
}
