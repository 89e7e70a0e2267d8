//! One build: opens what it works with, runs it, cleans up.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use yadokari::build::{
    self, BuildError, BuildReport, BuildRequest, DockerfileText, RemoteMounts, RemoteMountsOptions, Services,
};
use yadokari::cache::{RegistryCache, RegistryCacheOptions};
use yadokari::context::Location;
use yadokari::image::Reference;
use yadokari::plan::NamedContexts;
use yadokari::registry::{Client, web_agent};
use yadokari::report::{Event, Observer};
use yadokari::sandbox::{self, Kind, Probe};

use crate::attestations::attestations;
use crate::cache_server::cache_server;
use crate::chosen_sandbox::{choose_sandbox, ignored, sandbox_choice};
use crate::command_line::settings::{SettingsError, env};
use crate::command_line::values::parse_boolean;
use crate::command_line::{display, switches};
use crate::contexts::{Contexts, find_context};
use crate::failure::Failure;
use crate::flags::{CommandLine, OnFailure};
use crate::kept_credentials::KeptCredentials;
use crate::named::Named;
use crate::observing::Observing;
use crate::preserve::Preserved;
use crate::remote_caches::{layer_cache, mount_repository, remote_caches, trust};
use crate::shelter::{Shelter, make_directory};
use crate::signals::{self, Running};
use crate::workplace::{Workplace, state_parent};
use crate::{dry_run, hide, metadata, named, settings, ssh};

/// In the cache directory: what files of contexts hashed to.
const CONTEXTS: &str = "contexts";

/// Carries out the command line.
pub(crate) fn build(line: &CommandLine) -> Result<(), Failure> {
    settings::check(line)?;
    // First of all, while there is one thread: it may start this program again inside a namespace.
    let probe = choose_sandbox(line)?;
    // Before anything secret is read.
    sandbox::close_memory()?;
    if probe.kind == Kind::InPlace && !line.build.dryrun {
        return build_in_place(line, probe);
    }
    build_with(line, probe, None)
}

/// The root is the stages' while they are built. What the pipeline has there, and needs, is put away before.
fn build_in_place(line: &CommandLine, probe: Probe) -> Result<(), Failure> {
    let ignore = ignored(line)?;
    let (parent, _) = state_parent(line, &probe)?;
    let stood = working_directories();
    let shelter = match settings::context(&line.build, &env)?.location()? {
        Location::Directory(context) => Shelter::new(&context, &parent, &ignore)?,
        _ => None,
    };
    let preserves = line.build.cleanup && line.build.preserve_context;
    let preserved = preserves.then(|| Preserved::new(&parent, &ignore)).transpose()?;
    let paths = || hide::credentials(line, &env).into_iter().map(|credential| credential.path);
    let credentials = (!line.build.cleanup).then(|| KeptCredentials::new(paths(), &ignore));
    let result = build_with(line, probe, shelter.as_ref());
    let outputs = settings::output_files(&line.output, &env);
    let wipe = || sandbox::wipe(Path::new("/"), &ignore.with(outputs.iter().cloned()));
    let wiped = if line.build.cleanup { wipe() } else { Ok(()) };
    let restored = preserved.map_or(Ok(()), |preserved| preserved.restore());
    let context = shelter.map_or(Ok(()), |shelter| shelter.restore(&outputs));
    let credentials = credentials.map_or(Ok(()), |credentials| credentials.restore());
    // The next command of the job begins in one of them.
    let _ = stood.iter().try_for_each(|directory| make_directory(directory));
    result?;
    wiped?;
    restored?;
    credentials?;
    Ok(context?)
}

/// Where this process stands, where the container's first one does, which is where others are started, and what our
/// images say for both.
fn working_directories() -> Vec<PathBuf> {
    let first = std::fs::read_link("/proc/1/cwd");
    let found = [std::env::current_dir().ok(), first.ok(), Some(PathBuf::from("/workspace"))];
    found.into_iter().flatten().filter(|directory| directory.is_dir()).collect()
}

