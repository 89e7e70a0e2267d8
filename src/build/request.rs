use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error::BuildError;
use super::layouts::ImageLayouts;
use super::run::RemoteMounts;
use crate::cache::TieredCache;
use crate::context::ContextDirectory;
use crate::digest::Digest;
use crate::image::media_type::ImageFormat;
use crate::image::{Descriptor, Platform, Reference};
use crate::layer::LayerCompression;
use crate::plan::{PlanOptions, Source};
use crate::registry::Client;
use crate::report::{LayerDetails, Observer};
use crate::sandbox;
use crate::signature::SigningKey;
use crate::store::Store;

/// What to build and where to put it.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The Dockerfile.
    pub dockerfile: DockerfileText,
    /// Build arguments, target, labels; the platform when `platforms` names none.
    pub options: PlanOptions,
    /// One image is built for each, in this order; none: one, for the platform of `options`.
    pub platforms: Vec<Platform>,
    /// Make an index of one image too; of several there always is one.
    pub index: bool,
    /// What the layer cache is used for.
    pub caching: Caching,
    /// Set every time in the image to the epoch (`--reproducible`).
    pub reproducible: bool,
    /// With an epoch: no file of the new layers is later (`--rewrite-timestamp`).
    pub rewrite_times: bool,
    /// One layer for all steps of the image (`--single-snapshot`).
    pub single_layer: bool,
    /// In place: leave the image's files in the root, whatever came from the cache (`--materialize`).
    pub materialize: bool,
    /// How many steps may work at a time (`--jobs`).
    pub jobs: NonZeroUsize,
    /// Open a shell where a RUN failed (`--on-failure=shell`). The standard error is a terminal then.
    pub shell_on_failure: bool,
    /// For `RUN --mount=type=secret`.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of ssh agents by id, for `RUN --mount=type=ssh`.
    pub ssh: BTreeMap<String, PathBuf>,
    /// What the image's documents are like.
    pub form: ImageForm,
    /// How the layers of this build are compressed; those of base images stay as they are.
    pub compression: LayerCompression,
    /// Find out what a page tells besides events (`--report`).
    pub details: bool,
    /// Where the image goes.
    pub outputs: Outputs,
}

/// What an image's documents are like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageForm {
    /// Their media types (`--image-format`).
    pub format: ImageFormat,
    /// Of the manifest (`--annotation`).
    pub annotations: BTreeMap<String, String>,
}

/// A Dockerfile and what to call it in errors.
#[derive(Debug, Clone)]
pub struct DockerfileText {
    /// As the user named it.
    pub name: String,
    /// Raw.
    pub bytes: Vec<u8>,
}

/// What the layer cache is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caching {
    /// Look up and save the results of RUN and WORKDIR.
    pub run_layers: bool,
    /// Look up and save the results of COPY and ADD.
    pub copy_layers: bool,
    /// Part of every key.
    pub salt: String,
    /// Tell of each miss all that differs from the nearest record of any cache, and give advice.
    pub explain: bool,
}

/// The bytes of a secret; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl BuildRequest {
    /// What to plan: once per platform.
    pub(super) fn variants(&self) -> Vec<PlanOptions> {
        if self.platforms.is_empty() {
            return vec![self.options.clone()];
        }
        let of = |platform: &Platform| PlanOptions { platform: Some(platform.clone()), ..self.options.clone() };
        self.platforms.iter().map(of).collect()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where the image goes. All may be empty.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// Pushed to, unless `push` is false; also the names inside `tar`.
    pub destinations: Vec<Reference>,
    /// False for `--no-push`.
    pub push: bool,
    /// Extra tries of a push (`--push-retry`).
    pub push_retries: u32,
    /// A tag that the registry does not let anybody move is as good as pushed
    /// (`--push-ignore-immutable-tag-errors`).
    pub ignore_immutable_tags: bool,
    /// Do not ask the destinations before the build whether they will take it
    /// (`--skip-push-permission-check`).
    pub skip_push_check: bool,
    /// `--tar-path`: a `docker load` archive.
    pub tar: Option<PathBuf>,
    /// `--oci-layout-path`.
    pub oci_layout: Option<PathBuf>,
    /// `--digest-file`.
    pub digest_file: Option<PathBuf>,
    /// `--image-name-with-digest-file`.
    pub name_with_digest_file: Option<PathBuf>,
    /// `--image-name-tag-with-digest-file`.
    pub name_tag_with_digest_file: Option<PathBuf>,
    /// Gets a file `images` after the push: a JSON object with `name` and `digest` per line, for Skaffold and
    /// Cloud Build (the variable `BUILDER_OUTPUT`).
    pub images_directory: Option<PathBuf>,
    /// What lies beside the image in its registry.
    pub attestations: Attestations,
}

