//! Docker's config.json: entries, and which programs know more.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::{Credential, CredentialsError, Secret};

const MAX_FILE_BYTES: u64 = 4 << 20;

#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    /// `host` or `host/path`.
    pub(super) auths: BTreeMap<String, Credential>,
    pub(super) cred_helpers: BTreeMap<String, String>,
    pub(super) creds_store: Option<String>,
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

pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, CredentialsError> {
    use io::Read as _;
    let fail = |source| CredentialsError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Ok(file) => file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(fail)?,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        // Somebody else's home, as `HOME=/root` is for an executor that does not run as root.
        Err(_) if is_out_of_reach(path) => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    Ok(Some(bytes))
}

/// Whether it cannot even be known if there is a file.
fn is_out_of_reach(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

impl Source {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, CredentialsError> {
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
    pub(super) fn entry(&self, registry: &str, repository: &str) -> Option<(&String, &Credential)> {
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
pub(super) fn normalise(server: &str) -> String {
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
