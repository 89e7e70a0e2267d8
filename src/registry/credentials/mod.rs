//! Who we are, per registry: Docker's config.json and its credential programs, then what the environment offers.

mod docker;
mod provider;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::helper;
use docker::{Source, read};
pub use provider::Helper;
use provider::Providers;
pub use provider::{AccessKeys, Clouds};

/// How long a credential program's answer is used; cloud tokens live for an hour or more.
const HELPER_ANSWER_LIFE: Duration = Duration::from_secs(300);

/// A text that must not be seen.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for sending it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What proves who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// User name and password.
    Basic {
        /// Not secret.
        username: String,
        /// Secret.
        password: Secret,
    },
    /// A refresh token, exchanged at the token server.
    IdentityToken(Secret),
    /// A bearer token, sent as it is.
    RegistryToken(Secret),
}

impl Credential {
    /// For people.
    fn kind(&self) -> &'static str {
        match self {
            Self::Basic { .. } => "user and password",
            Self::IdentityToken(_) => "identity token",
            Self::RegistryToken(_) => "registry token",
        }
    }
}

/// Why credentials could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("cannot read credentials from {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What stands there cannot be understood.
    #[error("cannot use the credentials in {place}")]
    In {
        /// A file, or a variable.
        place: String,
        /// Why.
        #[source]
        source: Box<CredentialsError>,
    },
    /// Not Docker's config.json. The parser's message is left out: it may quote a secret.
    #[error("malformed Docker configuration (line {line})")]
    Json {
        /// Line of the fault, from 1.
        line: usize,
    },
    /// An `auth` value is not the base64 of `user:password`.
    #[error("malformed `auth` for {server}")]
    Auth {
        /// Key of the entry.
        server: String,
    },
    /// A credential program failed.
    #[error("credential helper docker-credential-{helper}: {reason}")]
    Helper {
        /// Name without the prefix.
        helper: String,
        /// What is wrong.
        reason: String,
    },
    /// A cloud gave no credentials.
    #[error("cannot get credentials for {registry} from {provider}: {reason}")]
    Provider {
        /// Whose registry or bucket it is.
        provider: &'static str,
        /// Which registry, or which object in a bucket.
        registry: String,
        /// What is wrong.
        reason: String,
    },
}

/// When a program was asked, and what it said.
type HelperAnswer = (Instant, Option<Credential>);

/// Credentials for any number of registries, from any number of files.
///
/// The first file with an answer wins. Within a file: `credHelpers`, `credsStore`, `auths`; in
/// `auths` the longest matching path prefix. What no file knows, the environment may
/// ([`Credentials::with_environment`]). Programs run, and services are asked, only when a registry asks who we are.
#[derive(Debug, Default)]
pub struct Credentials {
    sources: Vec<Source>,
    helper_directories: Vec<PathBuf>,
    /// Answers of programs, by program and server.
    asked: Mutex<HashMap<(String, String), HelperAnswer>>,
    providers: Option<Providers>,
}

/// A credential and the name of the entry it came from, which tells identities apart.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub credential: Credential,
    pub identity: String,
    /// It was not given for this registry: being nobody may be better when it is refused.
    pub from_environment: bool,
}

impl Found {
    fn in_file(credential: Credential, identity: String) -> Self {
        Self { credential, identity, from_environment: false }
    }
}

impl Credentials {
    /// Anonymous everywhere.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads the bytes of a config.json (or of `DOCKER_AUTH_CONFIG`).
    ///
    /// # Errors
    /// [`CredentialsError::Json`] and [`CredentialsError::Auth`].
    pub fn from_docker_config(bytes: &[u8]) -> Result<Self, CredentialsError> {
        Ok(Self { sources: vec![Source::parse(bytes)?], ..Self::default() })
    }

    /// The same for text that stands at `place`, a variable's name or a file's path.
    ///
    /// # Errors
    /// [`CredentialsError::In`].
    pub fn parse(place: &str, bytes: &[u8]) -> Result<Self, CredentialsError> {
        let at = |source| CredentialsError::In { place: place.to_owned(), source: Box::new(source) };
        Self::from_docker_config(bytes).map_err(at)
    }

