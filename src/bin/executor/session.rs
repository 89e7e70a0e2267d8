//! One build: opens what it works with, runs it, cleans up.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use yadokari::build::{self, BuildRequest, SandboxChoice, Services};
use yadokari::cache::{LocalCache, RegistryCache, RegistryCacheOptions, TieredCache};
use yadokari::context::{self, ContextDirectory};
use yadokari::image::Reference;
use yadokari::registry::Client;
use yadokari::report::{Event, Observer};
use yadokari::sandbox::{
    self, Cancel, IgnoreList, InPlaceSandbox, Kind, OverlaySandbox, Probe, Sandbox, ignore_list, supports_overlay,
};
use yadokari::store::{Access, Durability, Store};

use crate::command_line::display;
use crate::command_line::failure::Source;
use crate::command_line::settings::{credentials, env};
use crate::failure::Failure;
use crate::flags::CommandLine;
use crate::{settings, ssh};

/// Carries out the command line.
pub(crate) fn build(line: &CommandLine) -> Result<(), Failure> {
    settings::check(line)?;
    // First of all, while there is one thread: it may start this program again inside a namespace.
    let probe = choose_sandbox(line)?;
    let observer = display::observer(&line.log, &env);
    let context_directory = context::find(&line.build.context)?;
    let (path, dockerfile) = settings::dockerfile(&line.build, &context_directory)?;
    let options = settings::plan_options(&line.build, &env)?;
    let platforms = settings::platforms(&line.build)?;
    let request = BuildRequest {
        index: settings::index(&options, &platforms)?,
        options,
        platforms,
        caching: settings::caching(&line.cache),
        reproducible: line.build.reproducible,
        secrets: settings::secrets(&line.build, &env)?,
        ssh: BTreeMap::new(),
        outputs: settings::outputs(&line.output)?,
        dockerfile,
    };
    let agents = ssh::requests(&line.build.ssh, &env)?;
    let context = context::open(&line.build.context, Some(&path))?;
    let workplace = Workplace::new(line, &probe)?;
    let agents = agents.start(workplace.work.path())?;
    let request = BuildRequest { ssh: agents.sockets.clone(), ..request };
    observer.event(Event::Debug(probe.reason.clone()));
    let source = || Source {
        name: request.dockerfile.name.clone(),
        text: String::from_utf8_lossy(&request.dockerfile.bytes).into_owned(),
    };
    run(line, &request, &context, &workplace, probe, &observer)?
        .map_err(|error| Failure::Build { error: Box::new(error), dockerfile: Box::new(source()) })
}

/// Chooses how RUN steps run. Where there is no way, a build without RUN still works: the reason
/// comes with the first RUN.
fn choose_sandbox(line: &CommandLine) -> Result<Probe, Failure> {
    let requested = settings::sandbox(line.build.sandbox);
    let probe = match sandbox::probe(requested, true, line.build.force) {
        Ok(probe) => probe,
        Err(error) => Probe { kind: Kind::None, reason: error.to_string() },
    };
    if probe.kind == Kind::UserNamespace {
        sandbox::enter_user_namespace()?;
    }
    Ok(probe)
}

/// Directories of this build.
struct Workplace {
    store: Arc<Store>,
    warm: Option<Store>,
    work: TempDir,
    /// Removed at the end; holds the store when there is no cache directory to write to.
    _state: TempDir,
}

impl Workplace {
    fn new(line: &CommandLine, probe: &Probe) -> Result<Self, Failure> {
        let parent = state_parent(probe)?;
        let state = tempfile::Builder::new().prefix("yadokari-").tempdir_in(&parent)?;
        let work = tempfile::Builder::new().prefix("work-").tempdir_in(state.path())?;
        let (store, warm) = match cache_directory(line)? {
            Some(shared) if line.cache.cache && shared.is_writable() => (shared, None),
            shared => (Store::open_with(&state.path().join("store"), Access::ReadWrite, Durability::None)?, shared),
        };
        Ok(Self { store: Arc::new(store), warm, work, _state: state })
    }
}

/// The cache directory: made when caching is on and it was asked for by name, else used when it
/// is there.
fn cache_directory(line: &CommandLine) -> Result<Option<Store>, Failure> {
    let directory = &line.cache.cache_dir;
    let asked_for = directory != Path::new("/cache");
    let is_wanted = directory.is_dir() || (line.cache.cache && asked_for);
    if !is_wanted {
        return Ok(None);
    }
    let access = match (line.cache.cache, directory.is_dir()) {
        (true, true) => Access::Auto,
        (true, false) => Access::ReadWrite,
        (false, _) => Access::ReadOnly,
    };
    Ok(Some(Store::open(directory, access)?))
}

