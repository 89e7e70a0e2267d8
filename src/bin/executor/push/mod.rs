//! `executor push`: an image that is there already, to registries.

mod archive;
mod layout;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args};
use yadokari::attest::{Attacher, AttestError};
use yadokari::digest::Digest;
use yadokari::image::{Descriptor, Reference};
use yadokari::parallel::in_parallel;
use yadokari::registry::{Client, Purpose, RegistryError};
use yadokari::report::{Event, Observer};
use yadokari::signature::SigningKey;
use yadokari::store::StoreError;

use crate::command_line::display;
use crate::command_line::flags::LogFlags;
use crate::command_line::settings::env;
use crate::command_line::values::boolean;
use crate::failure::Failure;
use crate::flags::RegistryFlags;
use crate::{keys, settings};

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
    /// Private key that signs the image, and of an index every image in it, so that cosign and `executor verify` know it: as
    /// `generate-key-pair` or openssl write it. YADOKARI_SIGN_PASSWORD, else COSIGN_PASSWORD, opens an encrypted one.
    /// Nothing in the place of FILE: no signature.
    #[arg(long, env = "YADOKARI_SIGN_KEY", value_name = "FILE")]
    sign_key: Option<OsString>,
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
    #[error("failed to sign {destination}")]
    Sign {
        destination: String,
        #[source]
        source: AttestError,
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

    fn descriptor(&self) -> Descriptor {
        Descriptor::of(&self.media_type, &self.bytes)
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
    let signer = keys::signer(flags.sign_key.as_deref(), &env)?;
    let stored = if flags.path.is_dir() { layout::open(&flags.path)? } else { archive::open(&flags.path)? };
    let client = Client::new(
        settings::client_options(&flags.registry, &env)?,
        settings::registry_credentials(&flags.registry)?,
    )?;
    if !flags.skip_push_permission_check {
        check(&client, &destinations)?;
    }
    for destination in &destinations {
        let push = Push { client: &client, stored: &stored, destination, signer: signer.as_ref() };
        push_patiently(flags, &push, observer.as_ref())?;
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

/// One destination.
struct Push<'a> {
    client: &'a Client,
    stored: &'a Stored,
    destination: &'a Reference,
    signer: Option<&'a SigningKey>,
}

fn push_patiently(flags: &PushFlags, push: &Push<'_>, observer: &dyn Observer) -> Result<(), PushError> {
    let (destination, mut attempt) = (push.destination, 0);
    loop {
        match push.once() {
            Ok(()) => {
                observer.event(Event::Info(format!("pushed {destination}@{}", push.stored.root.digest())));
                return Ok(());
            }
            Err(PushError::Push { source, .. })
                if flags.push_ignore_immutable_tag_errors && source.is_immutable_tag() =>
            {
                observer.event(Event::Warning(format!("{destination} stays as it is: {}", source.fault)));
                return Ok(());
            }
            Err(PushError::Push { source, .. }) if attempt < flags.push_retry && source.is_transient() => {
                observer.event(Event::Warning(format!("push to {destination} failed, trying again: {source}")));
                std::thread::sleep(Duration::from_secs(1 << attempt.min(6)));
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

impl Push<'_> {
    fn once(&self) -> Result<(), PushError> {
        let root = &self.stored.root;
        let failed = |source| PushError::Push { destination: self.destination.to_string(), source };
        let there = self.client.head_manifest(self.destination, Purpose::Push).map_err(failed)?;
        let is_named = there.is_some_and(|there| there.digest == root.digest());
        if !is_named {
            self.contents().map_err(failed)?;
        }
        if let Some(key) = self.signer {
            // Whoever finds the name finds the signature.
            if !is_named {
                self.document(&self.destination.with_digest(root.digest()), root).map_err(failed)?;
            }
            self.sign(key)?;
        }
        if is_named { Ok(()) } else { self.document(self.destination, root).map_err(failed) }
    }

    /// Blobs, then what the index names.
    fn contents(&self) -> Result<(), RegistryError> {
        let pushed = in_parallel(&self.stored.blobs, JOBS, |(blob, source)| {
            push_blob(self.client, self.destination, blob, source.as_ref())
        });
        pushed.into_iter().collect::<Result<(), _>>()?;
        let mut below = self.stored.below.iter();
        below.try_for_each(|document| self.document(&self.destination.with_digest(document.digest()), document))
    }

    fn document(&self, name: &Reference, document: &Document) -> Result<(), RegistryError> {
        self.client.push_manifest(name, &document.media_type, &document.bytes).map(drop)
    }

    /// What gets the name, and all below it, as a build does.
    fn sign(&self, key: &SigningKey) -> Result<(), PushError> {
        let attacher = Attacher::new(self.client, self.destination);
        let subjects: Vec<Descriptor> =
            std::iter::once(&self.stored.root).chain(&self.stored.below).map(Document::descriptor).collect();
        let signed = in_parallel(&subjects, JOBS, |subject| attacher.sign(subject, key));
        let failed = |source| PushError::Sign { destination: self.destination.to_string(), source };
        signed.into_iter().collect::<Result<(), _>>().map_err(failed)
    }
}

fn push_blob(client: &Client, to: &Reference, blob: &Descriptor, source: &dyn Blob) -> Result<(), RegistryError> {
    if client.has_blob(to, &blob.digest)? {
        return Ok(());
    }
    client.push_blob(to, blob, &|| source.open(), &|_| ())
}
