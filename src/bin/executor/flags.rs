//! The command line: records and validates only; `settings` turns it into what the library takes.

// Doc comments are help texts here: brackets mean optional parts.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::cache::flags::CacheCommand;
use crate::command_line::flags::{LogFlags, PullFlags, with_booleans};
use crate::command_line::values::{AgeLimit, Bytes, KeyValue, boolean, parse_age, parse_bytes, parse_key_value, path};
use crate::key_pair::KeyPairFlags;
use crate::login::LoginFlags;
use crate::push::PushFlags;
use crate::verify::VerifyFlags;
use crate::without_effect::WithoutEffect;

/// Builds a container image from a Dockerfile inside an ordinary container, and pushes it.
///
/// Takes the command line of Kaniko's executor.
#[derive(Debug, Parser)]
#[command(
    name = "executor",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    args_override_self = true
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) build: BuildFlags,
    #[command(flatten)]
    pub(crate) output: OutputFlags,
    #[command(flatten)]
    pub(crate) cache: CacheFlags,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
    #[command(flatten)]
    pub(crate) log: LogFlags,
    #[command(flatten)]
    pub(crate) without_effect: WithoutEffect,
}

/// The whole command line.
pub(crate) fn command() -> clap::Command {
    with_booleans(CommandLine::command())
        .mut_subcommand("doctor", with_booleans)
        .mut_subcommand("push", with_booleans)
        .mut_subcommand("verify", with_booleans)
        .mut_subcommand("cache", |cache| cache.mut_subcommands(with_booleans))
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what this container allows, how RUN steps run here and what would be faster, and whether caches,
    /// credentials and registries are there. Takes the flags of a build; exit code 1 when one could not run.
    Doctor(Box<DoctorFlags>),
    /// Print the version.
    Version,
    /// Keep a user name and password for a registry in Docker's configuration file: the one in DOCKER_CONFIG,
    /// else in the home directory. The registry is not asked.
    Login(Box<LoginFlags>),
    /// Push an image that is there already: an archive of `docker save`, or an OCI image layout.
    Push(Box<PushFlags>),
    /// Verify the signature of an image, or an attestation, with public keys.
    Verify(Box<VerifyFlags>),
    /// Make a key pair for signatures, as cosign's command of this name: the password is YADOKARI_SIGN_PASSWORD,
    /// else COSIGN_PASSWORD.
    GenerateKeyPair(KeyPairFlags),
    /// List, explain, check and prune the layer cache.
    #[command(subcommand)]
    Cache(Box<CacheCommand>),
    /// Write man pages, one for each command.
    Man {
        /// Directory, made when missing.
        directory: PathBuf,
    },
    /// Print a completion script for a shell.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DoctorFlags {
    /// Print one JSON object.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) json: bool,
    /// Registry to reach: HOST[:PORT]. Repeatable.
    #[arg(long, value_name = "HOST")]
    pub(crate) registry: Vec<String>,
    #[command(flatten)]
    pub(crate) build: BuildFlags,
    #[command(flatten)]
    pub(crate) output: OutputFlags,
    #[command(flatten)]
    pub(crate) cache: CacheFlags,
    #[command(flatten)]
    pub(crate) registries: RegistryFlags,
    #[command(flatten)]
    pub(crate) log: LogFlags,
    #[command(flatten)]
    pub(crate) without_effect: WithoutEffect,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Build")]
pub(crate) struct BuildFlags {
    /// Build context: a directory, dir://PATH, tar://FILE, tar://stdin, https://HOST/FILE.tar.gz, s3://BUCKET/KEY,
    /// gs://BUCKET/KEY, https://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB,
    /// git://HOST/PATH[#REFERENCE[#COMMIT]], https://HOST/PATH.git[#REFERENCE[:DIRECTORY]],
    /// ssh://HOST/PATH, USER@HOST:PATH.
    #[arg(short, long, value_name = "CONTEXT", default_value = "/workspace/")]
    pub(crate) context: String,
    /// Older name of what --context takes of buckets: s3://BUCKET/KEY, gs://BUCKET/KEY; without a scheme, Google's. Counts
    /// where --context is empty or has a scheme.
    #[arg(short, long, value_name = "BUCKET")]
    pub(crate) bucket: Option<String>,
    /// Takes the place of the stage or image NAME: a directory, tar://FILE, a git repository, the URL of a
    /// file, docker-image://REFERENCE, oci-layout://PATH[:TAG][@DIGEST], or target:STAGE. Repeatable.
    #[arg(long, value_name = "NAME=CONTEXT", value_parser = parse_key_value)]
    pub(crate) build_context: Vec<KeyValue>,
    /// Directory of the context that is the context.
    #[arg(long, value_name = "DIRECTORY", default_value = "", hide_default_value = true)]
    pub(crate) context_sub_path: String,
    /// How a git context is fetched: branch=NAME, depth=COUNT (0: all), recurse-submodules=BOOL,
    /// insecure-skip-tls=BOOL, single-branch=BOOL (without effect: no other branch is ever fetched). Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_key_value)]
    pub(crate) git: Vec<KeyValue>,
    /// Dockerfile: a URL, or a path: looked for in the working directory, then in the context.
    #[arg(short = 'f', long, value_name = "FILE", default_value = "Dockerfile")]
    pub(crate) dockerfile: PathBuf,
    /// Value of an ARG; a bare NAME takes it from the environment. Repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) build_arg: Vec<String>,
    /// Stage to build; the last one by default. Several, repeated or between commas, are all built; the
    /// first is what is written.
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) target: Vec<String>,
    /// Platform of the image: os/arch[/variant]. Several, repeated or between commas, give an image
    /// index. RUN for another architecture needs a binfmt_misc handler.
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// The same under Kaniko's name.
    #[arg(long, alias = "customPlatform", value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) custom_platform: Vec<String>,
    /// Label of the image. Repeatable.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_key_value)]
    pub(crate) label: Vec<KeyValue>,
    /// Secret for RUN --mount=type=secret: id=ID[,src=FILE|,env=VARIABLE]. Repeatable.
    #[arg(long, value_name = "SPEC")]
    pub(crate) secret: Vec<String>,
    /// Agent for RUN --mount=type=ssh: ID (that of SSH_AUTH_SOCK), ID=SOCKET, or ID=KEY (more between commas). Repeatable.
    #[arg(long, value_name = "SPEC")]
    pub(crate) ssh: Vec<String>,
    /// Give every time in the image's layers and history the epoch, so that equal inputs give equal digests.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) reproducible: bool,
    /// With SOURCE_DATE_EPOCH (a build argument, or the variable): no file in the layers that this build makes is
    /// later than that. Without this flag only the image's creation and history have that time.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) rewrite_timestamp: bool,
    /// Make one layer of all that the steps of the image do, instead of one for each. Each is cached by itself all the same.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) single_snapshot: bool,
    /// How RUN steps run; auto takes the best that this container allows.
    #[arg(long, value_enum, default_value_t = SandboxFlag::Auto, value_name = "KIND")]
    pub(crate) sandbox: SandboxFlag,
    /// How many steps work at a time; 0: as many as there are cores.
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    pub(crate) jobs: usize,
    /// Build in place outside a container: it overwrites the root file system that it runs in.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) force: bool,
    /// When a RUN fails: end the build, or open a shell first, in the state that the step left and with its mounts and
    /// variables. The shell needs a terminal, and lets one stage run at a time.
    #[arg(long, value_enum, default_value_t = OnFailure::Fail, value_name = "WHAT")]
    pub(crate) on_failure: OnFailure,
    /// In place: wipe the root when the build has ended, however it ended.
    #[arg(long, env = "KANIKO_CLEANUP", value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) cleanup: bool,
    /// In place, with --cleanup: put the container's own files back after the wipe. They are archived before the build.
    #[arg(long, env = "KANIKO_PRESERVE_CONTEXT", value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) preserve_context: bool,
    /// In place: leave the image's files in the container's root, even when every step came from the cache.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) materialize: bool,
    /// How closely changes are looked for. Every mode finds what full finds: what is unchanged by inode, size, mode,
    /// owner and times is not read again.
    #[arg(long, alias = "snapshotMode", value_enum, default_value_t = SnapshotMode::Full, value_name = "MODE")]
    pub(crate) snapshot_mode: SnapshotMode,
    /// In place: how credentials that lie in the same root (Docker's config.json, key files, the files of
    /// --secret) are kept from RUN steps. auto: as far as steps do not notice. strict: all, with Landlock if
    /// need be, under which setuid programs have no effect and a step cannot read what it puts into new
    /// directories of /. off: not at all.
    #[arg(long, value_enum, default_value_t = HidingFlag::Auto, value_name = "HOW")]
    pub(crate) hide_credentials: HidingFlag,
    /// Directory for what a build needs while it runs, made when missing; the executor's own, or a
    /// temporary one. The executor stays where it is.
    #[arg(long, env = "KANIKO_DIR", value_name = "DIRECTORY")]
    pub(crate) kaniko_dir: Option<std::ffi::OsString>,
    /// In place: a path that wipes, base images and layers leave alone; `*`, `?` and `[` match within a name. Repeatable.
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub(crate) ignore_path: Vec<PathBuf>,
    /// In place: leave /var/run out of wipes and layers.
    #[arg(long, alias = "whitelist-var-run", value_parser = boolean(), default_value = "true", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) ignore_var_run: bool,
    /// Print what a build would do and where each step's result is cached, and end. Nothing runs. The variable
    /// KANIKO_PRINT_PLAN prints it before a build.
    #[arg(long, alias = "dry-run", value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) dryrun: bool,
    /// Check the Dockerfile and build nothing; exit code 1 when there is a warning.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) check: bool,
    /// How --check reports; default: json with --log-format=json, else text.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) check_format: Option<CheckFormat>,
}

