//! From flags, environment and file to what the server runs with.

mod duration;
mod file;
mod settings;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;
use yadokari::otlp::{Collector, CollectorError, Endpoint};

pub(crate) use file::FileError;
pub(crate) use settings::{OidcSettings, Settings};

use crate::access::{AccessSettings, Anonymous, KeyError, KeyLocation, KeySet, Kind, Provider, default_rules};
use crate::access_log::AccessLog;
use crate::access_log::{LogFormat, LogLevel};
use crate::eviction::{DEFAULT_GRACE, Policy};
use crate::mirror::MirrorSettings;
use crate::routes::Address;
use crate::server::{self, Limits, ListenError};
use crate::storage::StoreAddress;
use crate::tls::TlsFiles;

const DEFAULT_LISTEN: &str = "127.0.0.1:5000";
const DEFAULT_CONNECTIONS: usize = 1024;
const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(60);
const DEFAULT_TAG_TTL: Duration = Duration::from_secs(300);
const KEY_BYTES: usize = 32;
/// Issuers that serve everyone: a token of theirs says nothing until its owner is known.
const PUBLIC_ISSUERS: [&str; 2] = ["https://token.actions.githubusercontent.com", "https://gitlab.com"];

/// What the server runs with; everything decided, nothing opened yet.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) listen: SocketAddr,
    pub(crate) place: StoragePlace,
    pub(crate) redirect: bool,
    pub(crate) access: AccessSettings,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) address: Address,
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
    pub(crate) mirrors: MirrorSettings,
    pub(crate) telemetry: Option<Collector>,
    pub(crate) shutdown_delay: Duration,
    pub(crate) log: AccessLog,
}

/// Where all content is.
#[derive(Debug, Clone)]
pub(crate) enum StoragePlace {
    Directory(PathBuf),
    /// An object store, and a directory for the copy of its index.
    Store(StoreAddress, Option<PathBuf>),
}

impl std::fmt::Display for StoragePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Store(address, _) => address.fmt(f),
        }
    }
}

/// Why the settings make no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigurationError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Telemetry(#[from] CollectorError),
    #[error("no place for data: pass --data DIR or --store URL")]
    NoData,
    #[error(
        "refusing to listen on {0} without credentials: whoever reaches that address could read, write and delete \
         everything; configure --tokens, --htpasswd or [[oidc]], or pass --anonymous=read or --anonymous=write"
    )]
    Exposed(SocketAddr),
    #[error("--tls-cert and --tls-key go together, and --tls-client-ca needs both")]
    HalfTls,
    #[error("--max-connections must be at least 1")]
    NoConnections,
    #[error("invalid external URL {0:?}: expected https://HOST or http://HOST")]
    ExternalUrl(String),
    #[error("failed to read the signing key {path}", path = .0.display())]
    SigningKey(PathBuf, #[source] io::Error),
    #[error("no random numbers for a signing key")]
    Random(#[source] getrandom::Error),
    #[error("issuer {issuer:?}")]
    Issuer {
        issuer: String,
        #[source]
        cause: IssuerError,
    },
}

/// Why a CI system's settings make no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssuerError {
    #[error("it serves everyone: list the owners whose projects may come, as owners = [\"name\"]")]
    Owners,
    #[error("there are no default rules for it: list [[oidc.rules]]")]
    Rules,
    #[error("it is configured twice")]
    Twice,
    #[error("it shares its namespace with {0:?}: give one of them another one, as namespace = \"name\"")]
    SharedNamespace(String),
    #[error("owners mean nothing for this kind")]
    OwnersUnknown,
    #[error("the audience is empty")]
    Audience,
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("the built-in rules are damaged")]
    BuiltIn(#[from] toml::de::Error),
}

