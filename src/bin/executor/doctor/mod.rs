//! `executor doctor`: says what a build would find here, and builds nothing.

mod advice;
mod text;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use serde::Serialize;
use yadokari::build::Attestations;
use yadokari::causes::chain;
use yadokari::image::Reference;
use yadokari::registry::{Client, RegistryError};
use yadokari::sandbox::{self, Facts, Hidden, Hiding, HidingMethod, IgnoreList, Kind, free_space, supports_overlay};

use crate::command_line::settings::{credential_files, env};
use crate::failure::Failure;
use crate::flags::{CommandLine, DoctorFlags};
use crate::remote_caches::remote_caches;
use crate::workplace::state_parents;
use crate::{chosen_sandbox, hide, settings};

/// All that is said.
#[derive(Debug, Serialize)]
struct Report {
    /// A build can run.
    ok: bool,
    facts: Facts,
    sandboxes: Vec<Finding>,
    /// How RUN steps run.
    sandbox: &'static str,
    reason: String,
    /// Lines of a Pod's manifest that would make it faster, with what they do.
    advice: Option<advice::Advice>,
    directories: Vec<Directory>,
    credentials: Vec<Credential>,
    /// How credentials are kept from steps in place; `None`: steps run apart from them, or there are none.
    hidden_by: Option<&'static str>,
    /// Credentials that steps can read.
    exposed: Vec<PathBuf>,
    registries: Vec<Finding>,
}

/// Something that works, or does not.
#[derive(Debug, Serialize)]
struct Finding {
    name: String,
    ok: bool,
    /// Why not.
    why: Option<String>,
}

#[derive(Debug, Serialize)]
struct Directory {
    use_for: &'static str,
    path: PathBuf,
    ok: bool,
    free_bytes: Option<u64>,
    /// What is special about it.
    note: Option<String>,
}

/// Never the secret itself.
#[derive(Debug, Serialize)]
struct Credential {
    server: String,
    kind: String,
}

/// Carries out the command.
pub(crate) fn run(flags: DoctorFlags) -> Result<(), Failure> {
    let DoctorFlags { json, registry, build, output, cache, registries, log, without_effect } = flags;
    let line = CommandLine { command: None, build, output, cache, registry: registries, log, without_effect };
    let report = examine(&line, &registry)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(std::io::Error::from)?);
    } else {
        let colour = std::io::stdout().is_terminal() && env("NO_COLOR").is_none_or(|value| value.is_empty());
        print!("{}", text::render(&report, colour));
    }
    if report.ok { Ok(()) } else { Err(Failure::Doctor) }
}

fn examine(line: &CommandLine, hosts: &[String]) -> Result<Report, Failure> {
    let facts = Facts::gather();
    let attempts = sandbox::attempts(line.build.force);
    let probe = chosen_sandbox::probe(line);
    let directories = directories(line, probe.kind)?;
    let credentials = settings::registry_credentials(&line.registry)?;
    let kinds = credentials.kinds().into_iter().map(|(server, kind)| Credential { server, kind }).collect();
    let hidden = hidden(line, probe.kind)?;
    let client = Client::new(settings::client_options(&line.registry, &env)?, credentials)?;
    let registries = registries(&client, line, hosts)?;
    let runs = probe.kind != Kind::None || line.build.sandbox == crate::flags::SandboxFlag::None;
    let work = directories.first().is_some_and(|directory| directory.ok);
    Ok(Report {
        ok: runs && work && registries.iter().all(|registry| registry.ok),
        advice: advice::advice(&facts, probe.kind, &hidden.exposed),
        sandboxes: attempts.into_iter().map(|(kind, result)| finding(kind.name(), result)).collect(),
        sandbox: probe.kind.name(),
        reason: probe.reason,
        facts,
        directories,
        credentials: kinds,
        hidden_by: hidden.method.map(method_name),
        exposed: hidden.exposed,
        registries,
    })
}

fn finding(name: &str, result: Result<(), String>) -> Finding {
    Finding { name: name.to_owned(), ok: result.is_ok(), why: result.err() }
}

fn method_name(method: HidingMethod) -> &'static str {
    match method {
        HidingMethod::Mounts => "mounts",
        HidingMethod::Landlock => "Landlock",
        HidingMethod::Removal => "removal while a step runs",
    }
}

/// Where throw-away files go, and the cache directory.
fn directories(line: &CommandLine, kind: Kind) -> Result<Vec<Directory>, Failure> {
    let candidates = state_parents(line, kind)?;
    let is_writable = |path: &&PathBuf| tempfile::tempdir_in(path).is_ok();
    let holds_overlay = candidates.iter().find(|path| kind == Kind::Overlay && supports_overlay(path).is_ok());
    let work = holds_overlay.or_else(|| candidates.iter().find(is_writable));
    let note = match (kind, holds_overlay, work) {
        (_, _, None) => Some("nothing is writable: mount an emptyDir at /tmp".to_owned()),
        (Kind::Overlay, None, _) => Some(
            "no file system here can hold an overlay, so RUN steps use a plain tree: mount an emptyDir at /tmp".into(),
        ),
        _ => None,
    };
    let path = work.unwrap_or(&candidates[0]).clone();
    let work = Directory { use_for: "work", ok: work.is_some(), free_bytes: free_space(&path), path, note };
    Ok(vec![work, cache_directory(&line.cache.cache_dir)])
}

/// Whether it is there is up to the user: a build runs without.
fn cache_directory(path: &Path) -> Directory {
    let writable = tempfile::tempdir_in(path).is_ok();
    let note = match (path.is_dir(), writable) {
        (false, _) => Some("not there: mount a volume that outlives the Pod".to_owned()),
        (true, false) => Some("not writable: base images from the warmer are used, nothing is kept".to_owned()),
        (true, true) => None,
    };
    let free_bytes = path.is_dir().then(|| free_space(path)).flatten();
    Directory { use_for: "cache", path: path.to_owned(), ok: writable, free_bytes, note }
}

fn hidden(line: &CommandLine, kind: Kind) -> Result<Hidden, Failure> {
    if kind != Kind::InPlace {
        return Ok(Hidden::decide(&[], &IgnoreList::default(), Hiding::Off)?);
    }
    Ok(hide::plan(line, &chosen_sandbox::ignored(line)?, &env)?)
}

/// Hosts are reached; for what is pushed to, the right to push is tried.
fn registries(client: &Client, line: &CommandLine, hosts: &[String]) -> Result<Vec<Finding>, Failure> {
    let reach = |host: &String| finding(host, said(client.reach(host)));
    let push = |name: &Reference| finding(&name.name(), said(client.check_push(name)));
    let outputs = settings::outputs(&line.output, Attestations::default(), &env)?;
    let pushed = outputs.destinations.iter().filter(|_| outputs.push).map(push);
    let caches = remote_caches(line)?;
    let cached = caches.iter().filter(|cache| cache.is_written).filter_map(|cache| cache.at.repository()).map(push);
    Ok(hosts.iter().map(reach).chain(pushed).chain(cached).collect())
}

fn said(result: Result<(), RegistryError>) -> Result<(), String> {
    result.map_err(|error| chain(&error))
}

/// The files that credentials were looked for in, as far as they are there.
fn files() -> Vec<PathBuf> {
    credential_files(&env).into_iter().filter(|path| path.is_file()).collect()
}
