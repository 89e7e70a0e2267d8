//! Token servers: trades credentials for a short-lived bearer token.

use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use ureq::Body;
use ureq::http::{Method, Response, header};
use url::{Url, form_urlencoded};

use super::credentials::{Credential, Secret};
use super::error::Fault;
use super::options::Purpose;
use super::origin::Origin;
use super::transport::{Outgoing, Payload, Transport, header_text, read_answer, read_bounded};

const MAX_TOKEN_BYTES: u64 = 64 << 10;
const MAX_REDIRECTS: usize = 5;
const CLIENT_ID: &str = "yadokari";
/// What a token lives when the server does not say.
const DEFAULT_LIFE_SECONDS: u64 = 60;
const MAX_LIFE_SECONDS: u64 = 86_400;

/// `repository:NAME:pull,push`. The name may hold a colon.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scope(String);

impl Scope {
    pub(super) fn repository(name: &str, actions: &str) -> Self {
        Self(format!("repository:{name}:{actions}"))
    }

    /// The scopes that a challenge demands, separated by spaces.
    pub(super) fn demanded(text: &str) -> impl Iterator<Item = Self> + '_ {
        text.split_ascii_whitespace().take(16).map(|scope| Self(scope.to_owned()))
    }

    /// Whether this one allows all that `other` allows.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self.0.rsplit_once(':'), other.0.rsplit_once(':')) {
            (Some((mine, actions)), Some((theirs, wanted))) => {
                mine == theirs && wanted.split(',').all(|want| actions.split(',').any(|action| action == want))
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A bearer token and until when we use it.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub value: Secret,
    pub good_until: Instant,
}

/// A request to a token server.
#[derive(Debug)]
pub(super) struct Grant<'a> {
    /// Who named the realm; decides which realms are acceptable.
    pub registry: &'a Origin,
    pub realm: &'a Url,
    pub service: Option<&'a str>,
    pub scopes: &'a [Scope],
    pub purpose: Purpose,
}

#[derive(Deserialize)]
struct TokenBody {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

/// `Basic` and the base64 of `user:password`.
pub(super) fn basic(username: &str, password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{}", password.expose()))))
}

impl Grant<'_> {
    /// Asks for a token. With a password: GET, then POST where the server knows only that.
    ///
    /// # Errors
    /// [`Fault::Forbidden`] for a realm that we must not be sent to, and the server's refusal.
    ///
    /// # Source
    /// distribution "Token Authentication" and "OAuth2"; the order is BuildKit's.
    pub(super) fn fetch(&self, transport: &Transport, credential: Option<&Credential>) -> Result<Token, Fault> {
        let asked = Instant::now();
        let (origin, response) = match credential {
            Some(Credential::IdentityToken(token)) => self.post(transport, &[("refresh_token", token.expose())])?,
            Some(Credential::Basic { username, password }) => self.with_password(transport, username, password)?,
            Some(Credential::RegistryToken(_)) | None => self.get(transport, None)?,
        };
        if !response.status().is_success() {
            return Err(Fault::of(read_answer(&origin, response), credential.is_some()));
        }
        read_token(&origin, response, asked)
    }

    fn with_password(
        &self,
        transport: &Transport,
        username: &str,
        password: &Secret,
    ) -> Result<(Origin, Response<Body>), Fault> {
        let header = basic(username, password);
        let first = self.get(transport, Some(&header))?;
        if !matches!(first.1.status().as_u16(), 401 | 404 | 405) {
            return Ok(first);
        }
        let fields = [("username", username), ("password", password.expose())];
        match self.post(transport, &fields) {
            Ok(second) if second.1.status().is_success() => Ok(second),
            // The first refusal says more than that a second way does not exist.
            _ => Ok(first),
        }
    }

