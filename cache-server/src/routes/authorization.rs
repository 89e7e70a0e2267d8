//! Authorization of requests, and the endpoints that help with it.

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, HeaderMap, HeaderName, WWW_AUTHENTICATE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::content::fixed;
use super::endpoint::Endpoint;
use super::receive::collect;
use super::{Call, Registry, value};
use crate::access::{Action, Identity, LIFETIME_SECONDS, Need, Presented, Proof, Refusal};
use crate::error::{ApiError, Code};
use crate::name::RepositoryName;

/// A form with a name and a password needs no more.
const MAX_FORM_BYTES: u64 = 64 << 10;
/// Scopes in one request for a token.
const MAX_SCOPES: usize = 64;
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who sends a request with these headers.
pub(super) async fn identify(registry: &Registry, headers: &HeaderMap) -> Result<Identity, ApiError> {
    let refuse = |refusal: Refusal| refused(registry, headers, refusal);
    let presented = match headers.get(AUTHORIZATION) {
        None => None,
        Some(header) => {
            let parsed = header.to_str().map_err(|_| crate::access::Malformed).and_then(Presented::parse);
            Some(parsed.map_err(|malformed| refuse(malformed.into()))?)
        }
    };
    registry.access.identify(presented.as_ref()).await.map_err(refuse)
}

/// Refuses what the caller may not do.
pub(super) fn authorize(registry: &Registry, endpoint: &Endpoint, call: &Call) -> Result<(), ApiError> {
    // A page of another site can make a browser send requests to loopback.
    let reading = matches!(call.method, Method::GET | Method::HEAD);
    if !reading && call.header(SEC_FETCH_SITE) == Some("cross-site") {
        return Err(ApiError::new(Code::Denied, "requests of other sites' pages are refused"));
    }
    let Some(need) = endpoint.need(&call.method) else { return Ok(()) };
    let allowed = registry.access.authorize(&call.identity, &need);
    allowed.map_err(|refusal| {
        let error = refused_with(registry, &call.headers, refusal, mount_source(endpoint, call).as_ref());
        // A browser asks its user for Basic credentials, and for no others.
        let browser = *endpoint == Endpoint::Dashboard;
        if browser { error.replacing_header(WWW_AUTHENTICATE, fixed("Basic realm=\"cache-server\"")) } else { error }
    })
}

/// Whether a repository's content may be shown to this caller.
pub(super) fn may_read(call: &Call, need: &Need) -> bool {
    call.identity.may(need)
}

/// Whether the blob that `call` wants to mount may come to `target` on behalf of this caller.
///
/// # Errors
/// When a session token was not made for it, but the next one may be. After that the answer is
/// no: clients take an upload instead of a mount, and few get over a refusal.
pub(super) fn may_mount(registry: &Registry, call: &Call, target: &RepositoryName) -> Result<bool, ApiError> {
    let Some(source) = mount_need(call) else { return Ok(false) };
    if call.identity.may(&source) {
        return Ok(true);
    }
    if !call.identity.may_ask(&source) {
        return Ok(false);
    }
    let target = Need::Repository(Action::Push, target.clone());
    Err(refused_with(registry, &call.headers, Refusal::ScopeNeeded(source), Some(&target)))
}

/// What a mount needs besides the right to push; none where nothing is mounted. Knowing a digest
/// is not having the blob: the caller must be allowed to read it where it is.
fn mount_source(endpoint: &Endpoint, call: &Call) -> Option<Need> {
    let mounts = matches!(endpoint, Endpoint::Uploads { .. }) && call.parameters.get("mount").is_some();
    mounts.then(|| mount_need(call)).flatten()
}

fn mount_need(call: &Call) -> Option<Need> {
    match call.parameters.get("from") {
        // From wherever it is.
        None => Some(Need::Catalog),
        Some(source) => Some(Need::Repository(Action::Pull, source.parse().ok()?)),
    }
}

/// `/v2/`: clients decide by it whether to log in, also when reading needs no login.
pub(super) fn probe_refusal(registry: &Registry, call: &Call) -> Option<ApiError> {
    let must_ask = registry.access.challenges() && call.identity.proof() == Proof::None;
    let message = "log in, or fetch an anonymous token";
    must_ask.then(|| {
        let challenge =
            format!("Bearer realm=\"{}\",service=\"{}\"", realm(registry, &call.headers), service(registry));
        let error = ApiError::new(Code::Unauthorized, message);
        match value(challenge) {
            Ok(value) => error.with_header(WWW_AUTHENTICATE, value),
            Err(error) => error,
        }
    })
}

