//! `executor`: builds a Dockerfile inside an ordinary container and pushes the image.

// The one place that talks to the user outside of a build.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../command_line/mod.rs"]
mod command_line;

mod attestations;
mod cache;
mod cache_server;
mod check;
mod chosen_sandbox;
mod contexts;
mod doctor;
mod dry_run;
mod failure;
mod flags;
mod habits;
mod hide;
#[cfg(test)]
mod kaniko_flags;
mod kept_credentials;
mod key_pair;
mod keys;
mod login;
mod metadata;
mod named;
mod observing;
mod preserve;
mod push;
mod remote_caches;
mod session;
mod settings;
mod shelter;
mod signals;
mod ssh;
mod telemetry;
mod verify;
mod whole;
mod without_effect;
mod workplace;

use std::process::ExitCode;

use clap::FromArgMatches;

use command_line::flags::LogFormat;
use failure::Failure;
use flags::{Command, CommandLine, OnFailure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The same program, started by itself to run one step: never returns then.
    yadokari::sandbox::run_if_child();
    command_line::memory::return_freed();
    let line = flags::command().try_get_matches().and_then(|matches| CommandLine::from_arg_matches(&matches));
    let line = match line {
        Ok(line) => line,
        Err(error) => habits::with_tip(error).exit(),
    };
    match run(line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// A live display would draw over a shell.
fn with_shell(mut line: CommandLine) -> CommandLine {
    if line.build.on_failure == OnFailure::Shell && line.log.log_format == LogFormat::Color {
        line.log.log_format = LogFormat::Text;
    }
    line
}

fn run(line: CommandLine) -> Result<(), Failure> {
    let line = settings::with_bucket(settings::without_empty(line));
    match line.command {
        Some(Command::Doctor(flags)) => doctor::run(*flags)?,
        Some(Command::Version) => println!("Kaniko version :  yadokari {}", env!("CARGO_PKG_VERSION")),
        Some(Command::Completion { shell }) => {
            clap_complete::generate(shell, &mut flags::command(), "executor", &mut std::io::stdout());
        }
        Some(Command::Man { directory }) => {
            let written = std::fs::create_dir_all(&directory);
            let written = written.and_then(|()| clap_mangen::generate_to(flags::command(), &directory));
            written.map_err(|source| Failure::Manual { directory, source })?;
        }
        Some(Command::Login(flags)) => eprintln!("login kept in {}", login::run(&flags)?.display()),
        Some(Command::Push(flags)) => push::run(&flags)?,
        Some(Command::Verify(flags)) => verify::run(&flags)?,
        Some(Command::GenerateKeyPair(flags)) => key_pair::run(&flags)?,
        Some(Command::Cache(command)) => cache::run(&command)?,
        None if line.build.check => check::run(&line)?,
        None => session::build(&with_shell(line))?,
    }
    Ok(())
}
