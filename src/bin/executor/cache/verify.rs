//! `executor cache verify`.

use std::collections::BTreeSet;

use serde_json::json;
use yadokari::cache::CacheRepository;
use yadokari::report::human_bytes;
use yadokari::store::{Access, Store};

use super::flags::VerifyFlags;
use super::place::Place;
use crate::failure::Failure;

/// Exit code 1 when something is damaged; with `--repair` when something still is.
pub(super) fn verify(flags: &VerifyFlags) -> Result<(), Failure> {
    let access = if flags.repair { Access::ReadWrite } else { Access::ReadOnly };
    let outcome = match Place::open(&flags.place, access)? {
        Place::Store(store) => verify_store(&store, flags)?,
        Place::Repository(repository) => verify_repository(&repository, flags)?,
    };
    let Outcome { summary, damage, removed } = outcome;
    if flags.form.json {
        let damage: Vec<_> = damage.iter().map(|(what, why)| json!({ "what": what, "why": why })).collect();
        println!("{:#}", json!({ "summary": summary, "damage": damage, "removed": removed }));
    } else {
        damage.iter().for_each(|(what, why)| println!("{what}: {why}"));
        println!("{summary}");
    }
    match damage.len().saturating_sub(removed) {
        0 => Ok(()),
        left => Err(Failure::Cache(format!("{left} things in the cache are damaged; --repair removes them"))),
    }
}

struct Outcome {
    summary: String,
    /// What, and why.
    damage: Vec<(String, String)>,
    removed: usize,
}

fn verify_store(store: &Store, flags: &VerifyFlags) -> Result<Outcome, Failure> {
    let found = store.verify()?;
    let left = if flags.repair { store.remove_damaged(&found.damage)? } else { found.damage.clone() };
    let (records, blobs, size) = (found.records, found.blobs, human_bytes(found.bytes));
    let mut summary = format!("{records} records, {blobs} blobs ({size}), {} images checked", found.images);
    if found.foreign > 0 {
        summary = format!("{summary}; {} records are of another version", found.foreign);
    }
    let removed = found.damage.len() - left.len();
    let damage = found.damage.into_iter().map(|damage| (damage.what.to_string(), damage.reason)).collect();
    Ok(Outcome { summary, damage, removed })
}

fn verify_repository(repository: &CacheRepository, flags: &VerifyFlags) -> Result<Outcome, Failure> {
    let listing = repository.list(usize::MAX)?;
    let blobs = repository.check_blobs(&listing.records, flags.read)?;
    let mut damage = Vec::new();
    let mut manifests = BTreeSet::new();
    for remote in &listing.records {
        let wrong = remote.record.blobs().find_map(|blob| Some((blob, blobs.get(&blob.digest)?.as_ref()?)));
        if let Some((blob, reason)) = wrong {
            damage.push((format!("record {}", remote.key), format!("blob {}: {reason}", blob.digest)));
            manifests.insert(&remote.manifest);
        }
    }
    let mut removed = 0;
    if flags.repair {
        manifests.into_iter().try_for_each(|manifest| repository.delete(manifest))?;
        removed = damage.len();
    }
    let how = if flags.read { "read" } else { "asked for" };
    let mut summary = format!("{} records checked, {} blobs {how}", listing.records.len(), blobs.len());
    if !listing.unusable.is_empty() {
        // Kaniko's tags look like ours. A build that makes the result replaces what is there.
        summary = format!("{summary}; {} tags hold no record of this version", listing.unusable.len());
    }
    Ok(Outcome { summary, damage, removed })
}
