//! Flags to what the library takes: reads the files and variables that flags name.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal, stderr, stdin};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use yadokari::build::{Attestations, BuildRequest, Caching, DockerfileText, ImageForm, Outputs, Secret};
use yadokari::context::{ContextSpec, FoundContext, GitOptions, GitOptionsError};
use yadokari::image::media_type::{Compression, ImageFormat};
use yadokari::image::{Platform, Reference};
use yadokari::layer::LayerCompression;
use yadokari::plan::{NamedContexts, PlanOptions};
use yadokari::registry::{ClientOptions, Credentials, Helper};
use yadokari::sandbox::Requested;

use crate::command_line::flags::LENIENT_VARIABLES;
use crate::command_line::settings::{self as command_line, Environment, SettingsError, usage};
use crate::command_line::values::{KeyValue, parse_boolean};
use crate::command_line::web_dockerfile;
use crate::flags::{
    BuildFlags, CacheFlags, CommandLine, CompressionFlag, ImageFormatFlag, OnFailure, OutputFlags, RegistryFlags,
    SandboxFlag,
};
use crate::workplace::DEFAULT_CACHE;

/// Flags that only make sense together.
///
/// # Source
/// Kaniko `cmd/executor`: the same checks.
pub(crate) fn check(line: &CommandLine) -> Result<(), SettingsError> {
    let output = &line.output;
    if line.build.context.is_empty() {
        return Err(usage("--context is empty: name the build context"));
    }
    if output.destination.is_empty() && !output.no_push {
        return Err(usage("you must provide --destination, or use --no-push"));
    }
    if line.cache.cache
        && output.no_push
        && !names_cache(&line.cache)
        && output.destination.is_empty()
        && !line.cache.no_push_cache
    {
        return Err(usage("when using --no-push with --cache you must provide --cache-repo (or --no-push-cache)"));
    }
    if line.build.on_failure == OnFailure::Shell && !(stdin().is_terminal() && stderr().is_terminal()) {
        return Err(usage("--on-failure=shell needs a terminal as standard input and standard error"));
    }
    if line.cache.cache_mounts_remote && !names_cache(&line.cache) && output.destination.is_empty() {
        return Err(usage("--cache-mounts-remote needs a --cache-repo when there is no --destination"));
    }
    let is_docker = output.image_format == ImageFormatFlag::Docker;
    if output.compression == CompressionFlag::Zstd && (is_docker || output.tar_path.is_some()) {
        let other = if is_docker { "--image-format=docker" } else { "--tar-path" };
        return Err(usage(format!("--compression=zstd does not go with {other}: Docker's images have gzip layers")));
    }
    let names = output.image_name_with_digest_file.is_some() || output.image_name_tag_with_digest_file.is_some();
    if names && output.destination.is_empty() {
        return Err(usage("files with the image's name need a --destination"));
    }
    Ok(())
}

fn names_cache(flags: &CacheFlags) -> bool {
    let lists = [&flags.cache_repo, &flags.cache_from, &flags.cache_to];
    flags.cache_server.is_some() || lists.iter().any(|names| !names.is_empty())
}

/// `--jobs`; the number of cores when it is 0.
pub(crate) fn jobs(flags: &BuildFlags) -> NonZeroUsize {
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    if flags.on_failure == OnFailure::Shell {
        return NonZeroUsize::MIN;
    }
    NonZeroUsize::new(flags.jobs).unwrap_or_else(cores)
}

/// What a build writes beside the image.
fn output_paths(flags: &mut OutputFlags) -> [&mut Option<PathBuf>; 7] {
    [
        &mut flags.tar_path,
        &mut flags.oci_layout_path,
        &mut flags.digest_file,
        &mut flags.image_name_with_digest_file,
        &mut flags.image_name_tag_with_digest_file,
        &mut flags.metadata_file,
        &mut flags.report,
    ]
}

