//! Subcommands for the data of a server that is not running.

use std::error::Error;

use crate::eviction::Policy;
use crate::flags::{GcFlags, StatsFlags, VerifyFlags};
use crate::say;
use crate::storage::{Collected, RepositoryStats, Stats, Storage};

/// `cache-server gc`.
pub(crate) fn collect(flags: &GcFlags) -> Result<(), Box<dyn Error>> {
    let policy = Policy { times_to_live: flags.ttl.clone(), grace: flags.grace.0, ..Policy::default() };
    let storage = Storage::open_existing(&flags.data, policy)?;
    let mut collected = storage.collect()?;
    let strays = storage.remove_strays()?;
    collected.files += strays.files;
    collected.bytes += strays.bytes;
    Ok(say(&summary(&collected))?)
}

/// `cache-server verify`.
pub(crate) fn verify(flags: &VerifyFlags) -> Result<(), Box<dyn Error>> {
    let storage = Storage::open_existing(&flags.data, Policy::default())?;
    let verified = storage.verify(!flags.quick)?;
    for problem in &verified.problems {
        say(problem)?;
    }
    let (blobs, manifests) = (verified.blobs, verified.manifests);
    match verified.problems.len() {
        0 => Ok(say(&format!("{blobs} blobs and {manifests} manifests: no problems"))?),
        count => Err(format!("{count} problems in {}", flags.data.display()).into()),
    }
}

/// `cache-server stats`.
pub(crate) fn stats(flags: &StatsFlags) -> Result<(), Box<dyn Error>> {
    let stats = Storage::open_existing(&flags.data, Policy::default())?.stats()?;
    if flags.json {
        return Ok(say(&serde_json::to_string_pretty(&stats)?)?);
    }
    let Stats { blobs, blob_bytes, index_bytes, uploads, repositories } = stats;
    say(&format!("{blobs} blobs of {blob_bytes} bytes, {uploads} unfinished uploads, index of {index_bytes} bytes"))?;
    for repository in repositories {
        let RepositoryStats { name, manifests, tags, pins, bytes } = repository;
        say(&format!("{name}: {manifests} manifests, {tags} tags, {pins} pins, blobs of {bytes} bytes"))?;
    }
    Ok(())
}

/// What a collection did, in one line.
pub(crate) fn summary(collected: &Collected) -> String {
    let Collected { manifests, blobs, files, bytes, busy } = collected;
    let busy = if *busy > 0 { format!("; {busy} more are still being read") } else { String::new() };
    format!("removed {manifests} manifests, {blobs} blobs of repositories, {files} files of {bytes} bytes{busy}")
}
