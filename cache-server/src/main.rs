//! `cache-server`: an OCI registry that shares layers and step records among runners.

mod access;
mod access_log;
mod background;
mod configuration;
mod dashboard;
mod demand;
mod document;
mod error;
mod eviction;
mod exchange;
#[cfg(test)]
#[path = "../../src/bin/command_line/flag_page.rs"]
mod flag_page;
mod flags;
mod handover;
mod hasher;
mod leases;
mod lifecycle;
mod maintenance;
mod metrics;
mod mirror;
mod name;
mod patient;
mod range;
mod records;
mod routes;
mod serve_command;
mod server;
mod storage;
mod telemetry;
mod tls;
mod token_command;
mod watched;

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use configuration::ConfigurationError;
use flags::{Command, Flags};
use server::ListenError;
use storage::Storage;
use yadokari::causes::chain;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FAILURE: u8 = 1;
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let result = match Flags::parse().command {
        Command::Serve(flags) => serve_command::run(*flags),
        Command::Export(flags) => maintenance::export(&flags),
        Command::Import(flags) => maintenance::import(&flags),
        Command::Gc(flags) => maintenance::collect(&flags),
        Command::Stats(flags) => maintenance::stats(&flags),
        Command::Verify(flags) => maintenance::verify(&flags),
        Command::Rebuild(flags) => maintenance::rebuild(&flags),
        Command::ProbeIndex { path } => return probe_index(&path),
        Command::Token(flags) => token_command::run(&flags),
        Command::Man { directory } => man(&directory).map_err(Into::into),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Flags::command(), "cache-server", &mut io::stdout());
            Ok(())
        }
        Command::Version => say(concat!("cache-server ", env!("CARGO_PKG_VERSION"))).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere left to complain to.
            let _ = writeln!(io::stderr(), "cache-server: error: {}", chain(error.as_ref()));
            ExitCode::from(exit_code(error.as_ref()))
        }
    }
}

/// For another process of this program, which would not survive what an index may do to it.
fn probe_index(path: &Path) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload().downcast_ref::<String>().map_or("it cannot be opened", String::as_str);
        // Nowhere left to complain to.
        let _ = writeln!(io::stderr(), "{text}");
    }));
    match Storage::probe(path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere left to complain to.
            let _ = writeln!(io::stderr(), "{}", chain(&error));
            ExitCode::from(storage::DAMAGED)
        }
    }
}

fn man(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Flags::command(), directory)
}

fn exit_code(error: &(dyn Error + 'static)) -> u8 {
    match error.downcast_ref::<ConfigurationError>() {
        Some(ConfigurationError::Listen(ListenError::Bind { .. })) | None => FAILURE,
        Some(_) => WRONG_USAGE,
    }
}

/// A line on standard output, at once.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
