//! An issuer's public keys: fetched, kept, and fetched again when they rotate.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use url::{Host, Url};

/// Keys older than this are fetched again, so that a withdrawn one ends.
const REFRESH_AFTER: Duration = Duration::from_secs(60 * 60);
/// Keys serve so long while the issuer cannot be reached.
const USABLE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
const MIN_INTERVAL: Duration = Duration::from_secs(10);
const FETCH_LIMIT: Duration = Duration::from_secs(10);
const MAX_DOCUMENT_BYTES: u64 = 1 << 20;
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// Where an issuer's keys are.
#[derive(Debug, Clone)]
pub(crate) struct KeyLocation {
    /// Issuer, for discovery.
    pub(crate) issuer: String,
    /// Instead of discovery: address of the key set.
    pub(crate) jwks_url: Option<String>,
    /// Instead of fetching: a file with the key set.
    pub(crate) jwks_file: Option<PathBuf>,
    /// PEM file of authorities to trust for the issuer, instead of the system's.
    pub(crate) authorities: Option<PathBuf>,
    /// File whose text goes along as Bearer token; Kubernetes wants one.
    pub(crate) bearer_file: Option<PathBuf>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("invalid address {0:?}: expected https, or http on loopback")]
    Address(String),
    #[error("failed to read {path}", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("no certificate in {path}", path = .0.display())]
    Authorities(PathBuf),
    #[error("failed to fetch {url}")]
    Fetch {
        url: String,
        #[source]
        cause: Box<ureq::Error>,
    },
    #[error("{place} is no document of an OpenID issuer")]
    Document {
        place: String,
        #[source]
        cause: serde_json::Error,
    },
    #[error("{url} describes the issuer {found:?}")]
    OtherIssuer { url: String, found: String },
    #[error("the task that fetches keys failed")]
    Task(#[source] tokio::task::JoinError),
    #[error("the last fetch of the keys of {0} failed; it is tried again soon")]
    Unavailable(String),
}

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct KeySet {
    source: Arc<Source>,
    keys: RwLock<Keys>,
    /// Held while fetching: many tokens with an unknown key make one fetch.
    fetching: Mutex<Option<Instant>>,
    /// Between two fetches, whatever tokens claim: strangers cannot make us flood the issuer.
    min_interval: Duration,
}

#[derive(Debug, Default)]
struct Keys {
    set: Arc<Vec<Jwk>>,
    fetched: Option<Instant>,
}

#[derive(Debug)]
struct Source {
    location: KeyLocation,
    agent: Agent,
}

/// A JWK set. Keys of a form that is not known here are none that could be used.
#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl KeySet {
    /// # Errors
    /// When an address or a file of the location cannot be used. Nothing is fetched yet.
    pub(crate) fn new(location: KeyLocation) -> Result<Self, KeyError> {
        check_address(&location.issuer)?;
        location.jwks_url.as_deref().map_or(Ok(()), check_address)?;
        let agent = agent(location.authorities.as_deref())?;
        let source = Arc::new(Source { location, agent });
        Ok(Self { source, keys: RwLock::default(), fetching: Mutex::new(None), min_interval: MIN_INTERVAL })
    }

    /// The key for a token with this header, if the issuer has one that fits the algorithm.
    ///
    /// # Errors
    /// When there are no keys that are fresh enough to decide.
    pub(crate) async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Option<DecodingKey>, KeyError> {
        let known = self.known(id, algorithm, REFRESH_AFTER);
        if let Some(Some(key)) = known {
            return Ok(Some(key));
        }
        let refreshed = self.refresh().await;
        match (self.known(id, algorithm, USABLE_FOR), refreshed) {
            // A key that is still good, or a set that is: no need of a new one.
            (Some(Some(key)), _) => Ok(Some(key)),
            (Some(None), Ok(())) => Ok(None),
            (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(KeyError::Unavailable(self.source.location.issuer.clone())),
        }
    }

    /// `None` without keys that are younger than `age`; `Some(None)` when none of them fits.
    fn known(&self, id: Option<&str>, algorithm: Algorithm, age: Duration) -> Option<Option<DecodingKey>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.fetched.filter(|at| at.elapsed() < age)?;
        Some(choose(&keys.set, id, algorithm))
    }

    /// Fetches the keys, unless that was tried just now.
    async fn refresh(&self) -> Result<(), KeyError> {
        let mut last = self.fetching.lock().await;
        if last.is_some_and(|at| at.elapsed() < self.min_interval) {
            return Ok(());
        }
        *last = Some(Instant::now());
        let source = Arc::clone(&self.source);
        let set = spawn_blocking(move || source.fetch()).await.map_err(KeyError::Task)??;
        let keys = Keys { set: Arc::new(set), fetched: Some(Instant::now()) };
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }
}