    /// GET, redirects included; the header stays with the realm's own origin.
    fn get(&self, transport: &Transport, basic: Option<&Secret>) -> Result<(Origin, Response<Body>), Fault> {
        let (home, mut url) = self.registry.destination(self.realm, "")?;
        self.add_query(&mut url);
        let mut origin = home.clone();
        for _ in 0..MAX_REDIRECTS {
            let header = basic.filter(|_| origin == home).map(Secret::expose);
            let response = transport.send(&url, &Outgoing::new(Method::GET, self.purpose), header)?;
            let location =
                response.status().is_redirection().then(|| header_text(response.headers(), "location")).flatten();
            let Some(location) = location else { return Ok((origin, response)) };
            let (next, next_url) = origin.destination(&url, location)?;
            // A chain of hops must not lead where a single one could not.
            self.registry.destination(&next_url, "")?;
            (origin, url) = (next, next_url);
        }
        Err(Fault::Malformed { origin: origin.to_string(), reason: "too many redirects".to_owned() })
    }

    fn add_query(&self, url: &mut Url) {
        let mut query = url.query_pairs_mut();
        if let Some(service) = self.service {
            query.append_pair("service", service);
        }
        for scope in self.scopes {
            query.append_pair("scope", &scope.0);
        }
        query.append_pair("client_id", CLIENT_ID);
    }

    /// POST; a redirect is an answer like any other, since the form holds the secret.
    fn post(&self, transport: &Transport, secrets: &[(&str, &str)]) -> Result<(Origin, Response<Body>), Fault> {
        let (origin, url) = self.registry.destination(self.realm, "")?;
        let kind = if secrets.len() == 1 { "refresh_token" } else { "password" };
        let scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.0.as_str()).collect();
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", kind).append_pair("client_id", CLIENT_ID);
        form.append_pair("service", self.service.unwrap_or_default()).append_pair("scope", &scopes.join(" "));
        form.extend_pairs(secrets);
        let form = form.finish();
        let content_type = (header::CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned());
        let outgoing = Outgoing {
            headers: vec![content_type],
            payload: Payload::Bytes(form.as_bytes()),
            ..Outgoing::new(Method::POST, self.purpose)
        };
        Ok((origin, transport.send(&url, &outgoing, None)?))
    }
}

fn read_token(origin: &Origin, response: Response<Body>, asked: Instant) -> Result<Token, Fault> {
    let malformed = |reason: &str| Fault::Malformed { origin: origin.to_string(), reason: reason.to_owned() };
    let bytes = read_bounded(origin, response.into_body(), MAX_TOKEN_BYTES)?;
    // The parser's message may quote the token.
    let body: TokenBody = serde_json::from_slice(&bytes).map_err(|_| malformed("not a token document"))?;
    let value = body.token.filter(|t| !t.is_empty()).or(body.access_token).filter(|t| !t.is_empty());
    let value = value.ok_or_else(|| malformed("a token document without token"))?;
    Ok(Token { value: Secret::new(value), good_until: asked + life(body.expires_in) })
}

/// Nine tenths of what the server grants.
fn life(expires_in: Option<f64>) -> Duration {
    let seconds = expires_in.filter(|seconds| *seconds >= 1.0).unwrap_or(DEFAULT_LIFE_SECONDS as f64);
    Duration::from_secs_f64(seconds.min(MAX_LIFE_SECONDS as f64) * 0.9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_cover_by_action() {
        let scope = |actions: &str| Scope::repository("host:5000/a", actions);
        assert!(scope("pull,push").covers(&scope("pull")));
        assert!(scope("push,pull").covers(&scope("pull,push")));
        assert!(!scope("pull").covers(&scope("pull,push")));
        assert!(!Scope::repository("b", "pull").covers(&scope("pull")));
        assert_eq!(Scope::demanded("repository:a:pull  registry:catalog:*").count(), 2);
    }

    #[test]
    fn lives_are_bounded() {
        assert_eq!(life(None), Duration::from_secs(54));
        assert_eq!(life(Some(0.0)), Duration::from_secs(54));
        assert_eq!(life(Some(f64::NAN)), Duration::from_secs(54));
        assert_eq!(life(Some(300.0)), Duration::from_secs(270));
        assert_eq!(life(Some(f64::INFINITY)), Duration::from_secs(77_760));
    }
}