/// Flags that ask for something that does not happen here.
fn without_effect(line: &CommandLine, kind: Kind) -> impl Iterator<Item = String> {
    let build = &line.build;
    let in_place = kind == Kind::InPlace;
    let preserve = build.preserve_context && !(in_place && build.cleanup);
    let preserve = preserve.then_some("--preserve-context has no effect: it counts in place, with --cleanup");
    let materialize = build.materialize && !in_place;
    let materialize =
        materialize.then_some("--materialize has no effect: RUN steps do not run in the container's root");
    let variables = settings::unreadable_variables(&env);
    let ours = preserve.into_iter().chain(materialize).map(str::to_owned).chain(settings::unknown_git_keys(build));
    line.without_effect
        .warnings
        .iter()
        .cloned()
        .chain(ours)
        .chain(variables)
        .chain(settings::unknown_helpers(&line.registry))
}

fn build_with(line: &CommandLine, probe: Probe, shelter: Option<&Shelter>) -> Result<(), Failure> {
    let display = display::observer(&line.log, &env);
    let observing = Observing::new(line, &env, &display).map(Arc::new);
    let running = signals::watch(observing.clone());
    let Some(observing) = observing else {
        return build_observed(line, (probe, shelter), &running, &display).map(drop);
    };
    let result = build_observed(line, (probe, shelter), &running, &observing.observer());
    let written = observing.finish(&result);
    result?;
    Ok(written?)
}

/// Nothing is reported of a dry run.
fn build_observed(
    line: &CommandLine,
    (probe, shelter): (Probe, Option<&Shelter>),
    running: &Running,
    observer: &Arc<dyn Observer>,
) -> Result<Option<BuildReport>, Failure> {
    switches::note(observer.as_ref());
    without_effect(line, probe.kind).for_each(|warning| observer.event(Event::Warning(warning)));
    let (parent, holds_overlay) = state_parent(line, &probe)?;
    let found = find_context(line, &parent)?;
    let (path, dockerfile) = settings::dockerfile(&line.build, &found)?;
    let Named { contexts: replaced, files, layouts } = named::named(&line.build.build_context)?;
    let request = request(line, dockerfile, replaced)?;
    let agents = ssh::requests(&line.build.ssh, &env)?;
    let remembered = line.cache.cache.then(|| line.cache.cache_dir.join(CONTEXTS));
    let contexts = Contexts::read((found, &path), (files, layouts), &parent, remembered.as_deref())?;
    let contexts = contexts.sheltered(shelter);
    let workplace = Workplace::new(line, &parent, holds_overlay)?;
    let agents = agents.start(workplace.work.path())?;
    let request = BuildRequest { ssh: agents.sockets.clone(), ..request };
    observer.event(Event::Debug(probe.reason.clone()));
    let report = run(line, &request, &contexts, &workplace, (probe, running), observer)?;
    if let (Some(path), Some(report)) = (&line.output.metadata_file, &report) {
        metadata::write(path, report, &request.outputs)?;
    }
    Ok(report)
}

/// What the flags ask for, but for the agents of `--ssh`, which are not started yet.
fn request(
    line: &CommandLine,
    dockerfile: DockerfileText,
    replaced: NamedContexts,
) -> Result<BuildRequest, SettingsError> {
    let options = settings::plan_options(&line.build, replaced, &env)?;
    let platforms = settings::platforms(&line.build)?;
    Ok(BuildRequest {
        index: settings::index(&options, &platforms)?,
        options,
        platforms,
        caching: settings::caching(&line.cache),
        reproducible: line.build.reproducible,
        rewrite_times: line.build.rewrite_timestamp,
        single_layer: line.build.single_snapshot,
        materialize: line.build.materialize,
        jobs: settings::jobs(&line.build),
        shell_on_failure: line.build.on_failure == OnFailure::Shell,
        secrets: settings::secrets(&line.build, &env)?,
        ssh: BTreeMap::new(),
        form: settings::image_form(&line.output),
        compression: settings::compression(&line.output)?,
        details: line.output.report.is_some(),
        outputs: settings::outputs(&line.output, attestations((&line.output, &line.build), &env)?, &env)?,
        dockerfile,
    })
}

