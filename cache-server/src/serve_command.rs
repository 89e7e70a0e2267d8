//! `cache-server serve`: puts the server together, and takes it down in good order.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::access::Access;
use crate::access_log::{AccessLog, LogLevel};
use crate::configuration::{Configuration, StoragePlace};
use crate::eviction::Policy;
use crate::flags::ServeFlags;
use crate::leases::Leases;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::mirror::Mirrors;
use crate::routes::Registry;
use crate::storage::Storage;
use crate::telemetry::Tracer;
use crate::watched::Reload;
use crate::{FAILURE, background, say, server};

/// More than one, so that requests do not wait for a thread that the system has put aside.
const WORKERS_PER_CORE: usize = 2;
/// Each keeps some memory of its own, and the disk does not get faster by more.
const BLOCKING_THREADS: usize = 64;

/// Serves until a signal says otherwise.
///
/// # Errors
/// When the configuration cannot be used, or the server cannot start with it.
pub(crate) fn run(flags: ServeFlags) -> Result<(), Box<dyn Error>> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from) * WORKERS_PER_CORE;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().worker_threads(workers).max_blocking_threads(BLOCKING_THREADS);
    runtime.build()?.block_on(serve(flags))
}

async fn serve(flags: ServeFlags) -> Result<(), Box<dyn Error>> {
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
    let mut watched = access.watched();
    watched.extend(tls.iter().map(|tls| Arc::clone(tls) as Arc<dyn Reload>));
    // After listening, for it may take long.
    let background = background::start(&storage, (watched, &access, hangup), log);
    let metrics = Arc::new(Metrics::new());
    let tracer = configuration.telemetry.map(|collector| Tracer::start(collector, metrics.lost_spans()).map(Arc::new));
    let tracer = tracer.transpose()?;
    let lifecycle = Lifecycle::default();
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
    let stop = stop_at_signal(signals, lifecycle, configuration.shutdown_delay, log);
    let finished = server::serve(listener, tls, registry, configuration.limits, stop).await;
    drop(background);
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

/// Every connection takes a descriptor or two, and the usual limit is 1024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Without it there are fewer connections, and accepting says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Watches for signals from now on; over when the server is to stop: `delay` after the first one.
fn stop_at_signal(
    signals: (Signal, Signal),
    lifecycle: Lifecycle,
    delay: Duration,
    log: AccessLog,
) -> impl Future<Output = ()> {
    let (stop, stopping) = oneshot::channel();
    tokio::spawn(watch_signals(signals, Departure { lifecycle, delay, log, stop }));
    async { drop(stopping.await) }
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
