use std::path::PathBuf;
use std::str::FromStr;

use yadokari::image::Reference;
use yadokari::registry::{Client, ClientOptions, Credentials, CredentialsError, RegistryError};

/// A registry that is mirrored: `NAME=URL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upstream {
    name: String,
    /// Host and port.
    registry: String,
    is_plain: bool,
}

/// Why there can be no mirror.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MirrorError {
    #[error("failed to read Docker's configuration file for the credentials of mirrored registries")]
    Credentials(#[from] CredentialsError),
    #[error("failed to set up the client for mirrored registries")]
    Client(#[from] RegistryError),
}

impl Upstream {
    /// What clients call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The first component of its repositories' names here.
    pub(super) fn prefix(&self) -> String {
        self.name.replace(':', "-")
    }

    /// A repository of it.
    pub(super) fn reference(&self, path: &str) -> Option<Reference> {
        format!("{}/{path}", self.registry).parse().ok()
    }

    pub(super) fn client(&self) -> Result<Client, MirrorError> {
        let mut options = ClientOptions { retries: 1, ..ClientOptions::default() };
        if self.is_plain {
            options.insecure_registries.insert(self.registry.clone());
        }
        Ok(Client::new(options, Credentials::load(docker_configuration())?)?)
    }
}

/// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
fn docker_configuration() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")))?;
    Some(directory.join("config.json"))
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("{text:?} is not NAME=http[s]://HOST[:PORT]");
        let (name, url) = text.split_once('=').ok_or_else(malformed)?;
        let (is_plain, registry) = match url.split_once("://") {
            Some(("https", rest)) => (false, rest),
            Some(("http", rest)) => (true, rest),
            _ => return Err(malformed()),
        };
        let registry = registry.trim_end_matches('/');
        // Docker Hub's API has a name of its own; credentials and tokens know it by the other one.
        let registry = if registry == "registry-1.docker.io" { "docker.io" } else { registry };
        let upstream = Self { name: name.into(), registry: registry.into(), is_plain };
        let is_host = upstream
            .reference("a/b")
            .is_some_and(|reference| reference.registry() == registry || registry == "docker.io");
        let is_name = upstream.prefix().parse::<crate::name::RepositoryName>().is_ok() && !name.contains('/');
        if is_host && is_name { Ok(upstream) } else { Err(malformed()) }
    }
}

impl<'de> serde::Deserialize<'de> for Upstream {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::eviction::from_text(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_have_a_name_and_an_address() {
        let hub: Upstream = "docker.io=https://registry-1.docker.io".parse().expect("valid");
        assert_eq!((hub.prefix().as_str(), hub.is_plain), ("docker.io", false));
        let local: Upstream = "reg.example:5000=http://127.0.0.1:5001/".parse().expect("valid");
        assert_eq!((local.prefix().as_str(), local.is_plain), ("reg.example-5000", true));
        assert_eq!(local.reference("a/b").expect("valid").registry(), "127.0.0.1:5001");
        for bad in
            ["docker.io", "=https://x.example", "a/b=https://x.example", "a=ftp://x.example", "a=https://x.example/y"]
        {
            assert!(bad.parse::<Upstream>().is_err(), "{bad}");
        }
    }
}
