//! Who we are, per registry: Docker's config.json and its credential programs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::helper;

/// How long a credential program's answer is used; cloud tokens live for an hour or more.
const HELPER_ANSWER_LIFE: Duration = Duration::from_secs(300);
const MAX_FILE_BYTES: u64 = 4 << 20;

/// A text that must not be seen.
#[derive(Clone, PartialEq, Eq, Hash)]
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
}

/// When a program was asked, and what it said.
type HelperAnswer = (Instant, Option<Credential>);

/// Credentials for any number of registries, from any number of files.
///
/// The first file with an answer wins. Within a file: `credHelpers`, `credsStore`, `auths`; in
/// `auths` the longest matching path prefix. Programs run only when a registry asks who we are.
#[derive(Debug, Default)]
pub struct Credentials {
    sources: Vec<Source>,
    helper_directories: Vec<PathBuf>,
    /// Answers of programs, by program and server.
    asked: Mutex<HashMap<(String, String), HelperAnswer>>,
}

#[derive(Debug, Clone, Default)]
struct Source {
    /// `host` or `host/path`.
    auths: BTreeMap<String, Credential>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

/// A credential and the name of the entry it came from, which tells identities apart.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub credential: Credential,
    pub identity: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigFile {
    #[serde(default)]
    auths: Option<BTreeMap<String, Option<AuthEntry>>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
struct AuthEntry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
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

    /// Reads the files that exist among `paths`; earlier ones win.
    ///
    /// # Errors
    /// A file that exists and cannot be read or understood.
    pub fn load<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, CredentialsError> {
        let mut all = Self::none();
        for path in paths {
            if let Some(bytes) = read(path.as_ref())? {
                all.sources.push(Source::parse(&bytes)?);
            }
        }
        Ok(all)
    }

    /// These, and `fallback` for what they do not know.
    #[must_use]
    pub fn or(mut self, fallback: Self) -> Self {
        self.sources.extend(fallback.sources);
        self.helper_directories.extend(fallback.helper_directories);
        self
    }

    /// Looks for credential programs in `directories` before PATH.
    #[must_use]
    pub fn with_helper_directories(mut self, directories: Vec<PathBuf>) -> Self {
        self.helper_directories = directories;
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
        self.sources.iter().flat_map(of).collect()
    }

    /// The credential for `repository` at `registry` (`host[:port]`, Docker Hub as `docker.io`).
    ///
    /// # Errors
    /// [`CredentialsError::Helper`].
    pub fn lookup(&self, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialsError> {
        Ok(self.find(registry, repository)?.map(|found| found.credential))
    }

    pub(super) fn find(&self, registry: &str, repository: &str) -> Result<Option<Found>, CredentialsError> {
        let registry = registry.to_ascii_lowercase();
        for (number, source) in self.sources.iter().enumerate() {
            let programs = source.cred_helpers.get(&registry).into_iter().chain(&source.creds_store);
            for program in programs {
                if let Some(credential) = self.ask(program, &registry)? {
                    return Ok(Some(Found { credential, identity: format!("{number} helper {program}") }));
                }
            }
            if let Some((key, credential)) = source.entry(&registry, repository) {
                return Ok(Some(Found { credential: credential.clone(), identity: format!("{number} {key}") }));
            }
        }
        Ok(None)
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

fn read(path: &Path) -> Result<Option<Vec<u8>>, CredentialsError> {
    use io::Read as _;
    let fail = |source| CredentialsError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Ok(file) => file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(fail)?,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(fail(error)),
    };
    Ok(Some(bytes))
}

impl Source {
    fn parse(bytes: &[u8]) -> Result<Self, CredentialsError> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let file: ConfigFile =
            serde_json::from_slice(bytes).map_err(|error| CredentialsError::Json { line: error.line() })?;
        let mut auths = BTreeMap::new();
        for (server, entry) in file.auths.unwrap_or_default() {
            if let Some(credential) = entry.unwrap_or_default().credential(&server)? {
                auths.insert(normalise(&server), credential);
            }
        }
        let helpers = file.cred_helpers.unwrap_or_default();
        let cred_helpers = helpers.into_iter().map(|(server, program)| (normalise(&server), program)).collect();
        Ok(Self { auths, cred_helpers, creds_store: file.creds_store.filter(|name| !name.is_empty()) })
    }

    /// The entry of the longest prefix of `registry/repository` that ends at a slash.
    fn entry(&self, registry: &str, repository: &str) -> Option<(&String, &Credential)> {
        let full = format!("{registry}/{repository}");
        let mut prefix = full.as_str();
        loop {
            if let Some(found) = self.auths.get_key_value(prefix) {
                return Some(found);
            }
            prefix = prefix.rsplit_once('/')?.0;
        }
    }
}

impl AuthEntry {
    /// An entry without content says that a program knows.
    fn credential(self, server: &str) -> Result<Option<Credential>, CredentialsError> {
        let full = |text: Option<String>| text.filter(|t| !t.is_empty());
        if let Some(token) = full(self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(Secret(token))));
        }
        if let Some(token) = full(self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(Secret(token))));
        }
        if let Some(auth) = full(self.auth) {
            let basic = decode(&auth).ok_or_else(|| CredentialsError::Auth { server: server.to_owned() })?;
            return Ok(Some(basic));
        }
        let password = Secret(self.password.unwrap_or_default());
        Ok(full(self.username).map(|username| Credential::Basic { username, password }))
    }
}

/// Base64 of `user:password`; padding may be missing, as some tools write it.
fn decode(auth: &str) -> Option<Credential> {
    let padding = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&alphabet::STANDARD, padding);
    let auth: String = auth.split_ascii_whitespace().collect();
    let text = String::from_utf8(engine.decode(auth).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    let password = Secret(password.trim_end_matches('\0').to_owned());
    (!username.is_empty()).then(|| Credential::Basic { username: username.to_owned(), password })
}

/// `https://index.docker.io/v1/` is `docker.io`; scheme, API version and trailing slashes go.
fn normalise(server: &str) -> String {
    let server = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    let server = server.trim_end_matches('/');
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let host = match host.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    };
    match path {
        "" | "v1" | "v2" => host,
        path => format!("{host}/{path}"),
    }
}

#[cfg(test)]
mod tests;