/// In place, the working directory may be gone when files are written.
fn absolute(path: PathBuf) -> PathBuf {
    let is_url = path.to_str().is_some_and(web_dockerfile::is_url);
    if is_url { path } else { std::path::absolute(&path).unwrap_or(path) }
}

/// Takes flags with nothing in the place of their value for flags that are not there, as pipelines write them where a
/// variable is empty.
///
/// # Source
/// Kaniko `cmd/executor`: its strings are empty by default, and its lists ask whether they hold a name.
pub(crate) fn without_empty(mut line: CommandLine) -> CommandLine {
    output_paths(&mut line.output).into_iter().for_each(|path| {
        *path = path.take().filter(|path| !path.as_os_str().is_empty()).map(absolute);
    });
    line.registry.pull.drop_empty();
    let (build, cache) = (&mut line.build, &mut line.cache);
    let repeated = [&mut cache.cache_repo, &mut cache.cache_from, &mut cache.cache_to];
    repeated.into_iter().for_each(|list| list.retain(|text| !text.is_empty()));
    // A comma says that there is to be another one.
    let separated = [&mut build.target, &mut build.platform, &mut build.custom_platform];
    separated.into_iter().filter(|list| list.iter().all(String::is_empty)).for_each(Vec::clear);
    build.ignore_path.retain(|path| !path.as_os_str().is_empty());
    if cache.cache_dir.as_os_str().is_empty() {
        cache.cache_dir = DEFAULT_CACHE.into();
    }
    line
}

/// Puts `--bucket` in the place of the context.
///
/// # Source
/// Kaniko `cmd/executor`, `resolveSourceContext`: a context that is a path comes first.
pub(crate) fn with_bucket(mut line: CommandLine) -> CommandLine {
    let Some(bucket) = line.build.bucket.take().filter(|bucket| !bucket.is_empty()) else { return line };
    let context = &mut line.build.context;
    if !context.is_empty() && !context.contains("://") {
        let warning = format!("--bucket has no effect: --context is the directory {context}; name the bucket there");
        line.without_effect.warnings.push(warning);
    } else {
        *context = if bucket.contains("://") { bucket } else { format!("gs://{bucket}") };
    }
    line
}

/// Keys of `--git` that say nothing, which Kaniko takes silently.
pub(crate) fn unknown_git_keys(flags: &BuildFlags) -> impl Iterator<Item = String> {
    let unknown = flags.git.iter().filter_map(|KeyValue { name, value }| {
        GitOptions::default().set(name, value).err().filter(|error| matches!(error, GitOptionsError::Key(_)))
    });
    unknown.map(|error| format!("--git has no effect: {error}"))
}

/// The build context. `GIT_PULL_METHOD=http` is Kaniko's.
pub(crate) fn context(flags: &BuildFlags, env: Environment<'_>) -> Result<ContextSpec, SettingsError> {
    let mut git = GitOptions::default();
    for KeyValue { name, value } in &flags.git {
        match git.set(name, value) {
            Ok(()) | Err(GitOptionsError::Key(_)) => {}
            Err(error) => return Err(usage(format!("--git: {error}"))),
        }
    }
    let build_args = command_line::build_args(&flags.build_arg, env);
    let keep_git_dir = build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
    Ok(ContextSpec {
        text: flags.context.clone(),
        sub_path: flags.context_sub_path.clone(),
        git,
        git_over_http: env("GIT_PULL_METHOD").is_some_and(|method| method == "http"),
        keep_git_dir: keep_git_dir.is_some_and(|value| matches!(value.as_str(), "1" | "true")),
    })
}

const NO_DOCKERFILE: &str = "it is neither in the working directory nor in the context; --dockerfile names another";

