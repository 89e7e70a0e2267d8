//! `executor cache prune`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use yadokari::cache::{CacheRepository, RemoteRecord};
use yadokari::digest::Digest;
use yadokari::report::human_bytes;
use yadokari::store::{Access, PruneLimits, PrunePlan, Pruned, Removable, RemovableKind, Store};

use super::flags::PruneFlags;
use super::list::human_age;
use super::place::{Place, created};
use crate::failure::Failure;

pub(super) fn prune(flags: &PruneFlags) -> Result<(), Failure> {
    let access = if flags.dry_run { Access::ReadOnly } else { Access::ReadWrite };
    match Place::open(&flags.place, access)? {
        Place::Store(store) => prune_store(&store, flags),
        Place::Repository(repository) => prune_repository(&repository, flags),
    }
}

fn limits(flags: &PruneFlags) -> PruneLimits {
    PruneLimits { older_than: flags.older_than.map(|age| age.0), keep_bytes: flags.keep_bytes.map(|bytes| bytes.0) }
}

fn prune_store(store: &Store, flags: &PruneFlags) -> Result<(), Failure> {
    let plan = store.plan_prune(limits(flags))?;
    let pruned = if flags.dry_run { None } else { Some(store.prune(&plan)?) };
    if flags.form.json {
        println!("{:#}", plan_json(&plan, pruned.as_ref()));
    } else {
        print_plan(&plan, pruned.as_ref());
    }
    Ok(())
}

fn plan_json(plan: &PrunePlan, pruned: Option<&Pruned>) -> Value {
    let PrunePlan { removals, bytes_before, bytes_after, builds } = plan;
    let removals: Vec<Value> = removals.iter().map(removal_json).collect();
    let done = pruned.map(|done| {
        json!({ "removed": done.removed, "bytes": done.bytes, "kept": done.kept, "interrupted": done.interrupted })
    });
    json!({
        "removals": removals, "bytes_before": bytes_before, "bytes_after": bytes_after,
        "running_builds": builds.len(), "done": done,
    })
}

/// Nothing was `pruned` in a dry run.
fn print_plan(plan: &PrunePlan, pruned: Option<&Pruned>) {
    let verb = if pruned.is_none() { "would remove" } else { "remove" };
    for Removable { kind, used, bytes } in &plan.removals {
        let age = SystemTime::now().duration_since(*used).unwrap_or_default();
        let size = human_bytes(*bytes);
        println!("{verb} {:4} {size:>7}  {}", human_age(age), describe(kind));
    }
    let (before, after) = (human_bytes(plan.bytes_before), human_bytes(plan.bytes_after));
    let count = plan.removals.len();
    match pruned {
        None => println!("{count} to remove: {before} would become {after}"),
        Some(done) => {
            println!("{} of {count} removed, {}: {before} were there", done.removed, human_bytes(done.bytes));
            if done.kept > 0 {
                println!("{} were used meanwhile, and stay", done.kept);
            }
            if done.interrupted {
                println!("a build began: the rest is left for the next time");
            }
        }
    }
    if !plan.builds.is_empty() {
        println!("{} builds are running: what they may use stays", plan.builds.len());
    }
}

fn describe(kind: &RemovableKind) -> String {
    match kind {
        RemovableKind::Record(key) => format!("record {key}"),
        RemovableKind::Toc(name) => format!("table of contents of layer {name}"),
        RemovableKind::Layer(id) => format!("extracted layer {id}"),
        RemovableKind::Blob(digest) => format!("blob {digest}"),
    }
}

fn removal_json(removable: &Removable) -> Value {
    let (kind, name) = match &removable.kind {
        RemovableKind::Record(key) => ("record", key.to_string()),
        RemovableKind::Toc(name) => ("toc", name.clone()),
        RemovableKind::Layer(id) => ("layer", id.clone()),
        RemovableKind::Blob(digest) => ("blob", digest.to_string()),
    };
    let age = SystemTime::now().duration_since(removable.used).unwrap_or_default();
    json!({ "kind": kind, "name": name, "bytes": removable.bytes, "age_seconds": age.as_secs() })
}

/// Both tags of a record go with its manifest. What a registry keeps does not say when it was
/// used, so the time that counts is when the record was made.
fn prune_repository(repository: &CacheRepository, flags: &PruneFlags) -> Result<(), Failure> {
    let listing = repository.list(usize::MAX)?;
    let (gone, before, after) = choose(&listing.records, limits(flags));
    let mut deleted = 0;
    for manifest in &gone {
        if !flags.dry_run {
            repository.delete(manifest)?;
            deleted += 1;
        } else if !flags.form.json {
            println!("would delete manifest {manifest}");
        }
    }
    if flags.form.json {
        let names: Vec<String> = gone.iter().map(ToString::to_string).collect();
        println!(
            "{:#}",
            json!({ "manifests": names, "deleted": deleted, "bytes_before": before, "bytes_after": after })
        );
    } else {
        let (before, after) = (human_bytes(before), human_bytes(after));
        println!("{deleted} of {} manifests deleted: {before} of layers named, {after} afterwards", gone.len());
        if deleted > 0 {
            println!("the registry's garbage collection frees the blobs");
        }
    }
    Ok(())
}

/// The manifests to delete, and the bytes that records name before and afterwards.
fn choose(records: &[RemoteRecord], limits: PruneLimits) -> (Vec<Digest>, u64, u64) {
    let by_manifest: BTreeMap<&Digest, &RemoteRecord> = records.iter().map(|r| (&r.manifest, r)).collect();
    let mut oldest_first: Vec<&RemoteRecord> = by_manifest.into_values().collect();
    oldest_first.sort_by_key(|remote| remote.record.created);
    let mut kept: BTreeSet<usize> = (0..oldest_first.len()).collect();
    let mut references: BTreeMap<&Digest, (usize, u64)> = BTreeMap::new();
    for blob in oldest_first.iter().flat_map(|remote| remote.record.blobs()) {
        references.entry(&blob.digest).or_insert((0, blob.size)).0 += 1;
    }
    let before: u64 = references.values().map(|(_, size)| size).sum();
    let mut total = before;
    for (number, remote) in oldest_first.iter().enumerate() {
        let age = SystemTime::now().duration_since(created(&remote.record)).unwrap_or(Duration::ZERO);
        let too_old = limits.older_than.is_some_and(|limit| age > limit);
        if !too_old && limits.keep_bytes.is_none_or(|limit| total <= limit) {
            continue;
        }
        kept.remove(&number);
        for blob in remote.record.blobs() {
            if let Some((count, size)) = references.get_mut(&blob.digest) {
                *count -= 1;
                total -= if *count == 0 { *size } else { 0 };
            }
        }
    }
    let gone = oldest_first.iter().enumerate().filter(|(number, _)| !kept.contains(number));
    (gone.map(|(_, remote)| remote.manifest.clone()).collect(), before, total)
}
