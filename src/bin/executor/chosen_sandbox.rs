//! How and where the RUN steps of this command line run.

use std::path::{Path, PathBuf};

use yadokari::build::SandboxChoice;
use yadokari::report::Observer;
use yadokari::sandbox::{self, Cancel, IgnoreList, InPlaceSandbox, Kind, OverlaySandbox, Probe, Sandbox, ignore_list};

use crate::command_line::settings::env;
use crate::failure::Failure;
use crate::flags::CommandLine;
use crate::signals::Running;
use crate::workplace::{executor_directory, has_cache_directory, kaniko_dir};
use crate::{hide, settings};

/// Asks for a sandbox. Where there is no way, a build without RUN still works: the reason
/// comes with the first RUN.
pub(crate) fn probe(line: &CommandLine) -> Probe {
    let requested = settings::sandbox(line.build.sandbox);
    match sandbox::probe(requested, true, line.build.force) {
        Ok(probe) => probe,
        Err(error) => Probe { kind: Kind::None, reason: error.to_string() },
    }
}

/// Chooses how RUN steps run, and goes where they can.
pub(crate) fn choose_sandbox(line: &CommandLine) -> Result<Probe, Failure> {
    let probe = probe(line);
    if probe.kind == Kind::UserNamespace {
        sandbox::enter_user_namespace()?;
    }
    Ok(probe)
}

/// The sandbox, which a signal stops.
pub(crate) fn sandbox_choice(
    line: &CommandLine,
    (probe, running): (Probe, &Running),
    holds_overlay: bool,
    observer: &dyn Observer,
) -> Result<SandboxChoice, Failure> {
    // By this name it is this program, whatever a step does to the file.
    let executable = PathBuf::from("/proc/self/exe");
    let ignore = match probe.kind {
        Kind::InPlace => ignored(line)?,
        _ => IgnoreList::default(),
    };
    let (sandbox, cancel): (Box<dyn Sandbox>, Cancel) = match probe.kind {
        Kind::InPlace => {
            let sandbox = InPlaceSandbox::new(executable, hide::decide(line, &ignore, &env, observer)?);
            let cancel = sandbox.cancel();
            (Box::new(sandbox), cancel)
        }
        Kind::Overlay | Kind::UserNamespace | Kind::None => {
            let sandbox = OverlaySandbox::new(executable);
            let cancel = sandbox.cancel();
            (Box::new(sandbox), cancel)
        }
    };
    // There is one sandbox in a build.
    let _ = running.set(cancel.clone());
    Ok(SandboxChoice { probe, holds_overlay, sandbox, cancel, ignore })
}

/// What stages leave alone in place.
pub(crate) fn ignored(line: &CommandLine) -> Result<IgnoreList, Failure> {
    let extra = line.build.ignore_path.iter().map(|path| Path::new("/").join(path));
    let cache = has_cache_directory(line).then(|| std::path::absolute(&line.cache.cache_dir)).transpose()?;
    let extra: Vec<_> = extra.chain(kaniko_dir(line)).chain(cache).collect();
    Ok(ignore_list(&executor_directory()?, line.build.ignore_var_run, &extra)?)
}
