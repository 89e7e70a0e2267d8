//! Which steps run again after a change: every kind of change, for every kind of instruction, against an
//! oracle that knows nothing of keys; then random Dockerfiles and random changes; then several executors
//! at once on one directory. Every image must be what a build without any cache makes.
//!
//! `EDIT_MATRIX_SEED` and `EDIT_MATRIX_ROUNDS` choose the random ones, which are the same every time without.

#![allow(clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod image;
mod oracle;
mod others;
mod platforms;
mod project;
mod random;
mod rows;
mod tree;
mod world;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use others::{OTHERS, whole};
use platforms::{PLATFORMS, platforms};
use project::Project;
use random::{Random, changed, some_project};
use rows::{Edit, FILES, instructions};
use world::{Cache, History, World};

/// Rows that are worked on at the same time.
const THREADS: usize = 3;

/// Of the random projects, unless another is asked for.
const SEED: u64 = 1;

/// Builds `before`, then every edited version of it on a runner of its own that may only read what the
/// first build has saved. An edit that changes nothing here has nothing to show.
fn check_rows(history: &History<'_>, name: &str, before: &Project, edits: &[Edit]) -> Vec<String> {
    let first = oracle::evaluate(before);
    let known: BTreeSet<String> = first.reads.iter().cloned().collect();
    let built = history.build(before, Cache::ReadAndWrite);
    if let Some(fault) = built.fault(&first, &BTreeSet::new(), None) {
        return vec![format!("{name}, first build: {fault}")];
    }
    let check = |(edit_name, edit): &Edit| {
        let mut after = before.clone();
        edit(&mut after);
        if after == *before && *edit_name != "nothing" {
            return None;
        }
        let verdict = oracle::evaluate(&after);
        let built = history.build(&after, Cache::Read);
        let fault = built.fault(&verdict, &known, Some(&history.scratch(&after)))?;
        Some(format!("{name}: {edit_name}: {fault}"))
    };
    edits.iter().filter_map(check).collect()
}

/// Works on the jobs side by side; what they have to say together.
fn side_by_side(jobs: usize, job: impl Fn(usize) -> Vec<String> + Sync) -> Vec<String> {
    let (next, said) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= jobs {
                return;
            }
            let mut faults = job(number);
            said.lock().expect("no panic").append(&mut faults);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    said.into_inner().expect("no panic")
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "{} rows are wrong\n{}", faults.len(), faults.join("\n\n"));
}

#[test]
fn changes_of_files_run_what_reads_them() {
    let (world, all) = (World::new(), instructions());
    let only = std::env::var("EDIT_MATRIX_ONLY").ok();
    report(&side_by_side(all.len(), |number| {
        let (name, project) = &all[number];
        if only.as_ref().is_some_and(|only| only != name) {
            return Vec::new();
        }
        check_rows(&world.history(&format!("cache{number}")), name, project, FILES)
    }));
}

#[test]
fn changes_of_anything_else_run_what_reads_it() {
    let (world, project) = (World::new(), whole());
    let parts: Vec<&[Edit]> = OTHERS.chunks(OTHERS.len().div_ceil(2 * THREADS)).collect();
    report(&side_by_side(parts.len(), |number| {
        check_rows(&world.history(&format!("cache{number}")), "whole", &project, parts[number])
    }));
}

#[test]
fn changes_run_what_reads_them_for_each_platform() {
    let world = World::new();
    report(&check_rows(&world.history("cache"), "platforms", &platforms(), PLATFORMS));
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The seed of a round; said when the round fails.
fn seed(round: usize) -> u64 {
    number("EDIT_MATRIX_SEED", SEED) + round as u64
}

/// One random project and what becomes of it, each version on a runner of its own with the repository
/// that all before have saved in.
fn random_history(world: &World, round: usize) -> Vec<String> {
    let seed = seed(round);
    let (mut random, mut known) = (Random(seed), BTreeSet::new());
    let history = world.history(&format!("history{round}"));
    let mut project = some_project(&mut random);
    for version in 0..6 {
        let verdict = oracle::evaluate(&project);
        let built = history.build(&project, Cache::ReadAndWrite);
        if let Some(fault) = built.fault(&verdict, &known, Some(&history.scratch(&project))) {
            return vec![format!("EDIT_MATRIX_SEED={seed} EDIT_MATRIX_ROUNDS=1: version {version}: {fault}")];
        }
        known.extend(verdict.reads);
        project = changed(&mut random, &project);
    }
    Vec::new()
}

#[test]
fn random_histories_are_built_as_the_oracle_says() {
    let (world, rounds) = (World::new(), number("EDIT_MATRIX_ROUNDS", 6));
    let rounds = usize::try_from(rounds).expect("few");
    report(&side_by_side(rounds, |round| random_history(&world, round)));
}

#[test]
fn executors_on_one_directory_build_what_each_is_asked_for() {
    let (world, seed) = (World::new(), seed(0));
    let shared = tempfile::tempdir().expect("directory");
    let mut random = Random(seed);
    let first = some_project(&mut random);
    let versions: Vec<Project> = std::iter::successors(Some(first), |last| Some(changed(&mut random, last)))
        .take(usize::try_from(number("EDIT_MATRIX_ROUNDS", 6)).expect("few") * 2)
        .collect();
    report(&side_by_side(versions.len(), |version| {
        let history = world.history("none");
        let built = history.build(&versions[version], Cache::Directory(shared.path()));
        let fault = built.wrong_image(&oracle::evaluate(&versions[version]), &history.scratch(&versions[version]));
        fault.map(|fault| format!("EDIT_MATRIX_SEED={seed}: version {version}: {fault}")).into_iter().collect()
    }));
    let verified = support::executor().args(["cache", "verify", "--cache-dir"]).arg(shared.path()).output();
    support::assert_success(&verified.expect("executor runs"));
}
