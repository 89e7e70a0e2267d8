//! `cache-server`: an OCI registry that shares layers and step records among runners.

mod access_log;
mod document;
mod error;
mod eviction;
mod flags;
mod hasher;
mod leases;
mod maintenance;
mod mirror;
mod name;
mod range;
mod records;
mod routes;
mod server;
mod storage;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use access_log::{AccessLog, LogLevel};
use error::with_causes;
use flags::{Command, Flags, ServeFlags};
use mirror::Mirrors;
use routes::Registry;
use server::ListenError;
use storage::{Collected, Storage, StorageError};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FAILURE: u8 = 1;
const WRONG_USAGE: u8 = 2;
/// Upload sessions that nobody wrote to for so long are removed.
const STALE_UPLOAD_AGE: Duration = Duration::from_secs(24 * 60 * 60);
const SWEEP_INTERVAL: Duration = Duration::from_secs(5 * 60);

fn main() -> ExitCode {
    let result = match Flags::parse().command {
        Command::Serve(flags) => serve(&flags),
        Command::Gc(flags) => maintenance::collect(&flags),
        Command::Stats(flags) => maintenance::stats(&flags),
        Command::Verify(flags) => maintenance::verify(&flags),
        Command::Version => say(concat!("cache-server ", env!("CARGO_PKG_VERSION"))).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere left to complain to.
            let _ = writeln!(io::stderr(), "cache-server: error: {}", with_causes(error.as_ref()));
            ExitCode::from(exit_code(error.as_ref()))
        }
    }
}

fn exit_code(error: &(dyn Error + 'static)) -> u8 {
    match error.downcast_ref::<ListenError>() {
        Some(ListenError::Exposed(_) | ListenError::Address { .. }) => WRONG_USAGE,
        _ => FAILURE,
    }
}

#[tokio::main]
async fn serve(flags: &ServeFlags) -> Result<(), Box<dyn Error>> {
    let log = AccessLog::new(flags.log_level());
    let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = server::listen(&flags.listen, flags.allow_anonymous).await?;
    let mirrors = Arc::new(Mirrors::new(&flags.mirrors)?);
    let storage = Arc::new(Storage::open(&flags.data, flags.policy.clone())?);
    say(&format!("listening on http://{}", listener.local_addr()?))?;
    // After listening, for it may take long.
    let sweeper = tokio::spawn(sweep(Arc::clone(&storage), log));
    let router = Registry::new(storage, mirrors, log).into_router();
    let (stop, stopping) = oneshot::channel();
    tokio::spawn(watch_signals(signals, log, stop));
    let finished = server::serve(listener, router, log, async { drop(stopping.await) }).await;
    sweeper.abort();
    if !finished {
        log.event(LogLevel::Error, "stopped with requests still running");
    }
    Ok(())
}

/// Stops the server in good order at the first signal, and ends the process at the second.
async fn watch_signals((mut terminate, mut interrupt): (Signal, Signal), log: AccessLog, stop: oneshot::Sender<()>) {
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    signalled().await;
    log.event(LogLevel::Info, "stopping: finishing running requests");
    drop(stop);
    signalled().await;
    log.event(LogLevel::Error, "stopped at once by a second signal");
    std::process::exit(i32::from(FAILURE));
}

/// Removes stale uploads and what is no longer wanted, now and every few minutes.
async fn sweep(storage: Arc<Storage>, log: AccessLog) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        interval.tick().await;
        let storage = Arc::clone(&storage);
        let swept = spawn_blocking(move || {
            let uploads = storage.remove_stale_uploads(STALE_UPLOAD_AGE)?;
            Ok::<_, StorageError>((uploads, storage.collect()?))
        });
        match swept.await {
            Ok(Ok((uploads, collected))) => {
                if uploads > 0 {
                    log.event(LogLevel::Info, &format!("removed {uploads} stale upload sessions"));
                }
                if collected != Collected::default() {
                    log.event(LogLevel::Info, &maintenance::summary(&collected));
                }
            }
            Ok(Err(error)) => log.event(LogLevel::Error, &with_causes(&error)),
            Err(error) => log.event(LogLevel::Error, &with_causes(&error)),
        }
    }
}

/// A line on standard output, at once.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
