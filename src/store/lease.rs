use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};

use super::holder::{HEARTBEAT, Holder};
use super::layout::{Layout, read_small};
use super::{Durability, Store, StoreError};
use crate::key::CacheKey;

/// Between two looks at somebody else's lease.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A file in `leases/` that says who does what, kept fresh by a thread; gone when dropped.
///
/// It is advice, not a lock: it is made with a link that fails when the name is taken, which holds
/// on network file systems where `flock` may not, and whoever takes the lease of somebody who is
/// thought dead may be wrong. What leases guard must be right without them.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    holder: Holder,
    stop: Option<Sender<()>>,
    heart: Option<JoinHandle<()>>,
}

/// What became of asking for a lease.
#[derive(Debug)]
pub enum Turn {
    /// Nobody has it but the caller.
    Mine(Lease),
    /// Somebody had it and is done: what the caller wants may be there now.
    Over,
    /// Somebody who is alive has it still.
    Taken(Option<Holder>),
    /// There is no lease to be had: go on without.
    Without,
}

/// What is known of a lease file.
enum Found {
    Nothing,
    Alive(Option<Holder>),
    Dead,
}

impl Store {
    /// Asks to be the one that makes the result of `key` on this directory. While another process
    /// that is alive does it, waits for at most `patience`.
    ///
    /// There are no leases for a store that nobody shares or that cannot be written.
    pub fn turn(&self, key: &CacheKey, patience: Duration) -> Turn {
        if !self.writable || self.layout.durability == Durability::None {
            return Turn::Without;
        }
        let name = format!("step-{key}");
        let deadline = Instant::now() + patience;
        let mut waited = false;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.layout.try_lease(&name) {
                Ok(Some(lease)) => return Turn::Mine(lease),
                Ok(None) => {}
                Err(_) => return Turn::Without,
            }
            match self.layout.find_lease(&name) {
                Found::Nothing if waited => return Turn::Over,
                Found::Nothing => continue,
                Found::Dead => self.layout.break_lease(&name),
                Found::Alive(holder) => {
                    if Instant::now() >= deadline {
                        return Turn::Taken(holder);
                    }
                    waited = true;
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

impl Layout {
    pub(super) fn leases(&self) -> PathBuf {
        self.directory.join("leases")
    }

    /// The time by the clock that stamps the files here: on a network file system the server's.
    pub(super) fn now(&self) -> Result<SystemTime, StoreError> {
        let file = self.temporary_file("a time")?;
        file.as_file().metadata().and_then(|m| m.modified()).map_err(StoreError::io("read", file.path()))
    }

    /// The lease `name`, unless somebody has it.
    pub(super) fn try_lease(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        let path = self.leases().join(name);
        if path.exists() {
            return Ok(None);
        }
        let holder = Holder::this_process(self.now()?);
        let mut file = self.temporary_file("a lease")?;
        file.write_all(&holder.to_bytes()).map_err(StoreError::write("a lease", &path))?;
        match file.persist_noclobber(&path) {
            Ok(file) => Ok(Some(Lease::start(path, holder, file))),
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(StoreError::write("a lease", &path)(e.error)),
        }
    }

    fn find_lease(&self, name: &str) -> Found {
        match self.look_at(&self.leases().join(name)) {
            None => Found::Nothing,
            Some((_, true)) => Found::Dead,
            Some((holder, false)) => Found::Alive(holder),
        }
    }

    /// Who has the lease, when that can be read, and whether it is gone; `None` without a lease.
    fn look_at(&self, path: &Path) -> Option<(Option<Holder>, bool)> {
        let beaten = fs::metadata(path).and_then(|m| m.modified()).ok()?;
        let holder = Holder::from_bytes(&read_small(path, 4096).ok()??);
        let now = self.now().unwrap_or_else(|_| SystemTime::now());
        let silent_for = now.duration_since(beaten).unwrap_or_default();
        let gone = holder.as_ref().map_or(silent_for > super::holder::SILENCE, |holder| holder.is_gone(silent_for));
        Some((holder, gone))
    }

    /// Puts a dead lease aside. Of several that try, one wins; a live lease that came in between
    /// is put back.
    fn break_lease(&self, name: &str) {
        let path = self.leases().join(name);
        let Ok(aside) = self.temporary_directory("a dead lease") else { return };
        let moved = aside.join("lease");
        if fs::rename(&path, &moved).is_ok() && matches!(self.look_at(&moved), Some((_, false))) {
            let _ = fs::hard_link(&moved, &path);
        }
        super::layout::remove(&aside);
    }

    /// The living holders of leases whose names begin with `prefix`. Dead ones are removed.
    pub(super) fn holders(&self, prefix: &str) -> Vec<Holder> {
        let mut holders = Vec::new();
        for entry in fs::read_dir(self.leases()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with(prefix) {
                continue;
            }
            match self.find_lease(&name) {
                Found::Alive(holder) => holders.extend(holder),
                Found::Dead => self.break_lease(&name),
                Found::Nothing => {}
            }
        }
        holders
    }
}

impl Lease {
    fn start(path: PathBuf, holder: Holder, file: File) -> Self {
        let (stop, stopped) = channel::<()>();
        let beat = move || {
            while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                let _ = touch(&file);
            }
        };
        let heart = std::thread::Builder::new().name("lease".into()).spawn(beat).ok();
        Self { path, holder, stop: Some(stop), heart }
    }

    /// Who holds it: this process.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(heart) = self.heart.take() {
            let _ = heart.join();
        }
        // It may have been taken for dead: another's lease stays.
        let bytes = read_small(&self.path, 4096).ok().flatten();
        if bytes.and_then(|bytes| Holder::from_bytes(&bytes)).is_some_and(|holder| holder == self.holder) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Gives a file the time of now, by the clock of its file system.
pub(super) fn touch(file: impl rustix::fd::AsFd) -> io::Result<()> {
    Ok(futimens(file, &now_times())?)
}

/// The last modification is now; the last access stays.
pub(super) fn now_times() -> Timestamps {
    let special = |nanoseconds| Timespec { tv_sec: 0, tv_nsec: nanoseconds };
    Timestamps { last_access: special(UTIME_OMIT), last_modification: special(UTIME_NOW) }
}