/// Where throw-away files go. In place, only the executor's own directory outlives a stage; an
/// overlay needs a file system that can hold its upper directory.
fn state_parent(probe: &Probe) -> Result<PathBuf, Failure> {
    if probe.kind == Kind::InPlace {
        return Ok(executor_directory()?);
    }
    let candidates = [std::env::temp_dir(), PathBuf::from("/var/tmp"), PathBuf::from("/dev/shm")];
    let fits = |directory: &PathBuf| probe.kind == Kind::None || supports_overlay(directory).is_ok();
    Ok(candidates.iter().find(|directory| fits(directory)).unwrap_or(&candidates[0]).clone())
}

fn executor_directory() -> Result<PathBuf, std::io::Error> {
    let executable = std::env::current_exe()?;
    Ok(executable.parent().unwrap_or(Path::new("/")).to_owned())
}

fn run(
    line: &CommandLine,
    request: &BuildRequest,
    context: &ContextDirectory,
    workplace: &Workplace,
    probe: Probe,
    observer: &Arc<dyn Observer>,
) -> Result<Result<(), build::BuildError>, Failure> {
    let credentials = credentials(&env)?;
    let client = Client::new(settings::client_options(&line.registry, &env)?, credentials)?;
    let sandbox = sandbox_choice(probe)?;
    let repositories: Vec<Reference> = settings::cache_repository(line)?.into_iter().collect();
    let cache = line.cache.cache.then(|| layer_cache(line, &client, workplace, &repositories, observer));
    let git_environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let services = Services {
        registry: &client,
        store: &workplace.store,
        warm: workplace.warm.as_ref(),
        warm_ttl: line.cache.cache_ttl.0,
        cache: cache.as_ref(),
        cache_repositories: &repositories,
        context,
        sandbox: &sandbox,
        http: &http_agent(),
        git_environment: &git_environment,
        work: workplace.work.path(),
        observer: observer.as_ref(),
    };
    let result = build::build(request, &services).map(drop);
    if let Some(cache) = &cache {
        cache.finish();
    }
    Ok(result)
}

/// For ADD of URLs: certificates of the system, proxies of the environment.
fn http_agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_connect(Some(Duration::from_secs(10))).build().new_agent()
}

fn layer_cache(
    line: &CommandLine,
    client: &Client,
    workplace: &Workplace,
    repositories: &[Reference],
    observer: &Arc<dyn Observer>,
) -> TieredCache {
    let ttl = Some(line.cache.cache_ttl.0);
    let local = LocalCache::new(Arc::clone(&workplace.store), ttl, Arc::clone(observer));
    let mut cache = TieredCache::new(local, Arc::clone(observer));
    for repository in repositories {
        let options = RegistryCacheOptions { ttl, ..RegistryCacheOptions::default() };
        let store = Arc::clone(&workplace.store);
        let remote = RegistryCache::new(client.clone(), repository.clone(), store, options, Arc::clone(observer));
        cache = cache.with_remote(Arc::new(remote), !line.cache.no_push_cache);
    }
    cache
}

/// The sandbox, ended by SIGINT and SIGTERM.
fn sandbox_choice(probe: Probe) -> Result<SandboxChoice, Failure> {
    let executable = std::env::current_exe()?;
    let (sandbox, cancel): (Box<dyn Sandbox>, Cancel) = match probe.kind {
        Kind::InPlace => {
            let sandbox = InPlaceSandbox::new(executable)?;
            let cancel = sandbox.cancel();
            (Box::new(sandbox), cancel)
        }
        Kind::Overlay | Kind::UserNamespace | Kind::None => {
            let sandbox = OverlaySandbox::new(executable);
            let cancel = sandbox.cancel();
            (Box::new(sandbox), cancel)
        }
    };
    let ignore = match probe.kind {
        Kind::InPlace => ignore_list(&executor_directory()?, true, &[])?,
        _ => IgnoreList::default(),
    };
    end_on_signal(cancel);
    Ok(SandboxChoice { probe, sandbox, ignore })
}

/// A signal ends the running step, which fails the build and cleans up; a build that is busy with
/// something else gets a moment, then ends all the same.
fn end_on_signal(cancel: Cancel) {
    const MOMENT: Duration = Duration::from_secs(5);
    const INTERRUPTED: i32 = 130;
    let handler = move || {
        cancel.cancel();
        std::thread::sleep(MOMENT);
        std::process::exit(INTERRUPTED);
    };
    // Fails only when a handler is set already: there is no other.
    let _ = ctrlc::set_handler(handler);
}
