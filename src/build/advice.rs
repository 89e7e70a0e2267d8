//! What would have made fewer steps run: which COPY invalidates what, and what to copy first.

use std::time::Duration;

use super::explain::Miss;
use super::progress::Progress;
use super::records::Records;
use super::request::Services;
use super::variant::Variant;
use crate::key::Difference;
use crate::plan::{CopyOp, CopySource, Op, StageIndex, Step};
use crate::report::{Event, StepNumber, human_duration};

/// What a command needs of a project, by what it is called with.
const MANIFESTS: [(&str, &[&str]); 12] = [
    ("npm ", &["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"]),
    ("yarn", &["package.json", "yarn.lock", ".yarnrc.yml"]),
    ("pnpm ", &["package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml"]),
    ("pip", &["requirements.txt", "constraints.txt"]),
    ("poetry install", &["pyproject.toml", "poetry.lock"]),
    ("uv sync", &["pyproject.toml", "uv.lock"]),
    ("go mod download", &["go.mod", "go.sum"]),
    ("cargo fetch", &["Cargo.toml", "Cargo.lock"]),
    ("bundle install", &["Gemfile", "Gemfile.lock"]),
    ("composer install", &["composer.json", "composer.lock"]),
    ("mvn dependency", &["pom.xml"]),
    ("gradle dependencies", &["build.gradle", "settings.gradle", "gradle.lockfile"]),
];

/// Files that are named in one piece of advice.
const NAMED: usize = 4;

/// A step that ran, with why.
pub(super) struct Ran<'a> {
    pub(super) step: &'a Step,
    /// Its stage, and those that this one is built FROM.
    pub(super) stages: Vec<StageIndex>,
    pub(super) differences: &'a [Difference],
    pub(super) took: Duration,
}

/// Gives the advice that `--explain-cache` asks for.
pub(super) fn advise(variants: &[Variant], progress: &Progress<'_>, records: &Records<'_>, services: &Services<'_>) {
    let Some(mut misses) = records.explanations.misses_for_advice() else { return };
    for variant in variants {
        let ran: Vec<(StepNumber, StageIndex, &Step)> = steps(variant, progress);
        let noted: Vec<(StageIndex, &Step, Miss)> =
            ran.into_iter().filter_map(|(number, stage, step)| Some((stage, step, misses.remove(&number)?))).collect();
        let ran = noted.iter().filter_map(|(stage, step, miss)| {
            Some(Ran { step, stages: variant.plan.chain(*stage), differences: &miss.differences, took: miss.took? })
        });
        let has = |op: &CopyOp, name: &str| copies(op, name, services);
        for text in advice(&ran.collect::<Vec<_>>(), &has) {
            services.observer.event(Event::Advice(text));
        }
    }
}

fn steps<'v>(variant: &'v Variant, progress: &Progress<'_>) -> Vec<(StepNumber, StageIndex, &'v Step)> {
    let mut all = Vec::new();
    for (index, (stage, keys)) in variant.plan.stages.iter().zip(&variant.keys).enumerate() {
        for (step, keys) in stage.steps.iter().zip(&keys.steps) {
            all.push((progress.number(&stage.name, &keys.keyed.key), StageIndex(index), step));
        }
    }
    all
}

/// Whether the context has a file of this name where the COPY takes files from.
fn copies(op: &CopyOp, name: &str, services: &Services<'_>) -> bool {
    let Ok(Some(directory)) = services.files(&op.from) else { return false };
    op.sources.iter().any(|source| {
        let CopySource::Path(path) = source else { return false };
        let root = path.trim_matches('/').trim_start_matches("./");
        let inside = if root.is_empty() || root == "." { name.to_owned() } else { format!("{root}/{name}") };
        directory.view().get(inside.as_bytes()).is_some()
    })
}

/// One text for each COPY whose changed files made RUNs behind it run. `has` tells whether a COPY
/// takes a file of this name.
pub(super) fn advice(ran: &[Ran<'_>], has: &dyn Fn(&CopyOp, &str) -> bool) -> Vec<String> {
    let of_copy = |(number, cause): (usize, &Ran<'_>)| {
        let Op::Copy(op) = &cause.step.op else { return None };
        let changed = changed_files(cause.differences);
        let stage = cause.stages.first()?;
        let behind = ran[number + 1..].iter().filter(|later| later.stages.contains(stage) && is_consequence(later));
        let behind: Vec<&Ran<'_>> = behind.collect();
        let first_run = behind.iter().find(|later| matches!(later.step.op, Op::Run(_)))?;
        if changed.is_empty() {
            return None;
        }
        let spent = human_duration(behind.iter().map(|later| later.took).sum());
        let (count, files) = (behind.len(), list(&changed));
        let steps = if count == 1 { "step" } else { "steps" };
        let (title, line) = (&cause.step.title, cause.step.span.start);
        let hint = hint(op, &first_run.step.title, &changed, has);
        Some(format!("line {line}: {title}: {files} changed, so {count} later {steps} ran again ({spent}); {hint}"))
    };
    ran.iter().enumerate().filter_map(of_copy).collect()
}

/// Files by name; where a COPY has many, directories.
fn changed_files(differences: &[Difference]) -> Vec<&str> {
    let name = |difference: &'_ Difference| -> Option<usize> {
        let part = &difference.part;
        ["file ", "files below "].iter().find(|prefix| part.starts_with(**prefix)).map(|prefix| prefix.len())
    };
    differences.iter().filter_map(|difference| Some(&difference.part[name(difference)?..])).collect()
}

/// Nothing of its own changed: it ran since something before it did.
fn is_consequence(ran: &Ran<'_>) -> bool {
    ran.differences.iter().all(|difference| matches!(difference.part.as_str(), "parent" | "state" | "from"))
}

fn hint(op: &CopyOp, command: &str, changed: &[&str], has: &dyn Fn(&CopyOp, &str) -> bool) -> String {
    let needed = needed_files(op, command, has);
    let is_changed = |name: &String| changed.iter().any(|path| *path == name || path.ends_with(&format!("/{name}")));
    if needed.is_empty() || needed.iter().any(is_changed) {
        return format!("if {command:?} does not need them, copy what it needs first, and the rest after it");
    }
    format!("copy {} first, then {command:?}, and the rest after it", needed.join(" "))
}

/// What the command is known to need, and files that it names.
fn needed_files(op: &CopyOp, command: &str, has: &dyn Fn(&CopyOp, &str) -> bool) -> Vec<String> {
    let known =
        MANIFESTS.iter().filter(|(program, _)| command.contains(program)).flat_map(|(_, files)| *files).copied();
    let plain = |word: &&str| !word.starts_with(['/', '-', '$']) && word.contains('.');
    let named = command.split_whitespace().filter(plain).map(|word| word.trim_start_matches("./"));
    let mut needed: Vec<String> = Vec::new();
    for name in known.chain(named) {
        if has(op, name) && !needed.iter().any(|known| known == name) {
            needed.push(name.to_owned());
        }
    }
    needed
}

fn list(names: &[&str]) -> String {
    let shown = names.iter().take(NAMED).map(|name| crate::key::printable(name)).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