/// The Dockerfile: a URL, or a path relative to the working directory first, then to the context.
pub(crate) fn dockerfile(
    flags: &BuildFlags,
    context: &FoundContext,
) -> Result<(PathBuf, DockerfileText), SettingsError> {
    let named = &flags.dockerfile;
    if let Some(url) = named.to_str().filter(|name| web_dockerfile::is_url(name)) {
        let (name, bytes) = web_dockerfile::fetch(url)?;
        // It has no ignore file of its own.
        return Ok((PathBuf::from(&name), DockerfileText { name, bytes }));
    }
    let is_default_name = named.file_name().is_some_and(|name| name == "Dockerfile");
    let lower_case = || context.file(&named.with_file_name("dockerfile")).filter(|_| is_default_name);
    let here = Some(named.clone()).filter(|path| path.is_file());
    let found = here.or_else(|| context.file(named)).or_else(lower_case);
    let path = found.unwrap_or_else(|| named.clone());
    let bytes = match path.is_absolute() || path.exists() {
        // The error says what is there in the place of a file.
        true => fs::read(&path),
        false => Err(io::Error::new(io::ErrorKind::NotFound, NO_DOCKERFILE)),
    };
    let bytes = bytes.map_err(|source| SettingsError::Read { what: "Dockerfile", path: path.clone(), source })?;
    let name = match context {
        // Not the temporary directory.
        FoundContext::Fetched(_) => named.display().to_string(),
        FoundContext::Directory(_) => path.display().to_string(),
    };
    Ok((path, DockerfileText { name, bytes }))
}

/// What planning needs.
pub(crate) fn plan_options(
    flags: &BuildFlags,
    contexts: NamedContexts,
    env: Environment<'_>,
) -> Result<PlanOptions, SettingsError> {
    let mut build_args = command_line::build_args(&flags.build_arg, env);
    // As buildx hands it on.
    if let Some(epoch) = env("SOURCE_DATE_EPOCH").filter(|epoch| !epoch.is_empty()) {
        build_args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert(epoch);
    }
    Ok(PlanOptions {
        build_args,
        target: flags.target.first().cloned(),
        platform: None,
        build_platform: Platform::host(),
        labels: flags.label.iter().map(|KeyValue { name, value }| (name.clone(), value.clone())).collect(),
        contexts,
    })
}