/// GET of a token: credentials are in the header, scopes in the query.
pub(super) fn token(registry: &Registry, call: &Call) -> Result<Response, ApiError> {
    // Else a session would never end.
    if call.identity.proof() == Proof::Session {
        let refusal = Refusal::WrongCredentials("a session token cannot make another one");
        return Err(refused(registry, &call.headers, refusal));
    }
    let scopes = call.parameters.all("scope").flat_map(str::split_whitespace).take(MAX_SCOPES);
    issue(registry, &call.identity, &scopes.collect::<Vec<_>>())
}

/// POST for a token: credentials and scopes are in a form.
pub(super) async fn token_by_form(registry: &Registry, call: &Call, body: &mut Body) -> Result<Response, ApiError> {
    let bytes = collect(body, MAX_FORM_BYTES).await?;
    let form = Form::parse(&bytes);
    let identity = match form.get("grant_type") {
        Some("password") => {
            let (user, password) = (form.get("username"), form.get("password"));
            let presented = Presented::Basic {
                user: user.unwrap_or_default().into(),
                password: password.unwrap_or_default().into(),
            };
            let identified = registry.access.identify(Some(&presented)).await;
            identified.map_err(|refusal| refused(registry, &call.headers, refusal))?
        }
        _ => {
            let message = "unsupported grant_type: expected password";
            return Err(ApiError::new(Code::Unsupported, message).with_status(StatusCode::BAD_REQUEST));
        }
    };
    let scopes = form.get("scope").unwrap_or_default().split_whitespace().take(MAX_SCOPES);
    issue(registry, &identity, &scopes.collect::<Vec<_>>())
}

/// GET of who the caller is and what it may do.
pub(super) fn access(call: &Call) -> Response {
    let grants: Vec<String> = call.identity.grants().iter().map(ToString::to_string).collect();
    let body = json!({ "identity": &**call.identity.name(), "grants": grants });
    ([(CACHE_CONTROL, fixed("no-store"))], axum::Json(body)).into_response()
}

fn issue(registry: &Registry, identity: &Identity, scopes: &[&str]) -> Result<Response, ApiError> {
    let issued = registry.access.issue(identity, scopes).map_err(|error| ApiError::internal(&error))?;
    let body = json!({
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": LIFETIME_SECONDS,
        "issued_at": issued.issued_at,
    });
    Ok(([(CACHE_CONTROL, fixed("no-store"))], axum::Json(body)).into_response())
}

fn refused(registry: &Registry, headers: &HeaderMap, refusal: Refusal) -> ApiError {
    refused_with(registry, headers, refusal, None)
}

/// The same for a request that needs `also`: the client learns at once all that it has to ask for.
fn refused_with(registry: &Registry, headers: &HeaderMap, refusal: Refusal, also: Option<&Need>) -> ApiError {
    registry.metrics.refused(&refusal);
    refusal.into_error(&realm(registry, headers), service(registry), also)
}

fn service(registry: &Registry) -> &str {
    registry.access.service()
}

/// Where tokens are had: below the configured address, else below the one that the client used.
fn realm(registry: &Registry, headers: &HeaderMap) -> String {
    if let Some(url) = &registry.address.external_url {
        return format!("{}/token", url.trim_end_matches('/'));
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| is_authority(host));
    format!("{}://{}/token", registry.address.scheme, host.unwrap_or("localhost"))
}

/// What may stand in a quoted string of a header and be an address.
fn is_authority(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}

/// A body of type `application/x-www-form-urlencoded`.
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (decode(name), decode(value))).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let form = Form::parse(b"grant_type=password&password=a%2Bb%26+c&scope=x&flag&scope=y");
        assert_eq!(form.get("password"), Some("a+b& c"));
        assert_eq!((form.get("scope"), form.get("flag")), (Some("x"), None));
    }

    #[test]
    fn a_host_cannot_break_out_of_its_header() {
        for good in ["cache:5000", "[::1]:5000", "cache.example"] {
            assert!(is_authority(good), "{good}");
        }
        for bad in ["", "a\"b", "a/b", "a b", "a@b", "a\\b", "é"] {
            assert!(!is_authority(bad), "{bad}");
        }
    }
}