/// The key that `id` names; without one, the only key that fits.
fn choose(keys: &[Jwk], id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let named = |key: &&Jwk| id.is_none() || key.common.key_id.as_deref() == id;
    let mut fitting = keys.iter().filter(named).filter(|key| fits(key, algorithm));
    let key = fitting.next()?;
    if fitting.next().is_some() && id.is_none() {
        return None;
    }
    DecodingKey::from_jwk(key).ok()
}

/// A public signing key of the algorithm's family; never a shared secret.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let family = match key.algorithm {
        AlgorithmParameters::RSA(_) => matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
        AlgorithmParameters::EllipticCurve(_) => matches!(algorithm, ES256 | ES384),
        AlgorithmParameters::OctetKeyPair(_) => matches!(algorithm, EdDSA),
        _ => false,
    };
    let stated = key.common.key_algorithm.is_none_or(|stated| stated.to_string() == format!("{algorithm:?}"));
    let signing = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    family && stated && signing
}

impl Source {
    fn fetch(&self) -> Result<Vec<Jwk>, KeyError> {
        let document: Document = match (&self.location.jwks_file, &self.location.jwks_url) {
            (Some(path), _) => {
                let bytes = fs::read(path).map_err(|error| KeyError::File(path.clone(), error))?;
                parse(&path.display().to_string(), &bytes)?
            }
            (None, Some(url)) => self.get(url)?,
            (None, None) => self.get(&self.discover()?)?,
        };
        Ok(document.usable())
    }

    fn discover(&self) -> Result<String, KeyError> {
        let issuer = &self.location.issuer;
        let url = format!("{}{DISCOVERY_PATH}", issuer.trim_end_matches('/'));
        let document: Discovery = self.get(&url)?;
        if document.issuer != *issuer {
            return Err(KeyError::OtherIssuer { url, found: document.issuer });
        }
        check_address(&document.jwks_uri)?;
        Ok(document.jwks_uri)
    }

    fn get<T: for<'de> Deserialize<'de>>(&self, url: &str) -> Result<T, KeyError> {
        let failed = |cause| KeyError::Fetch { url: url.into(), cause: Box::new(cause) };
        let mut request = self.agent.get(url);
        if let Some(path) = &self.location.bearer_file {
            let token = fs::read_to_string(path).map_err(|error| KeyError::File(path.clone(), error))?;
            request = request.header("authorization", format!("Bearer {}", token.trim()));
        }
        let mut response = request.call().map_err(failed)?;
        let bytes = response.body_mut().with_config().limit(MAX_DOCUMENT_BYTES).read_to_vec().map_err(failed)?;
        parse(url, &bytes)
    }
}

impl Document {
    fn usable(self) -> Vec<Jwk> {
        self.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect()
    }
}

fn parse<T: for<'de> Deserialize<'de>>(place: &str, bytes: &[u8]) -> Result<T, KeyError> {
    serde_json::from_slice(bytes).map_err(|cause| KeyError::Document { place: place.into(), cause })
}