/// The platforms asked for, each once, in order.
pub(crate) fn platforms(flags: &BuildFlags) -> Result<Vec<Platform>, SettingsError> {
    let mut platforms = Vec::new();
    for text in flags.platform.iter().chain(&flags.custom_platform) {
        let platform = command_line::platform(text)?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// Whether one image gets an index, too.
///
/// # Source
/// BuildKit: the build argument `BUILDKIT_MULTI_PLATFORM`.
pub(crate) fn index(options: &PlanOptions, platforms: &[Platform]) -> Result<bool, SettingsError> {
    const NAME: &str = "BUILDKIT_MULTI_PLATFORM";
    let Some(text) = options.build_args.get(NAME).filter(|text| !text.is_empty()) else { return Ok(false) };
    let wanted = parse_boolean(text).map_err(|error| usage(format!("--build-arg {NAME}={text}: {error}")))?;
    if !wanted && platforms.len() > 1 {
        return Err(usage(format!("--build-arg {NAME}={text} contradicts {} platforms", platforms.len())));
    }
    Ok(wanted)
}

pub(crate) fn caching(flags: &CacheFlags) -> Caching {
    Caching {
        run_layers: flags.cache_run_layers,
        copy_layers: flags.cache_copy_layers,
        salt: flags.cache_salt.clone(),
        explain: flags.explain_cache,
    }
}

pub(crate) fn outputs(
    flags: &OutputFlags,
    attestations: Attestations,
    env: Environment<'_>,
) -> Result<Outputs, SettingsError> {
    Ok(Outputs {
        destinations: flags.destination.iter().map(|text| destination(text)).collect::<Result<_, _>>()?,
        push: !flags.no_push,
        push_retries: flags.push_retry,
        ignore_immutable_tags: flags.push_ignore_immutable_tag_errors,
        skip_push_check: flags.skip_push_permission_check,
        tar: flags.tar_path.clone(),
        oci_layout: flags.oci_layout_path.clone(),
        digest_file: flags.digest_file.clone(),
        name_with_digest_file: flags.image_name_with_digest_file.clone(),
        name_tag_with_digest_file: flags.image_name_tag_with_digest_file.clone(),
        images_directory: env("BUILDER_OUTPUT").filter(|path| !path.is_empty()).map(PathBuf::from),
        attestations,
    })
}

/// Where a build writes beside registries, absolute paths.
pub(crate) fn output_files(flags: &OutputFlags, env: Environment<'_>) -> Vec<PathBuf> {
    let mut flags = flags.clone();
    let named: Vec<PathBuf> = output_paths(&mut flags).into_iter().filter_map(Option::take).collect();
    let images = env("BUILDER_OUTPUT").filter(|path| !path.is_empty()).map(PathBuf::from);
    named.into_iter().chain(images).filter(|path| path.is_absolute()).collect()
}

/// Kaniko's variables for booleans that say neither: warnings. For Kaniko, too, they are as if they were not set.
pub(crate) fn unreadable_variables(env: Environment<'_>) -> impl Iterator<Item = String> {
    let said = LENIENT_VARIABLES.into_iter().filter_map(|name| Some((name, env(name)?)));
    let unreadable = said.filter(|(_, value)| !value.is_empty() && parse_boolean(value).is_err());
    unreadable.map(|(name, value)| format!("{name} has no effect: expected true or false, not {value:?}"))
}

/// What the image's documents are like.
pub(crate) fn image_form(flags: &OutputFlags) -> ImageForm {
    let format = match flags.image_format {
        ImageFormatFlag::Oci => ImageFormat::Oci,
        ImageFormatFlag::Docker => ImageFormat::Docker,
    };
    let pairs = flags.annotation.iter().map(|KeyValue { name, value }| (name.clone(), value.clone()));
    ImageForm { format, annotations: pairs.collect() }
}

/// `--compression` and `--compression-level`.
pub(crate) fn compression(flags: &OutputFlags) -> Result<LayerCompression, SettingsError> {
    let (compression, most) = match flags.compression {
        CompressionFlag::Gzip => (Compression::Gzip, 12),
        CompressionFlag::Zstd => (Compression::Zstd, 22),
    };
    // 0, too, is Kaniko's way of saying nothing.
    let level = Some(flags.compression_level).filter(|level| *level > 0);
    if flags.compression_level < -1 || level.is_some_and(|level| level > most) {
        return Err(usage(format!(
            "--compression-level: expected 1 to {most}, or -1, not {}",
            flags.compression_level
        )));
    }
    Ok(LayerCompression { compression, level })
}

/// `--target` with several: all but the first are built, and not written anywhere.
pub(crate) fn only_built(request: &BuildRequest, target: &str) -> BuildRequest {
    let options = PlanOptions { target: Some(target.to_owned()), ..request.options.clone() };
    BuildRequest { options, outputs: Outputs::default(), ..request.clone() }
}

pub(crate) fn reference(text: &str) -> Result<Reference, SettingsError> {
    text.parse().map_err(|error: yadokari::image::ReferenceError| usage(error.to_string()))
}

fn destination(text: &str) -> Result<Reference, SettingsError> {
    text.parse().map_err(|error: yadokari::image::ReferenceError| usage(format!("--destination: {error}")))
}

pub(crate) fn client_options(flags: &RegistryFlags, env: Environment<'_>) -> Result<ClientOptions, SettingsError> {
    let pull = command_line::client_options(&flags.pull, env)?;
    let retries = pull.retries.max(flags.image_download_retry).max(flags.image_fs_extract_retry);
    // Kaniko: for whoever wants to tell in the registry's log who pushed.
    let client = env("UPSTREAM_CLIENT_TYPE").filter(|client| !client.is_empty());
    let user_agent = client.map_or(pull.user_agent.clone(), |client| format!("{},{client}", pull.user_agent));
    Ok(ClientOptions { insecure: flags.insecure, skip_tls_verify: flags.skip_tls_verify, retries, user_agent, ..pull })
}

/// `--credential-helpers`; without it everybody may find credentials.
pub(crate) fn registry_credentials(flags: &RegistryFlags) -> Result<Credentials, SettingsError> {
    let credentials = command_line::credentials(command_line::env)?;
    if flags.credential_helpers.is_empty() {
        return Ok(credentials);
    }
    Ok(credentials.limited_to(flags.credential_helpers.iter().filter_map(|name| Helper::from_name(name)).collect()))
}

/// What `--credential-helpers` names that nobody is called: warnings, as in Kaniko.
pub(crate) fn unknown_helpers(flags: &RegistryFlags) -> impl Iterator<Item = String> {
    let names = flags.credential_helpers.iter();
    let unknown = names.filter(|name| !name.is_empty() && Helper::from_name(name).is_none());
    let known = Helper::ALL.map(Helper::name).join(", ");
    unknown.map(move |name| format!("--credential-helpers: nobody is called {name:?}; there are {known}"))
}

pub(crate) fn sandbox(flag: SandboxFlag) -> Requested {
    match flag {
        SandboxFlag::Auto => Requested::Auto,
        SandboxFlag::Overlay => Requested::Overlay,
        SandboxFlag::Userns => Requested::Userns,
        SandboxFlag::InPlace => Requested::InPlace,
        SandboxFlag::None => Requested::None,
    }
}

/// The secrets that `--secret` names, read once.
pub(crate) fn secrets(flags: &BuildFlags, env: Environment<'_>) -> Result<BTreeMap<String, Secret>, SettingsError> {
    let mut secrets = BTreeMap::new();
    for text in &flags.secret {
        let (id, secret) = secret(text, env)?;
        if secrets.insert(id.clone(), secret).is_some() {
            return Err(usage(format!("--secret {id}: given twice")));
        }
    }
    Ok(secrets)
}

/// BuildKit's limit.
const SECRET_BYTES: usize = 500 * 1024;

/// `id=ID[,src=FILE|,source=FILE][,env=VARIABLE][,type=file|env]`; alone, a variable of that
/// name, else a file of that name.
fn secret(text: &str, env: Environment<'_>) -> Result<(String, Secret), SettingsError> {
    let mut fields = BTreeMap::new();
    for field in text.split(',') {
        // What was given may be the secret itself.
        let (name, value) =
            field.split_once('=').ok_or_else(|| usage("--secret: expected id=ID, and src=FILE or env=VARIABLE"))?;
        let name = if name == "source" { "src" } else { name };
        if !["id", "src", "env", "type"].contains(&name) {
            return Err(usage(format!("--secret: unexpected key {name:?}; expected id, src, env or type")));
        }
        fields.insert(name, value);
    }
    let id = fields.get("id").or_else(|| fields.get("src")).copied().ok_or_else(|| usage("--secret needs an id"))?;
    let bytes = secret_bytes(id, &fields, env)?;
    if bytes.len() > SECRET_BYTES {
        return Err(usage(format!("--secret {id}: larger than 500 KiB")));
    }
    Ok((id.to_owned(), Secret(bytes)))
}

fn secret_bytes(id: &str, fields: &BTreeMap<&str, &str>, env: Environment<'_>) -> Result<Vec<u8>, SettingsError> {
    let is_env = fields.get("type") == Some(&"env");
    let file = fields.get("src").copied().filter(|_| !is_env);
    let variable = fields.get("env").copied().or_else(|| fields.get("src").copied().filter(|_| is_env));
    let read =
        |path: &str| fs::read(path).map_err(|source| SettingsError::Read { what: "secret", path: path.into(), source });
    match (file, variable) {
        (Some(path), _) => read(path),
        (None, Some(name)) => {
            env(name).map(String::into_bytes).ok_or_else(|| usage(format!("--secret {id}: variable {name} is not set")))
        }
        (None, None) => env(id).map_or_else(|| read(id), |value| Ok(value.into_bytes())),
    }
}