impl Configuration {
    /// Decides everything; reads the file that `path` names, and the signing key.
    ///
    /// # Errors
    /// See [`ConfigurationError`].
    pub(crate) async fn resolve(flags: Settings, path: Option<&Path>) -> Result<Self, ConfigurationError> {
        let settings = match path {
            Some(path) => flags.or(file::read(path)?),
            None => flags,
        };
        let listen = server::resolve(settings.listen.as_deref().unwrap_or(DEFAULT_LISTEN)).await?;
        let tls = tls(&settings)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let external_url = settings.external_url.as_deref().map(external_url).transpose()?;
        let connections = settings.max_connections.unwrap_or(DEFAULT_CONNECTIONS);
        if connections == 0 {
            return Err(ConfigurationError::NoConnections);
        }
        Ok(Self {
            listen,
            place: place(settings.data.clone(), settings.store.clone())?,
            redirect: settings.redirect.unwrap_or(false),
            tls,
            address: Address { scheme, external_url },
            limits: Limits {
                connections,
                shutdown: settings.shutdown_timeout.map_or(DEFAULT_SHUTDOWN, |seconds| seconds.0),
            },
            policy: policy(&settings),
            telemetry: telemetry(&settings)?,
            mirrors: MirrorSettings {
                upstreams: settings.mirror.clone().unwrap_or_default(),
                tag_ttl: settings.mirror_tag_ttl.map_or(DEFAULT_TAG_TTL, |time| time.0),
            },
            shutdown_delay: settings.shutdown_delay.map_or(Duration::ZERO, |seconds| seconds.0),
            log: AccessLog::new(settings.log.unwrap_or(LogLevel::Info), settings.log_format.unwrap_or(LogFormat::Text)),
            access: access(settings, listen)?,
        })
    }