/// For all registries, a cache-server without TLS included.
fn client(line: &CommandLine) -> Result<Client, Failure> {
    let credentials = settings::registry_credentials(&line.registry)?;
    let server = cache_server(&line.cache)?;
    let mut options = settings::client_options(&line.registry, &env)?;
    let plain = server.filter(|server| server.is_plain);
    options.insecure_registries.extend(plain.map(|server| server.repository.registry().to_owned()));
    Ok(Client::new(options, credentials)?)
}

fn run(
    line: &CommandLine,
    request: &BuildRequest,
    contexts: &Contexts,
    workplace: &Workplace,
    sandboxed: (Probe, &Running),
    observer: &Arc<dyn Observer>,
) -> Result<Option<BuildReport>, Failure> {
    let client = client(line)?;
    let sandbox = sandbox_choice(line, sandboxed, workplace.holds_overlay, observer.as_ref())?;
    let caches = remote_caches(line)?;
    let repositories: Vec<Reference> = caches.iter().filter_map(|cache| cache.at.repository().cloned()).collect();
    let trust = trust(&line.cache, &env)?;
    let cache = line.cache.cache.then(|| layer_cache(line, &client, workplace, &caches, &trust, observer));
    let (cache, _leases) = cache.unzip();
    let mounts = remote_mounts(line, &client, workplace, observer)?;
    let git_environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let services = Services {
        registry: &client,
        store: &workplace.store,
        warm: workplace.warm.as_ref(),
        warm_ttl: line.cache.cache_ttl.0,
        cache: cache.as_ref(),
        cache_mounts: mounts.as_ref(),
        cache_repositories: &repositories,
        context: &contexts.main,
        contexts: &contexts.named,
        layouts: &contexts.layouts,
        sandbox: &sandbox,
        http: &web_agent(false),
        git_environment: &git_environment,
        work: workplace.work.path(),
        observer: observer.as_ref(),
    };
    let failed = |error| Failure::build(error, &request.dockerfile);
    if line.build.dryrun || prints_plan() {
        dry_run::print(&build::dry_run(request, &services).map_err(failed)?, &line.output)?;
    }
    if line.build.dryrun {
        return Ok(None);
    }
    let result = build_targets(line, request, &services);
    contexts.remember(workplace, observer.as_ref());
    if let Some(cache) = &cache {
        cache.finish();
    }
    // After a failed build, too: what its steps downloaded is as good as before.
    if let Some(mounts) = &mounts {
        mounts.finish();
    }
    result.map(Some).map_err(failed)
}

/// All targets; the first one, which is the image, comes last.
fn build_targets(
    line: &CommandLine,
    request: &BuildRequest,
    services: &Services<'_>,
) -> Result<BuildReport, BuildError> {
    let others = line.build.target.iter().skip(1);
    for other in others.map(|target| settings::only_built(request, target)) {
        build::build(&other, services)?;
    }
    build::build(request, services)
}

/// Kaniko's `KANIKO_PRINT_PLAN`.
fn prints_plan() -> bool {
    env("KANIKO_PRINT_PLAN").is_some_and(|text| parse_boolean(&text) == Ok(true))
}

/// Cache mounts in the cache repository, when they are wanted there.
fn remote_mounts(
    line: &CommandLine,
    client: &Client,
    workplace: &Workplace,
    observer: &Arc<dyn Observer>,
) -> Result<Option<RemoteMounts>, Failure> {
    let Some(repository) = mount_repository(line)? else { return Ok(None) };
    let (store, options) = (Arc::clone(&workplace.store), RegistryCacheOptions::default());
    let cache = RegistryCache::new(client.clone(), repository, store, options, Arc::clone(observer));
    let options = RemoteMountsOptions {
        save: !line.cache.no_push_cache,
        max_bytes: line.cache.cache_mounts_max_bytes.0,
        work: workplace.work.path().to_owned(),
    };
    Ok(Some(RemoteMounts::new(Arc::new(cache), options, Arc::clone(observer))))
}