/// Keys that came in the clear could be anyone's, unless they came from this machine.
fn check_address(text: &str) -> Result<(), KeyError> {
    let invalid = || KeyError::Address(text.into());
    let url = Url::parse(text).map_err(|_| invalid())?;
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(invalid()),
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        _ => Err(invalid()),
    }
}

fn agent(authorities: Option<&Path>) -> Result<Agent, KeyError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder().root_certs(roots(authorities)?).unversioned_rustls_crypto_provider(provider);
    // Redirects could lead anywhere; issuers do without.
    let config = Agent::config_builder().tls_config(tls.build()).timeout_global(Some(FETCH_LIMIT)).max_redirects(0);
    Ok(config.build().new_agent())
}

fn roots(authorities: Option<&Path>) -> Result<RootCerts, KeyError> {
    let certificates: Vec<Certificate<'static>> = match authorities {
        Some(path) => crate::tls::certificates_in(path)
            .map_err(|error| KeyError::File(path.to_owned(), error))?
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect(),
        None => {
            let system = rustls_native_certs::load_native_certs().certs;
            system.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
        }
    };
    match authorities {
        Some(path) if certificates.is_empty() => Err(KeyError::Authorities(path.to_owned())),
        _ => Ok(RootCerts::from(certificates)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for good in ["https://gitlab.example", "http://127.0.0.1:80", "http://[::1]/x", "http://localhost:1"] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in
            ["http://gitlab.example", "http://127.0.0.1.evil.example", "file:///etc/keys", "gitlab", "http://10.0.0.1"]
        {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_new_key_is_fetched_and_a_withdrawn_one_ends() {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        let publish = |id: &str| {
            let text = format!(r#"{{"keys":[{{"kty":"RSA","kid":"{id}","n":"sXch","e":"AQAB"}}]}}"#);
            fs::write(file.path(), text).expect("written");
        };
        let location = KeyLocation {
            issuer: "https://ci.example".into(),
            jwks_url: None,
            jwks_file: Some(file.path().to_owned()),
            authorities: None,
            bearer_file: None,
        };
        let mut keys = KeySet::new(location).expect("valid");
        keys.min_interval = Duration::ZERO;
        let has = async |id: &str| keys.find(Some(id), Algorithm::RS256).await.map(|key| key.is_some());
        publish("old");
        assert!(has("old").await.expect("read"));
        publish("new");
        // Known keys need no look.
        assert!(has("old").await.expect("known"));
        assert!(has("new").await.expect("read again"));
        assert!(!has("old").await.expect("read again"));
        fs::remove_file(file.path()).expect("removed");
        assert!(has("new").await.expect("still known"));
        assert!(has("other").await.is_err());
    }

    #[test]
    fn a_key_serves_its_own_family_only() {
        let set: Document = serde_json::from_str(
            r#"{"keys":[
                {"kty":"future","kid":"new"},
                {"kty":"oct","kid":"secret","k":"c2VjcmV0"},
                {"kty":"RSA","kid":"rsa","use":"sig","alg":"RS256","n":"sXch","e":"AQAB"},
                {"kty":"RSA","kid":"enc","use":"enc","n":"sXch","e":"AQAB"}]}"#,
        )
        .expect("valid");
        let keys = set.usable();
        assert!(choose(&keys, Some("rsa"), Algorithm::RS256).is_some());
        assert!(choose(&keys, None, Algorithm::RS256).is_some());
        for (id, algorithm) in [
            (Some("secret"), Algorithm::HS256),
            (Some("rsa"), Algorithm::HS256),
            (Some("rsa"), Algorithm::ES256),
            (Some("rsa"), Algorithm::RS512),
            (Some("enc"), Algorithm::RS256),
            (Some("absent"), Algorithm::RS256),
            (None, Algorithm::ES256),
        ] {
            assert!(choose(&keys, id, algorithm).is_none(), "{id:?} {algorithm:?}");
        }
    }
}