/// What is said about the image where it is pushed to.
#[derive(Debug, Clone, Default)]
pub struct Attestations {
    /// Signs the image and all else that is said about it (`--sign-key`).
    pub signer: Option<Arc<SigningKey>>,
    /// Say how it was built (`--provenance`, `--metadata-file`).
    pub provenance: Option<ProvenanceOptions>,
    /// Say what is in it (`--sbom`).
    pub sbom: bool,
}

/// What is said about how an image was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenanceOptions {
    /// Attach it to the image; else it is in the report alone.
    pub attach: bool,
    /// Say the values of build arguments, but for those that are called like secrets; else only their names.
    pub with_values: bool,
    /// Who builds, a URI.
    pub builder: String,
    /// Of this build alone.
    pub invocation: String,
    /// Where the context came from, without user and query; `None` for a directory.
    pub context: Option<String>,
}

impl Attestations {
    /// Whether there is anything to say.
    pub(super) fn is_some(&self) -> bool {
        self.signer.is_some() || self.sbom || self.attaches_provenance()
    }

    pub(super) fn attaches_provenance(&self) -> bool {
        self.provenance.as_ref().is_some_and(|provenance| provenance.attach)
    }
}

/// What a build works with.
pub struct Services<'a> {
    /// Base images come from here, images go there.
    pub registry: &'a Client,
    /// Blobs, records, extracted layers.
    pub store: &'a Store,
    /// Base images that a warmer fetched, when that is another directory than `store`.
    pub warm: Option<&'a Store>,
    /// How long a tag in `store` or `warm` counts before its registry is asked again.
    pub warm_ttl: Duration,
    /// The layer cache; `None` for `--cache=false`.
    pub cache: Option<&'a TieredCache>,
    /// Cache mounts of RUN in a cache repository; `None` when they are only kept in `store`.
    pub cache_mounts: Option<&'a RemoteMounts>,
    /// Cache repositories: blobs that are there can be mounted into a destination.
    pub cache_repositories: &'a [Reference],
    /// The files that COPY and ADD take.
    pub context: &'a ContextDirectory,
    /// Named contexts that are files, by the keys of [`crate::plan::NamedContexts`].
    pub contexts: &'a BTreeMap<String, ContextDirectory>,
    /// Images of this machine that named contexts are.
    pub layouts: &'a ImageLayouts,
    /// How RUN runs.
    pub sandbox: &'a SandboxChoice,
    /// Fetches what ADD names by URL.
    pub http: &'a ureq::Agent,
    /// The environment that git gets.
    pub git_environment: &'a [(OsString, OsString)],
    /// For upper directories, mounts and spooled files; on a file system that overlay accepts.
    pub work: &'a Path,
    /// Told of everything.
    pub observer: &'a dyn Observer,
}

impl<'a> Services<'a> {
    /// The context that `source` is; `None` for a stage or an image.
    pub(super) fn files(&self, source: &Source) -> Result<Option<&'a ContextDirectory>, BuildError> {
        match source {
            Source::Context => Ok(Some(self.context)),
            Source::Named(name) => {
                let missing = || BuildError::NoContext { name: name.clone() };
                self.contexts.get(name).map(Some).ok_or_else(missing)
            }
            Source::Stage(_) | Source::Image(_) => Ok(None),
        }
    }
}

/// How RUN runs, decided once.
pub struct SandboxChoice {
    /// Which sandbox, and why.
    pub probe: sandbox::Probe,
    /// Whether the work directory's file system can hold an overlay's upper directory.
    pub holds_overlay: bool,
    /// What runs the processes.
    pub sandbox: Box<dyn sandbox::Sandbox>,
    /// Ends them all.
    pub cancel: sandbox::Cancel,
    /// Directories that are no part of an in-place root.
    pub ignore: sandbox::IgnoreList,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildReport {
    /// Of the image manifest; of the index when there is one.
    pub digest: Digest,
    /// Of the same document.
    pub descriptor: Descriptor,
    /// The images, one per platform.
    pub images: Vec<BuiltImage>,
    /// How the index was built, when it was asked for.
    pub provenance: Option<serde_json::Value>,
    /// When it was asked for.
    pub details: Option<BuildDetails>,
}

/// What a page tells of a build besides its events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildDetails {
    /// How long each step took when it was made, where that is known; in plan order.
    pub saved: Vec<Option<Duration>>,
    /// Of all images.
    pub layers: Vec<LayerDetails>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// What it is for.
    pub platform: Platform,
    /// Of its manifest.
    pub digest: Digest,
    /// Of its configuration.
    pub config: Digest,
    /// How it was built, when it was asked for.
    pub provenance: Option<serde_json::Value>,
}
