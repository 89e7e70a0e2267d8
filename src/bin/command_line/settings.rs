//! Flags to what the library takes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use yadokari::image::Platform;
use yadokari::registry::{ClientOptions, Credentials, ProxySettings};

use super::flags::PullFlags;
use super::values::{KeyValue, parse_registry_map};

/// Looks up a variable of the environment.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A command line that cannot be carried out, or names something that is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// Wrong usage: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read: exit code 1.
    #[error("failed to read {what} {}", path.display())]
    Read {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A Dockerfile could not be fetched: exit code 1.
    #[error("failed to fetch the Dockerfile")]
    FetchDockerfile(#[from] yadokari::context::FetchError),
    /// It is too large: exit code 1.
    #[error("the Dockerfile has {size} bytes, more than {limit}")]
    DockerfileSize { size: u64, limit: u64 },
    /// There is no place for it: exit code 1.
    #[error("failed to make a temporary directory")]
    Temporary(#[source] std::io::Error),
    /// A credential file is malformed: exit code 1.
    #[error("failed to read credentials")]
    Credentials(#[from] yadokari::registry::CredentialsError),
}

pub(crate) fn usage(text: impl Into<String>) -> SettingsError {
    SettingsError::Usage(text.into())
}

/// The variables of this process. What is not UTF-8 does not count.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub(crate) fn platform(text: &str) -> Result<Platform, SettingsError> {
    text.trim().parse::<Platform>().map_err(|error| usage(error.to_string()))
}

/// The last of a name counts; a bare name takes the variable's value, empty when it is not set
/// (Kaniko's rule).
pub(crate) fn build_args(texts: &[String], env: Environment<'_>) -> BTreeMap<String, String> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => (name.into(), value.into()),
        None => (text.clone(), env(text).unwrap_or_default()),
    };
    texts.iter().map(pair).collect()
}

/// What pulling needs; the rest as by default.
pub(crate) fn client_options(flags: &PullFlags, env: Environment<'_>) -> Result<ClientOptions, SettingsError> {
    let files = |list: &[KeyValue]| list.iter().map(|kv| (kv.name.clone(), PathBuf::from(&kv.value))).collect();
    Ok(ClientOptions {
        insecure_pull: flags.insecure_pull,
        insecure_registries: flags.insecure_registry.iter().cloned().collect(),
        skip_tls_verify_pull: flags.skip_tls_verify_pull,
        skip_tls_verify_registries: flags.skip_tls_verify_registry.iter().cloned().collect(),
        registry_certificates: files(&flags.registry_certificate),
        registry_client_certs: flags.registry_client_cert.iter().map(client_cert).collect::<Result<_, _>>()?,
        maps: maps(flags, env)?,
        skip_default_registry_fallback: flags.skip_default_registry_fallback,
        proxy: ProxySettings::from_lookup(env),
        ..ClientOptions::default()
    })
}

fn client_cert(pair: &KeyValue) -> Result<(String, (PathBuf, PathBuf)), SettingsError> {
    let files = pair.value.split_once(',').filter(|(_, key)| !key.contains(','));
    let (certificate, key) =
        files.ok_or_else(|| usage(format!("--registry-client-cert {}: expected HOST=CERTIFICATE,KEY", pair.name)))?;
    Ok((pair.name.clone(), (certificate.into(), key.into())))
}

/// Maps before mirrors, flags before variables.
fn maps(flags: &PullFlags, env: Environment<'_>) -> Result<BTreeMap<String, Vec<String>>, SettingsError> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let from_variable = set("KANIKO_REGISTRY_MAP").map(|text| parse_registry_map(&text)).transpose();
    let from_variable = from_variable.map_err(|error| usage(format!("KANIKO_REGISTRY_MAP: {error}")))?;
    let mirrors = flags.registry_mirror.iter().cloned().chain(set("KANIKO_REGISTRY_MIRROR"));
    let mirrors = mirrors.map(|value| KeyValue { name: "docker.io".into(), value });
    let mapped = flags.registry_map.iter().chain(&from_variable).flat_map(|map| map.0.iter().cloned());
    let mut maps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for KeyValue { name, value } in mapped.chain(mirrors) {
        let name =
            if matches!(name.as_str(), "index.docker.io" | "registry-1.docker.io") { "docker.io".into() } else { name };
        maps.entry(name).or_default().push(value);
    }
    Ok(maps)
}

/// `DOCKER_AUTH_CONFIG`, Docker's configuration files, and what `env` offers for the rest.
pub(crate) fn credentials<E>(env: E) -> Result<Credentials, SettingsError>
where
    E: Fn(&str) -> Option<String> + Copy + Send + Sync + 'static,
{
    let variable = env("DOCKER_AUTH_CONFIG").unwrap_or_default();
    let credentials = Credentials::parse("DOCKER_AUTH_CONFIG", variable.as_bytes())?;
    Ok(credentials.or(Credentials::load(credential_files(&env))?).with_environment(env))
}

/// Where Docker, Kaniko and podman look for Docker's configuration file.
pub(crate) fn credential_files(env: Environment<'_>) -> Vec<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let docker = match set("DOCKER_CONFIG") {
        Some(directory) => directory.join("config.json"),
        None => set("HOME").unwrap_or_else(|| PathBuf::from("/root")).join(".docker/config.json"),
    };
    let candidates = [
        Some(docker),
        // Where Kaniko looks when its directory is somewhere else.
        set("KANIKO_DIR").map(|directory| directory.join(".docker/config.json")),
        Some(PathBuf::from("/kaniko/.docker/config.json")),
        set("REGISTRY_AUTH_FILE"),
        set("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json")),
        set("XDG_CONFIG_HOME")
            .or_else(|| Some(set("HOME")?.join(".config")))
            .map(|directory| directory.join("containers/auth.json")),
    ];
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in candidates.into_iter().flatten() {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        pull: PullFlags,
    }

    fn parse(arguments: &[&str]) -> PullFlags {
        use clap::{CommandFactory, FromArgMatches};
        let command = crate::command_line::flags::with_booleans(Line::command());
        let matches = command.try_get_matches_from([&["program"], arguments].concat()).expect("flags");
        Line::from_arg_matches(&matches).expect("flags").pull
    }

    #[test]
    fn maps_come_before_mirrors_and_flags_before_variables() {
        let pull = parse(&[
            "--registry-mirror=m1",
            "--registry-map=index.docker.io=a/x;ghcr.io=g",
            "--registry-map=docker.io=b",
        ]);
        let env = |name: &str| match name {
            "KANIKO_REGISTRY_MAP" => Some("docker.io=c;".to_owned()),
            "KANIKO_REGISTRY_MIRROR" => Some("m2".to_owned()),
            _ => None,
        };
        let maps = client_options(&pull, &env).expect("valid").maps;
        assert_eq!(maps["docker.io"], ["a/x", "b", "c", "m1", "m2"]);
        assert_eq!(maps["ghcr.io"], ["g"]);
        let wrong = |name: &str| (name == "KANIKO_REGISTRY_MAP").then(|| "docker.io".to_owned());
        assert!(matches!(client_options(&pull, &wrong), Err(SettingsError::Usage(_))));
    }

    #[test]
    fn booleans_take_their_value_after_an_equals_sign_only() {
        assert!(parse(&["--insecure-pull"]).insecure_pull && parse(&["--insecure-pull=T"]).insecure_pull);
        assert!(!parse(&["--insecure-pull=false"]).insecure_pull);
    }

    #[test]
    fn credentials_lie_where_kaniko_has_them() {
        let with = |set: &[(&'static str, &str)]| {
            let set: BTreeMap<_, _> = set.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            credential_files(&|name| set.get(name).cloned())
        };
        assert_eq!(with(&[])[..2], ["/root/.docker/config.json", "/kaniko/.docker/config.json"].map(PathBuf::from));
        let named = with(&[("DOCKER_CONFIG", "/tekton/home/.docker/"), ("HOME", "/h"), ("KANIKO_DIR", "/k")]);
        let expected = ["/tekton/home/.docker/config.json", "/k/.docker/config.json", "/kaniko/.docker/config.json"];
        assert_eq!(named[..3], expected.map(PathBuf::from));
        assert_eq!(with(&[("DOCKER_CONFIG", ""), ("HOME", "/h")])[0], PathBuf::from("/h/.docker/config.json"));
    }

    #[test]
    fn a_bare_build_argument_is_a_variable() {
        let env = |name: &str| (name == "SET").then(|| "value".to_owned());
        let texts = ["A=1", "SET", "UNSET", "A=b=c"].map(str::to_owned);
        let expected = [("A", "b=c"), ("SET", "value"), ("UNSET", "")];
        assert_eq!(build_args(&texts, &env), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
}
