//! `cache-server`: an OCI registry that shares layers and step records among runners.

mod access;
mod access_log;
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
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use access::Access;
use access_log::{AccessLog, LogLevel};
use configuration::{Configuration, ConfigurationError, StoragePlace};
use eviction::Policy;
use flags::{Command, Flags, ServeFlags};
use leases::Leases;
use lifecycle::Lifecycle;
use metrics::Metrics;
use mirror::Mirrors;
use routes::Registry;
use server::ListenError;
use storage::{Collected, Storage, StorageError};
use telemetry::Tracer;
use watched::Reload;
use yadokari::causes::chain;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FAILURE: u8 = 1;
const WRONG_USAGE: u8 = 2;
/// Upload sessions that nobody wrote to for so long are removed.
const STALE_UPLOAD_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// More than one, so that requests do not wait for a thread that the system has put aside.
const WORKERS_PER_CORE: usize = 2;
/// Each keeps some memory of its own, and the disk does not get faster by more.
const BLOCKING_THREADS: usize = 64;
/// How soon a changed certificate, user or token counts.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// How soon a replica sees what another one changed, when nobody asks it for that.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_INTERVAL: Duration = Duration::from_secs(5 * 60);

fn main() -> ExitCode {
    let result = match Flags::parse().command {
        Command::Serve(flags) => serve(*flags),
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

fn serve(flags: ServeFlags) -> Result<(), Box<dyn Error>> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from) * WORKERS_PER_CORE;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().worker_threads(workers).max_blocking_threads(BLOCKING_THREADS);
    runtime.build()?.block_on(run(flags))
}

async fn run(flags: ServeFlags) -> Result<(), Box<dyn Error>> {
    let (config, check_only) = (flags.config.clone(), flags.check_config);
    let configuration = Configuration::resolve(flags.into_settings(), config.as_deref()).await?;
    let log = configuration.log;
    for warning in configuration.warnings() {
        log.event(LogLevel::Error, &format!("warning: {warning}"));
    }
    let access = Arc::new(Access::open(configuration.access)?);
    let tls = configuration.tls.map(|files| files.watch().map(Arc::new)).transpose()?;
    let mirrors = Arc::new(Mirrors::new(&configuration.mirrors)?);
    if check_only {
        return Ok(say("the configuration is valid")?);
    }
    raise_file_limit();
    let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    let listener = server::listen(configuration.listen).await?;
    let storage = open(configuration.place, configuration.redirect, configuration.policy).await?;
    if let Some(recovery) = storage.recovery() {
        log.event(LogLevel::Error, &format!("warning: {recovery}"));
    }
    say(&format!("listening on {}://{}", configuration.address.scheme, listener.local_addr()?))?;
    // After listening, for it may take long.
    let sweeper = tokio::spawn(sweep(Arc::clone(&storage), log));
    let follower = tokio::spawn(follow(Arc::clone(&storage), log));
    let mut watched = access.watched();
    watched.extend(tls.iter().map(|tls| Arc::clone(tls) as Arc<dyn Reload>));
    let reloader = tokio::spawn(reload(watched, Arc::clone(&access), hangup, log));
    let lifecycle = Lifecycle::default();
    let metrics = Arc::new(Metrics::new());
    let tracer = configuration.telemetry.map(|settings| Tracer::start(settings, metrics.lost_spans()).map(Arc::new));
    let tracer = tracer.transpose()?;
    let registry = Registry {
        storage,
        leases: Arc::new(Leases::new()),
        mirrors,
        access,
        metrics,
        tracer: tracer.clone(),
        activity: Arc::default(),
        demand: Arc::default(),
        lifecycle: lifecycle.clone(),
        address: Arc::new(configuration.address),
        log,
    };
    let (stop, stopping) = oneshot::channel();
    tokio::spawn(watch_signals(signals, Departure { lifecycle, delay: configuration.shutdown_delay, log, stop }));
    let stopped = async { drop(stopping.await) };
    let finished = server::serve(listener, tls, registry, configuration.limits, stopped).await;
    sweeper.abort();
    follower.abort();
    reloader.abort();
    if let Some(tracer) = tracer {
        spawn_blocking(move || tracer.stop()).await?;
    }
    if !finished {
        log.event(LogLevel::Error, "stopped with requests still running");
    }
    Ok(())
}

/// Opening blocks, and with a store may take long.
async fn open(place: StoragePlace, redirect: bool, policy: Policy) -> Result<Arc<Storage>, Box<dyn Error>> {
    let opened = spawn_blocking(move || match place {
        StoragePlace::Directory(path) => Storage::open(&path, policy),
        StoragePlace::Store(address, copy) => {
            let storage = Storage::open_store(&address, copy.as_deref(), policy)?;
            if redirect { storage.redirecting() } else { Ok(storage) }
        }
    });
    Ok(Arc::new(opened.await??))
}

/// Learns every second what other replicas did.
async fn follow(storage: Arc<Storage>, log: AccessLog) {
    if !storage.has_replicas() {
        return;
    }
    let mut interval = tokio::time::interval(FOLLOW_INTERVAL);
    loop {
        interval.tick().await;
        let storage = Arc::clone(&storage);
        match spawn_blocking(move || storage.follow()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log.event(LogLevel::Error, &chain(&error)),
            Err(error) => log.event(LogLevel::Error, &chain(&error)),
        }
    }
}

/// How the server goes.
struct Departure {
    lifecycle: Lifecycle,
    /// Between the first signal and the last connection accepted.
    delay: Duration,
    log: AccessLog,
    stop: oneshot::Sender<()>,
}

/// Stops the server in good order at the first signal, and ends the process at the second.
async fn watch_signals((mut terminate, mut interrupt): (Signal, Signal), departure: Departure) {
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let Departure { lifecycle, delay, log, stop } = departure;
    signalled().await;
    lifecycle.stop();
    log.event(LogLevel::Info, "stopping: finishing running requests");
    tokio::select! {
        () = tokio::time::sleep(delay) => {
            drop(stop);
            signalled().await;
        }
        () = signalled() => {}
    }
    log.event(LogLevel::Error, "stopped at once by a second signal");
    std::process::exit(i32::from(FAILURE));
}

/// Reads changed files again, every few seconds and at SIGHUP.
async fn reload(files: Vec<Arc<dyn Reload>>, access: Arc<Access>, mut hangup: Signal, log: AccessLog) {
    let mut interval = tokio::time::interval(RELOAD_INTERVAL);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            _ = hangup.recv() => {}
        }
        let files = files.clone();
        let looked = spawn_blocking(move || files.iter().map(|file| file.reload()).collect::<Vec<_>>()).await;
        for result in looked.unwrap_or_default() {
            match result {
                Ok(false) => {}
                Ok(true) => {
                    access.forget();
                    log.event(LogLevel::Info, "read changed files again");
                }
                Err(error) => {
                    let reason = chain(error.as_ref());
                    log.event(LogLevel::Error, &format!("a changed file is not used: {reason}"));
                }
            }
        }
    }
}

/// Every connection takes a descriptor or two, and the usual limit is 1024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Without it there are fewer connections, and accepting says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
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
            Ok(Err(error)) => log.event(LogLevel::Error, &chain(&error)),
            Err(error) => log.event(LogLevel::Error, &chain(&error)),
        }
    }
}

/// A line on standard output, at once.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