/// `--check-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    Text,
    Json,
}

/// `--on-failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFailure {
    Fail,
    Shell,
}

/// `--snapshot-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SnapshotMode {
    Full,
    Redo,
    Time,
}

/// `--hide-credentials`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HidingFlag {
    Auto,
    Strict,
    Off,
}

/// `--sandbox`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SandboxFlag {
    Auto,
    Overlay,
    Userns,
    InPlace,
    None,
}

/// `--image-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageFormatFlag {
    Oci,
    Docker,
}

/// `--provenance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProvenanceFlag {
    #[value(alias = "0")]
    False,
    #[value(alias = "true", alias = "1")]
    Min,
    Max,
}

/// `--compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressionFlag {
    Gzip,
    Zstd,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputFlags {
    /// Name to push the image to. Repeatable.
    #[arg(short, long, value_name = "REFERENCE")]
    pub(crate) destination: Vec<String>,
    /// Build, but push nothing.
    #[arg(long, env = "KANIKO_NO_PUSH", value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) no_push: bool,
    /// Extra tries of a push.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) push_retry: u32,
    /// Go on when a registry does not let anybody move the tag: what it names stays.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) push_ignore_immutable_tag_errors: bool,
    /// Do not ask the destinations before the build whether they will take the image.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) skip_push_permission_check: bool,
    /// Media types of the image: those of OCI, or Docker's.
    #[arg(long, value_enum, default_value_t = ImageFormatFlag::Oci, value_name = "FORMAT")]
    pub(crate) image_format: ImageFormatFlag,
    /// Annotation of the image's manifest. Repeatable.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_key_value)]
    pub(crate) annotation: Vec<KeyValue>,
    /// How the layers of this build are compressed; those of base images stay as they are.
    #[arg(long, value_enum, default_value_t = CompressionFlag::Gzip, value_name = "FORMAT")]
    pub(crate) compression: CompressionFlag,
    /// How thoroughly: 1 to 12 with gzip, 1 to 22 with zstd; -1 for what is fast (1 and 3).
    #[arg(long, value_name = "LEVEL", default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) compression_level: i32,
    /// Private key that signs the image where it is pushed to, so that cosign and `executor verify` know it: as
    /// `generate-key-pair` or openssl write it. YADOKARI_SIGN_PASSWORD, else COSIGN_PASSWORD, opens an encrypted one.
    /// Nothing in the place of FILE: no signature.
    #[arg(long, env = "YADOKARI_SIGN_KEY", value_name = "FILE")]
    pub(crate) sign_key: Option<OsString>,
    /// Say how the image was built (SLSA provenance), beside it in its registry, signed when there is a --sign-key.
    /// min, which no value means, says build arguments by name only; max says their values, but for those that are
    /// called like secrets.
    #[arg(long, env = "YADOKARI_PROVENANCE", value_enum, default_value_t = ProvenanceFlag::False, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "min")]
    pub(crate) provenance: ProvenanceFlag,
    /// Say what is installed in the image (SPDX 2.3): packages of dpkg, apk and rpm, and those of languages, by lock files,
    /// installed metadata, Java archives and programs of Go. Beside the image in its registry, signed when there is a --sign-key.
    #[arg(long, env = "YADOKARI_SBOM", value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) sbom: bool,
    /// Write what was built as JSON, with the fields of `docker buildx build --metadata-file`.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Write what happened as one HTML page that needs nothing else: when each step ran and why, what the cache saved,
    /// and the largest files of each layer.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) report: Option<PathBuf>,
    /// Write an archive for `docker load`.
    #[arg(long, alias = "tarPath", value_name = "FILE", value_parser = path())]
    pub(crate) tar_path: Option<PathBuf>,
    /// Write an OCI image layout.
    #[arg(long, value_name = "DIRECTORY", value_parser = path())]
    pub(crate) oci_layout_path: Option<PathBuf>,
    /// Write the image's digest.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) digest_file: Option<PathBuf>,
    /// Write NAME@DIGEST of every destination.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) image_name_with_digest_file: Option<PathBuf>,
    /// Write NAME:TAG@DIGEST of every destination.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) image_name_tag_with_digest_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheFlags {
    /// Take the results of steps from the cache, and save them there.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) cache: bool,
    /// Repository of the layer cache, or oci:PATH; default: the first destination with /cache.
    /// Repeatable: all are read in order, the first is written.
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) cache_repo: Vec<String>,
    /// Cache that is read and never written: a repository, or oci:PATH. Repeatable.
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) cache_from: Vec<String>,
    /// Cache that is written, and read before all others: a repository, or oci:PATH. Repeatable.
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) cache_to: Vec<String>,
    /// Cache-server that holds the layer cache: http[s]://HOST[:PORT][/REPOSITORY]; REPOSITORY is `cache` by default.
    ///
    /// Counts with --cache. Used instead of the repository below the destination, or after --cache-repo.
    #[arg(long, env = "YADOKARI_CACHE_SERVER", value_name = "URL")]
    pub(crate) cache_server: Option<String>,
    /// Directory with base images from the warmer, and with the local layer cache when it is writable.
    #[arg(long, value_name = "DIRECTORY", default_value = "/cache", value_parser = path())]
    pub(crate) cache_dir: PathBuf,
    /// How long a record counts, and the tag of a warmed image until its registry is asked again.
    #[arg(long, value_name = "DURATION", default_value = "336h", value_parser = parse_age)]
    pub(crate) cache_ttl: AgeLimit,
    /// Cache COPY and ADD (unlike Kaniko's, on by default).
    #[arg(long, value_parser = boolean(), default_value = "true", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) cache_copy_layers: bool,
    /// Cache RUN and WORKDIR.
    #[arg(long, value_parser = boolean(), default_value = "true", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) cache_run_layers: bool,
    /// Say of each step that is not cached which record comes nearest and what differs, and what to
    /// copy first. Reads all records of all caches.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) explain_cache: bool,
    /// Private key that signs the records of this build (ECDSA P-256 or Ed25519, PEM as openssl or
    /// cosign write it; YADOKARI_SIGN_PASSWORD, else COSIGN_PASSWORD, opens an encrypted one).
    #[arg(long, value_name = "FILE")]
    pub(crate) cache_sign_key: Option<PathBuf>,
    /// Public key whose records are taken; others are misses then. Repeatable.
    #[arg(long, value_name = "FILE")]
    pub(crate) cache_trusted_key: Vec<PathBuf>,
    /// Read the cache repository, but never write it.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) no_push_cache: bool,
    /// Keep the cache mounts of RUN in the cache repository, too: restored where they are absent, saved where
    /// they changed. Works without --cache.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) cache_mounts_remote: bool,
    /// Longest cache mount that is saved or restored: such as 500MB or 5GiB.
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = parse_bytes)]
    pub(crate) cache_mounts_max_bytes: Bytes,
    /// Part of every cache key: another value starts an empty cache.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) cache_salt: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct RegistryFlags {
    /// Push, and use the cache, over plain HTTP.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) insecure: bool,
    /// Do not verify TLS certificates.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) skip_tls_verify: bool,
    /// Extra tries of a request to a registry; never less than 3.
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    pub(crate) image_download_retry: u32,
    /// Who may find credentials that Docker's configuration does not have: env, google, ecr, acr, gitlab, github. All
    /// unless some are named; an empty name for none. Repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) credential_helpers: Vec<String>,
    /// The same: what is extracted comes straight from the registry, and goes on where it broke off.
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    pub(crate) image_fs_extract_retry: u32,
    #[command(flatten)]
    pub(crate) pull: PullFlags,
}
