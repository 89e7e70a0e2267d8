//! What goes on beside the requests, from the start of the server to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::task::{JoinSet, spawn_blocking};

use crate::access::Access;
use crate::access_log::{AccessLog, LogLevel};
use crate::maintenance;
use crate::storage::{Collected, Storage, StorageError};
use crate::watched::Reload;
use yadokari::causes::chain;

/// Upload sessions that nobody wrote to for so long are removed.
const STALE_UPLOAD_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How soon a changed certificate, user or token counts.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// How soon a replica sees what another one changed, when nobody asks it for that.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Starts all of it; it ends when the set is dropped. `files` are read again when they change or at `hangup`, and
/// then `access` forgets what it concluded from them.
pub(crate) fn start(
    storage: &Arc<Storage>,
    (files, access, hangup): (Vec<Arc<dyn Reload>>, &Arc<Access>, Signal),
    log: AccessLog,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(sweep(Arc::clone(storage), log));
    tasks.spawn(follow(Arc::clone(storage), log));
    tasks.spawn(reload(files, Arc::clone(access), hangup, log));
    tasks
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
