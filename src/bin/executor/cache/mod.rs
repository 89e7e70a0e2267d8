//! `executor cache`: looks after the layer cache, in a directory or in a repository.

mod explain;
pub(crate) mod flags;
mod list;
mod place;
mod prune;
mod stats;
mod values;
mod verify;

use flags::CacheCommand;

use crate::failure::Failure;

/// Carries out one command.
pub(crate) fn run(command: &CacheCommand) -> Result<(), Failure> {
    match command {
        CacheCommand::Ls(flags) => list::list(flags),
        CacheCommand::Show(flags) => list::show(flags),
        CacheCommand::Explain(flags) => explain::explain(flags),
        CacheCommand::Prune(flags) => prune::prune(flags),
        CacheCommand::Verify(flags) => verify::verify(flags),
        CacheCommand::Stats(flags) => stats::stats(flags),
    }
}
