//! One build: opens what it works with, runs it, cleans up.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use yadokari::build::{self, BuildRequest, SandboxChoice, Services};
use yadokari::context::{self, ContextDirectory, Fetching, FoundContext, Git, GitLogin};
use yadokari::image::Reference;
use yadokari::registry::{Client, web_agent};
use yadokari::report::{Event, Observer};
use yadokari::sandbox::{self, Cancel, IgnoreList, InPlaceSandbox, Kind, OverlaySandbox, Probe, Sandbox, ignore_list};

use crate::command_line::display;
use crate::command_line::settings::{credentials, env};
use crate::failure::Failure;
use crate::flags::CommandLine;
use crate::remote_caches::{layer_cache, remote_caches, trust};
use crate::workplace::{Workplace, executor_directory, state_parent};
use crate::{settings, ssh};

/// Carries out the command line.
pub(crate) fn build(line: &CommandLine) -> Result<(), Failure> {
    settings::check(line)?;
    // First of all, while there is one thread: it may start this program again inside a namespace.
    let probe = choose_sandbox(line)?;
    let observer = display::observer(&line.log, &env);
    let (parent, holds_overlay) = state_parent(line, &probe)?;
    let found = find_context(line, &parent)?;
    let (path, dockerfile) = settings::dockerfile(&line.build, &found)?;
    let options = settings::plan_options(&line.build, &env)?;
    let platforms = settings::platforms(&line.build)?;
    let request = BuildRequest {
        index: settings::index(&options, &platforms)?,
        options,
        platforms,
        caching: settings::caching(&line.cache),
        reproducible: line.build.reproducible,
        jobs: settings::jobs(&line.build),
        secrets: settings::secrets(&line.build, &env)?,
        ssh: BTreeMap::new(),
        outputs: settings::outputs(&line.output)?,
        dockerfile,
    };
    let agents = ssh::requests(&line.build.ssh, &env)?;
    let context = found.read(Some(&path))?;
    let contexts = named_contexts(line, &parent)?;
    let workplace = Workplace::new(line, &parent, holds_overlay)?;
    let agents = agents.start(workplace.work.path())?;
    let request = BuildRequest { ssh: agents.sockets.clone(), ..request };
    observer.event(Event::Debug(probe.reason.clone()));
    run(line, &request, &Contexts { main: context, named: contexts }, &workplace, probe, &observer)?
        .map_err(|error| Failure::build(error, &request.dockerfile))
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

/// The build context, fetched when it is not a directory. Git gets to know its login here only:
/// what a Dockerfile names is none of its business.
pub(crate) fn find_context(line: &CommandLine, parent: &Path) -> Result<FoundContext, Failure> {
    let spec = settings::context(&line.build, &env)?;
    let location = spec.location()?;
    // Over plain http only to the host that GIT_PULL_METHOD was set for.
    let is_plain = spec.text.starts_with("http://");
    let login = GitLogin::from_lookup(&env).filter(|_| !is_plain);
    let git = Git::new(std::env::vars_os()).with_login(login);
    let agent = web_agent(!is_plain);
    Ok(context::find(&location, &spec.sub_path, Fetching { agent: &agent, git: &git, parent })?)
}

/// The named contexts that are files. Each has its own ignore file; there is no login for them.
fn named_contexts(line: &CommandLine, parent: &Path) -> Result<BTreeMap<String, ContextDirectory>, Failure> {
    let git = Git::new(std::env::vars_os());
    let mut contexts = BTreeMap::new();
    for (key, spec) in settings::named_files(&line.build) {
        let agent = web_agent(spec.text.starts_with("https://"));
        let fetching = Fetching { agent: &agent, git: &git, parent };
        contexts.insert(key, context::find(&spec.named_location()?, "", fetching)?.read(None)?);
    }
    Ok(contexts)
}

/// Where the files of this build come from.
struct Contexts {
    main: ContextDirectory,
    /// By key.
    named: BTreeMap<String, ContextDirectory>,
}

fn run(
    line: &CommandLine,
    request: &BuildRequest,
    contexts: &Contexts,
    workplace: &Workplace,
    probe: Probe,
    observer: &Arc<dyn Observer>,
) -> Result<Result<(), build::BuildError>, Failure> {
    let credentials = credentials(&env)?;
    let client = Client::new(settings::client_options(&line.registry, &env)?, credentials)?;
    let sandbox = sandbox_choice(probe, workplace.holds_overlay)?;
    let caches = remote_caches(line)?;
    let repositories: Vec<Reference> = caches.iter().filter_map(|cache| cache.at.repository().cloned()).collect();
    let trust = trust(&line.cache, &env)?;
    let cache = line.cache.cache.then(|| layer_cache(line, &client, workplace, &caches, &trust, observer));
    let (cache, _leases) = cache.unzip();
    let git_environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let services = Services {
        registry: &client,
        store: &workplace.store,
        warm: workplace.warm.as_ref(),
        warm_ttl: line.cache.cache_ttl.0,
        cache: cache.as_ref(),
        cache_repositories: &repositories,
        context: &contexts.main,
        contexts: &contexts.named,
        sandbox: &sandbox,
        http: &web_agent(false),
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

/// The sandbox, ended by SIGINT and SIGTERM.
fn sandbox_choice(probe: Probe, holds_overlay: bool) -> Result<SandboxChoice, Failure> {
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
    end_on_signal(cancel.clone());
    Ok(SandboxChoice { probe, holds_overlay, sandbox, cancel, ignore })
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