    /// What the operator should know before anything happens.
    pub(crate) fn warnings(&self) -> Vec<&'static str> {
        let exposed = !is_loopback(self.listen);
        let secrets =
            self.access.htpasswd.is_some() || self.access.tokens.is_some() || !self.access.providers.is_empty();
        let mut warnings = Vec::new();
        if exposed && secrets && self.tls.is_none() && self.address.external_url.is_none() {
            warnings.push("credentials will cross the network unencrypted: pass --tls-cert and --tls-key");
        }
        if exposed && self.access.anonymous == Anonymous::Write {
            warnings.push("anyone who reaches this address may read, write and delete everything");
        }
        warnings
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn telemetry(settings: &Settings) -> Result<Option<Collector>, CollectorError> {
    let endpoint = settings.otlp_endpoint.clone().map(Endpoint::Base);
    Collector::find("cache-server", endpoint, |name| std::env::var(name).ok())
}

fn policy(settings: &Settings) -> Policy {
    Policy {
        max_bytes: settings.max_bytes.map(|size| size.0),
        quotas: settings.quota.clone().unwrap_or_default(),
        times_to_live: settings.ttl.clone().unwrap_or_default(),
        grace: settings.grace.map_or(DEFAULT_GRACE, |time| time.0),
    }
}

fn access(settings: Settings, listen: SocketAddr) -> Result<AccessSettings, ConfigurationError> {
    let providers = providers(settings.oidc.unwrap_or_default())?;
    let credentials = settings.htpasswd.is_some() || settings.tokens.is_some() || !providers.is_empty();
    let anonymous = match (settings.anonymous, credentials, is_loopback(listen)) {
        (Some(chosen), ..) => chosen,
        (None, true, true) => Anonymous::Read,
        (None, false, true) => Anonymous::Write,
        (None, true, false) => Anonymous::None,
        (None, false, false) => return Err(ConfigurationError::Exposed(listen)),
    };
    Ok(AccessSettings {
        anonymous,
        htpasswd: settings.htpasswd,
        users: settings.users,
        tokens: settings.tokens,
        providers,
        authenticated: settings.authenticated.unwrap_or_default(),
        signing_key: signing_key(settings.signing_key)?,
    })
}

fn providers(all: Vec<OidcSettings>) -> Result<Vec<Provider>, ConfigurationError> {
    let mut providers: Vec<Provider> = Vec::new();
    for settings in all {
        let issuer = settings.issuer.clone();
        let named = |cause| ConfigurationError::Issuer { issuer: issuer.clone(), cause };
        if providers.iter().any(|other| other.issuer == issuer) {
            return Err(named(IssuerError::Twice));
        }
        let rival = providers.iter().find(|other| overlap(&other.namespace, settings.namespace.as_str()));
        // Only default rules are about namespaces.
        if let Some(rival) = rival.filter(|_| settings.rules.is_none()) {
            return Err(named(IssuerError::SharedNamespace(rival.issuer.clone())));
        }
        providers.push(provider(settings).map_err(named)?);
    }
    Ok(providers)
}

/// Says whether one name is the other or lies below it.
fn overlap(one: &str, other: &str) -> bool {
    let below = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below(one, other) || below(other, one)
}

fn provider(settings: OidcSettings) -> Result<Provider, IssuerError> {
    let public = PUBLIC_ISSUERS.contains(&settings.issuer.trim_end_matches('/'));
    match settings.kind {
        _ if settings.audience.is_empty() => return Err(IssuerError::Audience),
        _ if public && settings.owners.is_empty() => return Err(IssuerError::Owners),
        Kind::Other if settings.rules.is_none() => return Err(IssuerError::Rules),
        Kind::Other if !settings.owners.is_empty() => return Err(IssuerError::OwnersUnknown),
        _ => {}
    }
    let rules = match settings.rules {
        Some(rules) => rules,
        None => default_rules(settings.kind)?,
    };
    let location = KeyLocation {
        issuer: settings.issuer.clone(),
        jwks_url: settings.jwks_url,
        jwks_file: settings.jwks_file,
        authorities: settings.ca,
        bearer_file: settings.bearer_file,
    };
    Ok(Provider {
        kind: settings.kind,
        issuer: settings.issuer,
        audience: settings.audience,
        namespace: settings.namespace.to_string(),
        owners: settings.owners,
        protected_refs: settings.protected_refs,
        rules,
        keys: KeySet::new(location)?,
    })
}

/// There must be one.
pub(crate) fn place(data: Option<PathBuf>, store: Option<StoreAddress>) -> Result<StoragePlace, ConfigurationError> {
    match (data, store) {
        (Some(data), None) => Ok(StoragePlace::Directory(data)),
        (copy, Some(store)) => Ok(StoragePlace::Store(store, copy)),
        (None, None) => Err(ConfigurationError::NoData),
    }
}

fn tls(settings: &Settings) -> Result<Option<TlsFiles>, ConfigurationError> {
    match (&settings.tls_cert, &settings.tls_key, &settings.tls_client_ca) {
        (Some(certificate), Some(key), authorities) => Ok(Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            client_authorities: authorities.clone(),
        })),
        (None, None, None) => Ok(None),
        _ => Err(ConfigurationError::HalfTls),
    }
}

fn external_url(text: &str) -> Result<String, ConfigurationError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let plain = url.filter(|url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty());
    plain.map(Into::into).ok_or_else(|| ConfigurationError::ExternalUrl(text.into()))
}

fn signing_key(path: Option<PathBuf>) -> Result<[u8; KEY_BYTES], ConfigurationError> {
    let mut key = [0; KEY_BYTES];
    let Some(path) = path else {
        getrandom::fill(&mut key).map_err(ConfigurationError::Random)?;
        return Ok(key);
    };
    let bytes = fs::read(&path);
    let bytes = bytes.and_then(|bytes| {
        let long = bytes.len() >= KEY_BYTES;
        if long { Ok(bytes) } else { Err(io::Error::other(format!("it has fewer than {KEY_BYTES} bytes"))) }
    });
    let bytes = bytes.map_err(|error| ConfigurationError::SigningKey(path, error))?;
    // All of it counts, also of a file that is longer or not random all over.
    key.copy_from_slice(&<sha2::Sha256 as sha2::Digest>::digest(&bytes));
    Ok(key)
}

#[cfg(test)]
mod tests;
