//! What of the executor's credentials lies where steps run, when they run in place.

use std::path::{Path, PathBuf};

use yadokari::report::{Event, Observer};
use yadokari::sandbox::{Credential, Hidden, Hiding, IgnoreList, SandboxError};

use crate::command_line::settings::{Environment, credential_files};
use crate::flags::{CommandLine, HidingFlag};

/// Files and directories that cloud clients, git and ssh read when they need them.
const VARIABLES: [&str; 10] = [
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CLOUDSDK_CONFIG",
    "DOCKER_CREDENTIAL_GCR_CONFIG",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CONFIG_DIR",
];

const IN_HOME: [&str; 6] = [".aws", ".azure", ".config/gcloud", ".git-credentials", ".netrc", ".ssh"];

/// Service accounts and the tokens of cloud identities.
const FIXED: [&str; 4] = [
    "/var/run/secrets/kubernetes.io",
    "/var/run/secrets/eks.amazonaws.com",
    "/var/run/secrets/azure",
    "/var/run/secrets/tokens",
];

/// Decides how they are hidden, and warns about what is not.
pub(crate) fn decide(
    line: &CommandLine,
    ignore: &IgnoreList,
    env: Environment<'_>,
    observer: &dyn Observer,
) -> Result<Hidden, SandboxError> {
    let hidden = plan(line, ignore, env)?;
    if !hidden.exposed.is_empty() && line.build.hide_credentials == HidingFlag::Auto {
        observer.event(Event::Warning(format!("{}; see `executor doctor`", exposure(&hidden.exposed))));
    }
    Ok(hidden)
}

/// Decides, and says nothing.
pub(crate) fn plan(line: &CommandLine, ignore: &IgnoreList, env: Environment<'_>) -> Result<Hidden, SandboxError> {
    let asked = match line.build.hide_credentials {
        HidingFlag::Auto => Hiding::Auto,
        HidingFlag::Strict => Hiding::Strict,
        HidingFlag::Off => Hiding::Off,
    };
    Hidden::decide(&credentials(line, env), ignore, asked)
}

/// One sentence without an end.
pub(crate) fn exposure(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    format!("RUN steps run in place and can read credentials: {}", names.join(", "))
}

/// Everything that may be one, whether it is there or not.
pub(crate) fn credentials(line: &CommandLine, env: Environment<'_>) -> Vec<Credential> {
    let once = |path: PathBuf| Credential { path, read_once: true };
    let later = |path: PathBuf| Credential { path, read_once: false };
    let secrets = line.build.secret.iter().flat_map(|spec| spec.split(',')).filter_map(|field| {
        let (key, value) = field.split_once('=')?;
        matches!(key, "src" | "source").then(|| PathBuf::from(value))
    });
    let signing = line.output.sign_key.iter().map(PathBuf::from).chain(line.cache.cache_sign_key.clone());
    let keys = line.build.ssh.iter().filter_map(|spec| spec.split_once('=')).flat_map(|(_, paths)| paths.split(','));
    let certificates = &line.registry.pull.registry_client_cert;
    let certificates = certificates.iter().filter_map(|pair| pair.value.split_once(',')).map(|(_, key)| key);
    let home = env("HOME").filter(|home| Path::new(home).is_absolute()).unwrap_or_else(|| "/root".into());
    let variables = VARIABLES.into_iter().filter_map(env).map(PathBuf::from);
    let others = IN_HOME.into_iter().map(|name| Path::new(&home).join(name)).chain(FIXED.map(PathBuf::from));
    let read_later = keys.chain(certificates).map(PathBuf::from).chain(variables).chain(others);
    credential_files(env).into_iter().chain(secrets).chain(signing).map(once).chain(read_later.map(later)).collect()
}
