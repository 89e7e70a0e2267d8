//! Which way of running steps works here.

use std::path::Path;

use rustix::mount::{FsOpenFlags, MountPropagationFlags, fsopen, mount_change};
use rustix::thread::UnshareFlags;

use super::child::Overlay;
use super::user_namespace::{cannot_map, in_user_namespace, may_mount};
use super::{SandboxError, container, system};

/// How steps are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In private namespaces on an overlay.
    Overlay,
    /// The same, inside a user namespace ([`super::enter_user_namespace`]).
    UserNamespace,
    /// On the executor's own root.
    InPlace,
    /// Not at all.
    None,
}

impl Kind {
    /// As `--sandbox` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::UserNamespace => "userns",
            Self::InPlace => "in-place",
            Self::None => "none",
        }
    }
}

/// What the user asked for (`--sandbox`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Requested {
    /// The best that works.
    #[default]
    Auto,
    /// [`Kind::Overlay`] or an error.
    Overlay,
    /// [`Kind::UserNamespace`] or an error.
    Userns,
    /// [`Kind::InPlace`] or an error.
    InPlace,
    /// [`Kind::None`]; an error when a step must run.
    None,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// How steps will be run.
    pub kind: Kind,
    /// One sentence: what was chosen and why, and what would be faster.
    pub reason: String,
}

/// Chooses how to run steps. `needs_run`: there may be steps; `force`: in place even where
/// nothing shows that this is a container.
///
/// # Errors
/// [`SandboxError::Unavailable`]: what was requested does not work here, or nothing does; says why.
pub fn probe(requested: Requested, needs_run: bool, force: bool) -> Result<Probe, SandboxError> {
    if !needs_run {
        return Ok(chosen(Kind::None, "sandbox none: no step runs a process".into()));
    }
    let attempt = |result: Result<Probe, String>| result.map_err(SandboxError::Unavailable);
    match requested {
        Requested::Auto => attempt(best(force)),
        Requested::Overlay => attempt(overlay()),
        Requested::Userns => attempt(user_namespace()),
        Requested::InPlace => attempt(in_place(force)),
        Requested::None => attempt(Err("--sandbox=none, but the Dockerfile has RUN steps that must run".into())),
    }
}

/// What each way of running steps says for itself: that it works, or why it does not.
pub fn attempts(force: bool) -> [(Kind, Result<(), String>); 3] {
    let works = |result: Result<Probe, String>| result.map(drop);
    [
        (Kind::Overlay, works(overlay())),
        (Kind::UserNamespace, works(user_namespace())),
        (Kind::InPlace, works(in_place(force))),
    ]
}

fn chosen(kind: Kind, reason: String) -> Probe {
    Probe { kind, reason }
}

fn best(force: bool) -> Result<Probe, String> {
    let overlay = match overlay() {
        Ok(probe) => return Ok(probe),
        Err(why) => why,
    };
    let user_namespace = match user_namespace() {
        Ok(probe) => return Ok(Probe { reason: format!("{}; no plain overlay: {overlay}", probe.reason), ..probe }),
        Err(why) => why,
    };
    let why_not = format!("no overlay: {overlay}; no user namespace: {user_namespace}");
    match in_place(force) {
        Ok(probe) => {
            Ok(Probe { reason: format!("{}; faster would be an overlay, but: {why_not}", probe.reason), ..probe })
        }
        Err(why) => Err(format!("{why_not}; not in place: {why}")),
    }
}

fn overlay() -> Result<Probe, String> {
    if in_user_namespace() {
        return Err("this is a user namespace".into());
    }
    mounting()?;
    Ok(chosen(Kind::Overlay, "sandbox overlay: CAP_SYS_ADMIN is there, and mounting works".into()))
}