    /// Reads the files that exist among `paths`; earlier ones win.
    ///
    /// # Errors
    /// A file that exists and cannot be read or understood.
    pub fn load<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, CredentialsError> {
        let mut all = Self::none();
        for path in paths {
            if let Some(bytes) = read(path.as_ref())? {
                all = all.or(Self::parse(&path.as_ref().display().to_string(), &bytes)?);
            }
        }
        Ok(all)
    }

    /// These, and `fallback` for what they do not know.
    #[must_use]
    pub fn or(mut self, fallback: Self) -> Self {
        self.sources.extend(fallback.sources);
        self.helper_directories.extend(fallback.helper_directories);
        self.providers = self.providers.or(fallback.providers);
        self
    }

    /// Looks for credential programs in `directories` before PATH.
    #[must_use]
    pub fn with_helper_directories(mut self, directories: Vec<PathBuf>) -> Self {
        self.helper_directories = directories;
        self
    }

    /// Asks what the environment offers where no file knows: the variables of Kaniko, GitLab and GitHub, and the
    /// identities of AWS, Google and Azure for their own registries. `lookup` finds variables, each time anew.
    #[must_use]
    pub fn with_environment(mut self, lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.providers = Some(Providers::new(lookup));
        self
    }

    /// Of what the environment offers, `helpers` alone are asked.
    #[must_use]
    pub fn limited_to(mut self, helpers: BTreeSet<Helper>) -> Self {
        if let Some(providers) = &mut self.providers {
            providers.limit(helpers);
        }
        self
    }

    /// What is known without asking a program, for people: the entry (`host`, `host/path`, or `*` for all)
    /// and the kind of what there is. In the order in which files count, never a secret.
    pub fn kinds(&self) -> Vec<(String, String)> {
        let of = |source: &Source| {
            let programs = source.cred_helpers.iter();
            let programs = programs.map(|(server, name)| (server.clone(), format!("docker-credential-{name}")));
            let all = source.creds_store.iter().map(|name| ("*".to_owned(), format!("docker-credential-{name}")));
            let auths = source.auths.iter().map(|(server, credential)| (server.clone(), credential.kind().to_owned()));
            programs.chain(all).chain(auths).collect::<Vec<_>>()
        };
        let providers = self.providers.iter().flat_map(Providers::kinds);
        self.sources.iter().flat_map(of).chain(providers).collect()
    }

    /// The credential for `repository` at `registry` (`host[:port]`, Docker Hub as `docker.io`).
    ///
    /// # Errors
    /// [`CredentialsError::Helper`] and [`CredentialsError::Provider`].
    pub fn lookup(&self, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialsError> {
        Ok(self.find(registry, repository)?.map(|found| found.credential))
    }

    pub(super) fn find(&self, registry: &str, repository: &str) -> Result<Option<Found>, CredentialsError> {
        let registry = registry.to_ascii_lowercase();
        for (number, source) in self.sources.iter().enumerate() {
            let programs = source.cred_helpers.get(&registry).into_iter().chain(&source.creds_store);
            for program in programs {
                if let Some(credential) = self.ask(program, &registry)? {
                    return Ok(Some(Found::in_file(credential, format!("{number} helper {program}"))));
                }
            }
            if let Some((key, credential)) = source.entry(&registry, repository) {
                return Ok(Some(Found::in_file(credential.clone(), format!("{number} {key}"))));
            }
        }
        let found = self.providers.as_ref().map(|providers| providers.find(&registry)).transpose()?.flatten();
        Ok(found.map(|(credential, name)| Found { credential, identity: name.to_owned(), from_environment: true }))
    }

    /// Asks a program, or remembers its answer. The lock is held so that it runs once.
    fn ask(&self, program: &str, registry: &str) -> Result<Option<Credential>, CredentialsError> {
        let server = if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (program.to_owned(), server.to_owned());
        if let Some((at, answer)) = asked.get(&key)
            && at.elapsed() < HELPER_ANSWER_LIFE
        {
            return Ok(answer.clone());
        }
        let answer = helper::ask(program, server, &self.helper_directories)?;
        asked.insert(key, (Instant::now(), answer.clone()));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
