//! `executor push`: an image that is there already, to registries.

mod archive;
mod layout;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args};
use yadokari::digest::Digest;
use yadokari::image::{Descriptor, Reference};
use yadokari::parallel::in_parallel;
use yadokari::registry::{Client, Purpose, RegistryError};
use yadokari::report::{Event, Observer};
use yadokari::store::StoreError;

use crate::command_line::display;
use crate::command_line::flags::LogFlags;
use crate::command_line::settings::env;
use crate::command_line::values::boolean;
use crate::failure::Failure;
use crate::flags::RegistryFlags;
use crate::settings;

/// Blobs that are checked and uploaded side by side.
const JOBS: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct PushFlags {
    /// An archive of `docker save` or --tar-path with one image, or a directory with an OCI image layout.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Name to push the image to. Repeatable.
    #[arg(short, long, value_name = "REFERENCE", required = true)]
    destination: Vec<String>,
    /// Extra tries of a push.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    push_retry: u32,
    /// Go on when a registry does not let anybody move the tag: what it names stays.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    push_ignore_immutable_tag_errors: bool,
    /// Do not ask all destinations first whether they will take the image.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    skip_push_permission_check: bool,
    #[command(flatten)]
    registry: RegistryFlags,
    #[command(flatten)]
    log: LogFlags,
}

/// Why an image was not pushed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error("failed to read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is no image: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
    #[error("failed to read {}", path.display())]
    Layout {
        path: PathBuf,
        #[source]
        source: StoreError,
    },
    #[error("failed to push {destination}")]
    Push {
        destination: String,
        #[source]
        source: RegistryError,
    },
}

fn unusable(path: &Path, reason: impl Into<String>) -> PushError {
    PushError::Unusable { path: path.into(), reason: reason.into() }
}

/// A document or a list of documents.
struct Document {
    media_type: String,
    bytes: Vec<u8>,
}

impl Document {
    fn digest(&self) -> Digest {
        Digest::sha256(&self.bytes)
    }
}

/// An image, or several with their index.
struct Stored {
    /// What they name, each once.
    blobs: Vec<(Descriptor, Box<dyn Blob>)>,
    /// What the index names, before it.
    below: Vec<Document>,
    /// What gets the name.
    root: Document,
}

/// Where a blob is read from.
trait Blob: Send + Sync {
    fn open(&self) -> io::Result<Box<dyn Read + Send>>;
}

/// Carries out the command.
pub(crate) fn run(flags: &PushFlags) -> Result<(), Failure> {
    let observer = display::observer(&flags.log, &env);
    settings::unknown_helpers(&flags.registry).for_each(|warning| observer.event(Event::Warning(warning)));
    let destinations: Vec<Reference> =
        flags.destination.iter().map(|text| settings::reference(text)).collect::<Result<_, _>>()?;
    let stored = if flags.path.is_dir() { layout::open(&flags.path)? } else { archive::open(&flags.path)? };
    let client = Client::new(
        settings::client_options(&flags.registry, &env)?,
        settings::registry_credentials(&flags.registry)?,
    )?;
    if !flags.skip_push_permission_check {
        check(&client, &destinations)?;
    }
    for destination in &destinations {
        push_patiently(flags, &client, &stored, destination, observer.as_ref())?;
    }
    Ok(())
}

fn check(client: &Client, destinations: &[Reference]) -> Result<(), PushError> {
    let mut asked = BTreeSet::new();
    for destination in destinations.iter().filter(|destination| asked.insert(destination.name())) {
        let failed = |source| PushError::Push { destination: destination.to_string(), source };
        client.check_push(destination).map_err(failed)?;
    }
    Ok(())
}

fn push_patiently(
    flags: &PushFlags,
    client: &Client,
    stored: &Stored,
    destination: &Reference,
    observer: &dyn Observer,
) -> Result<(), PushError> {
    let mut attempt = 0;
    loop {
        match push(client, stored, destination) {
            Ok(()) => {
                observer.event(Event::Info(format!("pushed {destination}@{}", stored.root.digest())));
                return Ok(());
            }
            Err(error) if flags.push_ignore_immutable_tag_errors && error.is_immutable_tag() => {
                observer.event(Event::Warning(format!("{destination} stays as it is: {}", error.fault)));
                return Ok(());
            }
            Err(error) if attempt < flags.push_retry && error.is_transient() => {
                observer.event(Event::Warning(format!("push to {destination} failed, trying again: {error}")));
                std::thread::sleep(Duration::from_secs(1 << attempt.min(6)));
                attempt += 1;
            }
            Err(source) => return Err(PushError::Push { destination: destination.to_string(), source }),
        }
    }
}

/// Blobs, then what the index names, then what has the name.
fn push(client: &Client, stored: &Stored, destination: &Reference) -> Result<(), RegistryError> {
    let there = client.head_manifest(destination, Purpose::Push)?;
    if there.is_some_and(|there| there.digest == stored.root.digest()) {
        return Ok(());
    }
    let pushed =
        in_parallel(&stored.blobs, JOBS, |(blob, source)| push_blob(client, destination, blob, source.as_ref()));
    pushed.into_iter().collect::<Result<(), _>>()?;
    for document in &stored.below {
        let name = destination.with_digest(document.digest());
        client.push_manifest(&name, &document.media_type, &document.bytes)?;
    }
    client.push_manifest(destination, &stored.root.media_type, &stored.root.bytes).map(drop)
}

fn push_blob(client: &Client, to: &Reference, blob: &Descriptor, source: &dyn Blob) -> Result<(), RegistryError> {
    if client.has_blob(to, &blob.digest)? {
        return Ok(());
    }
    client.push_blob(to, blob, &|| source.open(), &|_| ())
}
