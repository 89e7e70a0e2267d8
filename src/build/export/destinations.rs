//! What is learned of the destinations while the build is planned: whether a push will be allowed, and
//! what is there already.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::error::BuildError;
use super::super::request::Outputs;
use crate::digest::Digest;
use crate::image::Reference;
use crate::parallel::{beside, in_parallel};
use crate::registry::{Client, Emptiness, OpenUpload, Purpose};

/// Destinations that are looked at side by side.
const JOBS: usize = 8;

/// How long it counts what was there: somebody else may push, too.
const BELIEVED: Duration = Duration::from_secs(5);

/// How long an upload that was opened is used: a registry may have swept it after that.
const UPLOAD_LIFE: Duration = Duration::from_secs(60);

/// All destinations, by their names.
pub(in super::super) struct Destinations(BTreeMap<String, Destination>);

/// One destination, as it was when the build began.
pub(super) struct Destination {
    seen: Instant,
    /// The document that the tag named, if any; `None`: not known.
    named: Option<Option<Digest>>,
    /// What the permission was asked with, until it is of use or of none.
    upload: Mutex<Option<OpenUpload>>,
    emptiness: Emptiness,
    /// Takes back the upload where it is of no use; the build does not wait for that, its end does.
    cancelling: Option<JoinHandle<()>>,
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some(cancelling) = self.cancelling.take() {
            // Whether it went well is the registry's business.
            let _ = cancelling.join();
        }
    }
}

impl Destinations {
    /// Asks each repository whether a push will be allowed, before hours go into a build, and each tag
    /// what it names.
    ///
    /// # Source
    /// Kaniko, `CheckPushPermissions`.
    pub(in super::super) fn look(outputs: &Outputs, registry: &Client) -> Result<Self, BuildError> {
        let wanted = if outputs.push { outputs.destinations.as_slice() } else { &[] };
        let mut repositories = BTreeSet::new();
        let first = wanted.iter().map(|destination| (destination, repositories.insert(destination.name())));
        let all: Vec<(&Reference, bool)> = first.collect();
        let looked = in_parallel(&all, JOBS, |(destination, first)| {
            let seen = Destination::look(destination, *first, outputs.skip_push_check, registry);
            seen.map(|seen| (destination.to_string(), seen))
        });
        looked.into_iter().collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn get(&self, destination: &Reference) -> Option<&Destination> {
        self.0.get(&destination.to_string())
    }
}

impl Destination {
    /// Asks more of the `first` destination of a repository.
    fn look(to: &Reference, first: bool, skip_check: bool, registry: &Client) -> Result<Self, BuildError> {
        let open = || (first && !skip_check).then(|| registry.open_upload(to)).transpose();
        // Whoever pushes finds out what is wrong, if it still is.
        let (upload, named) = beside(open, || registry.head_manifest(to, Purpose::Push).ok());
        let refused = |source| BuildError::PushCheck { destination: to.to_string(), source };
        let named = named.map(|found| found.map(|document| document.digest));
        let is_new = matches!(named, Some(None));
        // A tag that is there mostly is the image to come: there is nothing to upload then.
        let (upload, unused) = upload.map_err(refused)?.map_or((None, None), |upload| match is_new {
            true => (Some(upload), None),
            false => (None, Some(upload)),
        });
        let cancelling = unused.map(|upload| thread::spawn(|| drop(upload)));
        let emptiness = Emptiness::default();
        if first && is_new {
            emptiness.ask(registry, to);
        }
        Ok(Self { seen: Instant::now(), named, upload: Mutex::new(upload), emptiness, cancelling })
    }

    /// Whether the tag names this document; `None` when it has to be asked.
    pub(super) fn names(&self, digest: &Digest) -> Option<bool> {
        let named = self.named.as_ref().filter(|_| self.seen.elapsed() < BELIEVED);
        named.map(|named| named.as_ref() == Some(digest))
    }

    /// Whether the repository is known to have no image: then it need not be asked for anything.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.elapsed() < BELIEVED && self.emptiness.is_known(BELIEVED)
    }

    /// The upload that is open, for one blob.
    pub(super) fn upload(&self) -> Option<OpenUpload> {
        let upload = self.upload.lock().unwrap_or_else(PoisonError::into_inner).take();
        upload.filter(|_| self.seen.elapsed() < UPLOAD_LIFE)
    }
}
