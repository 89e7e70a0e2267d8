//! `warmer`: fetches base images into a cache directory, from which the executor takes them.

// The one place that talks to the user outside of the displays.
#![allow(clippy::print_stderr)]

mod blobs;
#[path = "../../src/bin/command_line/mod.rs"]
mod command_line;
mod contents;
mod daemon;
mod extraction;
mod failure;
mod flags;
mod hot;
mod images;
#[cfg(test)]
mod kaniko_flags;
mod metrics;
mod prune;
mod round;
mod server;
mod session;
mod stop;
mod warm;

use std::process::ExitCode;

use clap::FromArgMatches;

use failure::Failure;
use flags::{Command, CommandLine};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn run(line: &CommandLine) -> Result<(), Failure> {
    match &line.command {
        None => session::run(line),
        Some(Command::Man { directory }) => {
            let written = std::fs::create_dir_all(directory);
            let written = written.and_then(|()| clap_mangen::generate_to(flags::command(), directory));
            written.map_err(|source| Failure::Manual { directory: directory.clone(), source })
        }
        Some(Command::Completion { shell }) => {
            clap_complete::generate(*shell, &mut flags::command(), "warmer", &mut std::io::stdout());
            Ok(())
        }
    }
}

fn main() -> ExitCode {
    command_line::memory::return_freed();
    let matches = flags::command().get_matches();
    let line = match CommandLine::from_arg_matches(&matches) {
        Ok(line) => line.without_empty(),
        Err(error) => error.exit(),
    };
    match run(&line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