fn user_namespace() -> Result<Probe, String> {
    if in_user_namespace() && may_mount() {
        mounting()?;
        return Ok(chosen(
            Kind::UserNamespace,
            "sandbox userns: this is a user namespace, and mounting works in it".into(),
        ));
    }
    if let Some(why) = cannot_map() {
        return Err(why.into());
    }
    let why = |errno| format!("making one fails ({})", std::io::Error::from(errno));
    system::try_user_namespace().map_err(why)?;
    Ok(chosen(Kind::UserNamespace, "sandbox userns: user namespaces may be made, and mounting works in them".into()))
}

fn in_place(force: bool) -> Result<Probe, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("that needs to run as root".into());
    }
    let evidence = match (container::evidence(), force) {
        (Some(evidence), _) => evidence,
        (None, true) => "--force is given".into(),
        (None, false) => {
            return Err("this does not look like a container, and its root would be overwritten (--force)".into());
        }
    };
    Ok(chosen(Kind::InPlace, format!("sandbox in-place: the container's own root is used, for {evidence}")))
}

/// Tries to mount, in a mount namespace that ends with the thread that is in it.
pub(super) fn mounting() -> Result<(), String> {
    if !may_mount() {
        return Err("CAP_SYS_ADMIN is missing".into());
    }
    let opened = in_own_namespace(|| {
        fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| refused("opening the overlay file system", errno))
    })?;
    // The kernel takes milliseconds to close it.
    std::thread::spawn(|| drop(opened));
    Ok(())
}

fn refused(what: &str, errno: rustix::io::Errno) -> String {
    format!("{what} is refused ({})", std::io::Error::from(errno))
}

fn in_own_namespace<T: Send>(attempt: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let thread = || {
        // Current directory and root are per thread from here on.
        system::unshare(UnshareFlags::NEWNS).map_err(|errno| refused("a mount namespace", errno))?;
        mount_change("/", private).map_err(|errno| refused("changing a mount", errno))?;
        attempt()
    };
    let joined = std::thread::scope(|scope| scope.spawn(thread).join());
    joined.unwrap_or_else(|_| Err("the attempt ended in a panic".into()))
}

/// Whether an overlay can have its upper directory in `directory`: not every file system will
/// do, least of all another overlay, which a container's own root often is.
///
/// # Errors
/// [`SandboxError::Unavailable`] says why not; then steps can run on plain trees
/// ([`super::Root::Directory`]).
pub fn supports_overlay(directory: &Path) -> Result<(), SandboxError> {
    let made = tempfile::Builder::new().prefix(".yadokari-").tempdir_in(directory);
    let trial = made.map_err(SandboxError::setup(|| format!("make a directory in {}", directory.display())))?;
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| trial.path().join(name));
    for path in [&lower, &upper, &work] {
        std::fs::create_dir(path).map_err(SandboxError::setup(|| format!("make {}", path.display())))?;
    }
    let overlay = Overlay { lowers: &[lower], upper: &upper, work: &work, user_xattr: in_user_namespace() };
    let attempt = || overlay.mount(&work).map_err(|errno| refused("mounting an overlay", errno));
    let unusable = |why| SandboxError::Unavailable(format!("{} cannot hold an overlay: {why}", directory.display()));
    in_own_namespace(attempt).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_steps_nothing_is_needed() {
        for requested in [Requested::Auto, Requested::Overlay, Requested::InPlace, Requested::None] {
            assert_eq!(probe(requested, false, false).unwrap().kind, Kind::None);
        }
        assert!(probe(Requested::None, true, true).is_err());
    }

    #[test]
    fn what_is_chosen_works() {
        let directory = tempfile::tempdir().unwrap();
        let probed = probe(Requested::Auto, true, false).unwrap();
        match probed.kind {
            Kind::Overlay | Kind::UserNamespace => supports_overlay(directory.path()).unwrap(),
            kind => assert_eq!(kind, Kind::InPlace, "{}", probed.reason),
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the attempt leaves nothing");
    }

    #[test]
    fn a_directory_that_cannot_hold_an_overlay_is_named() {
        let error = supports_overlay(Path::new("/proc")).unwrap_err().to_string();
        assert!(error.contains("/proc"), "{error}");
    }
}
