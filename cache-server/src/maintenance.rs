//! Subcommands for the data of a server that is not running.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write as _};
use std::path::Path;

use crate::configuration::{StoragePlace, place};
use crate::eviction::Policy;
use crate::exchange::{self, ExchangeError, Exported, Imported};
use crate::flags::{ExportFlags, GcFlags, ImportFlags, PlaceFlags, RebuildFlags, StatsFlags, VerifyFlags};
use crate::say;
use crate::storage::{Collected, RepositoryStats, Stats, Storage};

/// `cache-server gc`.
pub(crate) fn collect(flags: &GcFlags) -> Result<(), Box<dyn Error>> {
    let policy = Policy { times_to_live: flags.ttl.clone(), grace: flags.grace.0, ..Policy::default() };
    let storage = open(&flags.place, policy)?;
    let mut collected = storage.collect()?;
    let strays = storage.remove_strays()?;
    collected.files += strays.files;
    collected.bytes += strays.bytes;
    Ok(say(&summary(&collected))?)
}

fn open(flags: &PlaceFlags, policy: Policy) -> Result<Storage, Box<dyn Error>> {
    Ok(match place(flags.data.clone(), flags.store.clone())? {
        StoragePlace::Directory(path) => told(Storage::open_existing(&path, policy)?)?,
        StoragePlace::Store(address, _) => Storage::open_store(&address, None, policy)?,
    })
}

/// Says what had to be done to open it. Standard output may be an archive.
fn told(storage: Storage) -> io::Result<Storage> {
    if let Some(recovery) = storage.recovery() {
        writeln!(io::stderr(), "warning: {recovery}")?;
    }
    Ok(storage)
}

/// `cache-server rebuild`.
pub(crate) fn rebuild(flags: &RebuildFlags) -> Result<(), Box<dyn Error>> {
    let storage = told(Storage::rebuild(&flags.data)?)?;
    let Stats { blobs, repositories, .. } = storage.stats()?;
    let manifests: u64 = repositories.iter().map(|repository| repository.manifests).sum();
    Ok(say(&format!("{} repositories, {manifests} manifests, {blobs} blobs", repositories.len()))?)
}

/// `cache-server verify`.
pub(crate) fn verify(flags: &VerifyFlags) -> Result<(), Box<dyn Error>> {
    let storage = open(&flags.place, Policy::default())?;
    let verified = storage.verify(!flags.quick)?;
    for problem in &verified.problems {
        say(problem)?;
    }
    let (blobs, manifests) = (verified.blobs, verified.manifests);
    match verified.problems.len() {
        0 => Ok(say(&format!("{blobs} blobs and {manifests} manifests: no problems"))?),
        count => {
            let place = place(flags.place.data.clone(), flags.place.store.clone())?;
            Err(format!("{count} problems in {place}").into())
        }
    }
}

/// `cache-server stats`.
pub(crate) fn stats(flags: &StatsFlags) -> Result<(), Box<dyn Error>> {
    let stats = open(&flags.place, Policy::default())?.stats()?;
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

/// `cache-server export`.
pub(crate) fn export(flags: &ExportFlags) -> Result<(), Box<dyn Error>> {
    let storage = told(Storage::open_existing(&flags.data, Policy::default())?)?;
    let path = &flags.archive;
    let exported = if is_standard(path) {
        exchange::export(&storage, &flags.repository, io::stdout().lock(), path)?
    } else {
        export_to_file(&storage, flags)?
    };
    let Exported { repositories, manifests, blobs, incomplete } = exported;
    let left_out =
        if incomplete > 0 { format!("; {incomplete} incomplete manifests were left out") } else { String::new() };
    // Standard output may be the archive.
    writeln!(io::stderr(), "{repositories} repositories, {manifests} names of manifests, {blobs} blobs{left_out}")?;
    Ok(())
}

/// Under another name first: half an archive must not look like one.
fn export_to_file(storage: &Storage, flags: &ExportFlags) -> Result<Exported, Box<dyn Error>> {
    let path = &flags.archive;
    let at = |operation| move |cause| ExchangeError::File { operation, path: path.clone(), cause };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(directory).map_err(at("create"))?;
    let exported = exchange::export(storage, &flags.repository, BufWriter::new(file.as_file()), path)?;
    file.as_file().sync_all().map_err(at("sync"))?;
    file.persist(path).map_err(|error| at("create")(error.error))?;
    Ok(exported)
}

/// `cache-server import`.
pub(crate) fn import(flags: &ImportFlags) -> Result<(), Box<dyn Error>> {
    let storage = told(Storage::open(&flags.data, Policy::default())?)?;
    let path = &flags.archive;
    let at = |operation| move |cause| ExchangeError::File { operation, path: path.clone(), cause };
    let file = if is_standard(path) {
        // Its index comes last, and is needed first.
        let mut spooled = tempfile::tempfile().map_err(at("make a temporary file for"))?;
        io::copy(&mut io::stdin().lock(), &mut spooled).map_err(at("read"))?;
        spooled.rewind().map_err(at("read"))?;
        spooled
    } else {
        File::open(path).map_err(at("open"))?
    };
    let Imported { manifests, blobs } = exchange::import(&storage, file, path, flags.repository.as_ref())?;
    Ok(say(&format!("stored {manifests} manifests and {blobs} blobs that were not here"))?)
}

fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// What a collection did, in one line.
pub(crate) fn summary(collected: &Collected) -> String {
    let Collected { manifests, blobs, files, bytes, busy } = collected;
    let busy = if *busy > 0 { format!("; {busy} more are still being read") } else { String::new() };
    format!("removed {manifests} manifests, {blobs} blobs of repositories, {files} files of {bytes} bytes{busy}")
}
