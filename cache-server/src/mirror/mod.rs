//! A pull-through mirror: what is asked for and not here comes from the registry that it is a
//! mirror of, and stays.
//!
//! Its repositories are named after the registry: `docker.io/library/alpine`. Nobody pushes there.

mod blob;
mod manifest;
mod state;
mod upstream;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as AsyncMutex;
use yadokari::digest::Digest;
use yadokari::registry::RegistryError;

use crate::name::RepositoryName;
use crate::storage::StorageError;
pub(crate) use blob::Flight;
pub(crate) use manifest::{Freshness, Source};
pub(crate) use state::MirrorState;
use state::Watch;
pub(crate) use upstream::{MirrorError, Upstream};

/// What is mirrored.
#[derive(Debug, Clone)]
pub(crate) struct MirrorSettings {
    pub(crate) upstreams: Vec<Upstream>,
    /// A tag is asked for again after so long.
    pub(crate) tag_ttl: Duration,
}

/// A repository here, and a tag or digest.
type Name = (RepositoryName, String);

/// All mirrors of a server.
#[derive(Debug, Default)]
pub(crate) struct Mirrors {
    places: Vec<Mirrored>,
    tag_ttl: Duration,
    /// When a registry last said what a tag names.
    validated: Mutex<HashMap<Name, Instant>>,
    /// Manifests that are being fetched, so that one request does it.
    fetching: Mutex<HashMap<Name, Arc<AsyncMutex<()>>>>,
    flights: Mutex<HashMap<(RepositoryName, Digest), Arc<Flight>>>,
}

#[derive(Debug)]
struct Mirrored {
    upstream: Upstream,
    client: yadokari::registry::Client,
    watch: Watch,
}

/// A repository here, and what it is a copy of.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Its name here.
    pub(crate) repository: RepositoryName,
    /// What the client called the registry, if it did.
    pub(crate) namespace: Option<String>,
    pub(crate) source: Source,
}

/// Why something did not come from a mirrored registry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Upstream(#[from] RegistryError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the mirrored registry sent no usable manifest")]
    Document(#[from] crate::document::DocumentError),
    #[error("failed to read from the mirrored registry")]
    Read(#[from] std::io::Error),
}

impl Mirrors {
    /// # Errors
    /// [`MirrorError`] for credentials or settings that cannot be used.
    pub(crate) fn new(settings: &MirrorSettings) -> Result<Self, MirrorError> {
        let places = settings.upstreams.iter().map(|upstream| {
            let client = upstream.client()?;
            Ok(Mirrored { upstream: upstream.clone(), client, watch: Watch::default() })
        });
        let places = places.collect::<Result<_, MirrorError>>()?;
        Ok(Self { places, tag_ttl: settings.tag_ttl, ..Self::default() })
    }

    /// The mirror that a request for `repository` is about; `namespace` is its `ns` parameter.
    pub(crate) fn place(&self, repository: &RepositoryName, namespace: Option<&str>) -> Option<Place> {
        match namespace {
            Some(name) => {
                let mirrored = self.named(name)?;
                let mut place = mirrored.place(repository.as_str())?;
                place.namespace = Some(name.to_owned());
                Some(place)
            }
            None => {
                let (name, path) = repository.as_str().split_once('/')?;
                self.places.iter().find(|mirrored| mirrored.upstream.prefix() == name)?.place(path)
            }
        }
    }

    /// Where a name that nobody pushed to may come from.
    pub(crate) fn fallback(&self, repository: &RepositoryName) -> Option<Place> {
        self.named("docker.io")?.place(repository.as_str())
    }

    /// Says whether `repository` holds copies only.
    pub(crate) fn covers(&self, repository: &RepositoryName) -> bool {
        self.place(repository, None).is_some()
    }

    /// The registry and the repository there that `repository` is a copy of.
    pub(crate) fn origin(&self, repository: &RepositoryName) -> Option<(&str, String)> {
        let (prefix, path) = repository.as_str().split_once('/')?;
        let mirrored = self.places.iter().find(|mirrored| mirrored.upstream.prefix() == prefix)?;
        Some((mirrored.upstream.name(), path.to_owned()))
    }

    /// How each mirrored registry has been doing: its name, and that.
    pub(crate) fn states(&self) -> Vec<(String, MirrorState)> {
        self.places.iter().map(|mirrored| (mirrored.upstream.name().to_owned(), mirrored.watch.state())).collect()
    }

    fn named(&self, name: &str) -> Option<&Mirrored> {
        self.places.iter().find(|mirrored| mirrored.upstream.name() == name)
    }
}

impl Mirrored {
    fn place(&self, path: &str) -> Option<Place> {
        let repository = format!("{}/{path}", self.upstream.prefix()).parse().ok()?;
        let reference = self.upstream.reference(path)?;
        Some(Place {
            repository,
            namespace: None,
            source: Source { client: self.client.clone(), reference, watch: self.watch.clone() },
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
