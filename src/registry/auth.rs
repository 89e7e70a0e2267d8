//! Which `Authorization` goes with a request, and what to do when it is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ureq::Body;
use ureq::http::{Response, header};
use url::Url;

use super::challenge::{self, Challenge};
use super::credentials::{Credential, Credentials, CredentialsError, Found, Secret};
use super::error::Fault;
use super::options::Purpose;
use super::origin::Origin;
use super::token::{Grant, Scope, Token, basic};
use super::transport::Transport;
use crate::image::Reference;

/// How often one request answers a challenge.
const MAX_REFUSALS: u8 = 3;

/// Who asks for what: the identity is the one of `registry` and `repository`, or nobody's.
#[derive(Debug)]
pub(super) struct Claim {
    /// `None` for an origin that a registry sent us to: it gets no credentials.
    place: Option<(String, String)>,
    scopes: Vec<Scope>,
    purpose: Purpose,
    refusals: u8,
    /// Whether credentials were found, for the error message.
    pub had_credentials: bool,
    /// Why a cloud gave none: only of interest when being nobody does not do.
    failure: Option<CredentialsError>,
}

impl Claim {
    pub(super) fn new(reference: &Reference, actions: &str, purpose: Purpose) -> Self {
        Self {
            place: Some((reference.registry().to_owned(), reference.repository().to_owned())),
            scopes: vec![Scope::repository(reference.repository(), actions)],
            ..Self::guest(purpose)
        }
    }

    /// Nobody, who wants what the server says is needed.
    pub(super) fn guest(purpose: Purpose) -> Self {
        Self { place: None, scopes: Vec::new(), purpose, refusals: 0, had_credentials: false, failure: None }
    }

    /// Before another try of the same request.
    pub(super) fn start_over(&mut self) {
        self.refusals = 0;
    }

    /// The true reason of a refusal, when credentials should have been there.
    pub(super) fn explain(&mut self, fault: Fault) -> Fault {
        match self.failure.take() {
            Some(failure) if fault.is_refusal() => failure.into(),
            _ => fault,
        }
    }

    /// The same with another repository of the same registry.
    pub(super) fn and(mut self, repository: &str, actions: &str) -> Self {
        self.scopes.push(Scope::repository(repository, actions));
        self
    }
}

/// How an origin wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Method {
    Basic,
    Bearer(Realm),
}

/// A token server, and the name it knows the registry by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Realm {
    url: Url,
    service: Option<String>,
}

/// Registry, realm and service, identity, scopes.
type TokenKey = (Origin, Realm, String, Vec<Scope>);
type TokenSlot = Arc<Mutex<Option<Token>>>;

/// Credentials, what origins demand, and the tokens in use.
pub(super) struct Authenticator {
    credentials: Credentials,
    methods: Mutex<HashMap<Origin, Method>>,
    /// Each slot has a lock of its own: twenty requests for one token make one fetch.
    tokens: Mutex<HashMap<TokenKey, TokenSlot>>,
}

impl Authenticator {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, methods: Mutex::default(), tokens: Mutex::default() }
    }

    /// The value of `Authorization` for `origin`, as far as it is known what that wants.
    ///
    /// # Errors
    /// Faults of credential programs and token servers.
    pub(super) fn authorize(
        &self,
        transport: &Transport,
        origin: &Origin,
        claim: &mut Claim,
    ) -> Result<Option<Secret>, Fault> {
        let Some(method) = self.method(origin) else { return Ok(None) };
        let found = self.identity(claim)?;
        claim.had_credentials = found.is_some();
        match (&method, found.as_ref().map(|found| &found.credential)) {
            (_, Some(Credential::RegistryToken(token))) => Ok(Some(bearer(token))),
            (Method::Basic, Some(Credential::Basic { username, password })) => Ok(Some(basic(username, password))),
            (Method::Basic, _) => Ok(None),
            (Method::Bearer(realm), _) => {
                let token = self.token(transport, origin, realm, claim, found.as_ref());
                token.map(Some).map_err(|fault| claim.explain(fault))
            }
        }
    }

    /// Learns from a 401. False when nothing can be done about it.
    pub(super) fn learn(
        &self,
        origin: &Origin,
        claim: &mut Claim,
        refused: Option<&Secret>,
        response: &Response<Body>,
    ) -> Result<bool, Fault> {
        claim.refusals += 1;
        let headers = response.headers().get_all(header::WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok());
        let challenges = challenge::parse(headers);
        let Some((method, challenge)) = choose(&challenges) else { return Ok(false) };
        if let Some(refused) = refused {
            self.forget(origin, claim, refused)?;
        }
        self.methods.lock().unwrap_or_else(PoisonError::into_inner).insert(origin.clone(), method);
        let wider = widen(&mut claim.scopes, challenge.parameter("scope").unwrap_or_default());
        Ok(claim.refusals == 1 || (wider && claim.refusals < MAX_REFUSALS))
    }

    fn method(&self, origin: &Origin) -> Option<Method> {
        self.methods.lock().unwrap_or_else(PoisonError::into_inner).get(origin).cloned()
    }

    /// Whom the claim is made for. A cloud that gives no credentials makes it nobody's: the image may be public.
    fn identity(&self, claim: &mut Claim) -> Result<Option<Found>, Fault> {
        let Some((registry, repository)) = &claim.place else { return Ok(None) };
        match self.credentials.find(registry, repository) {
            Err(failure @ CredentialsError::Provider { .. }) => {
                claim.failure = Some(failure);
                Ok(None)
            }
            answer => Ok(answer?),
        }
    }

    /// A token for the claim: one in use, else a new one.
    fn token(
        &self,
        transport: &Transport,
        origin: &Origin,
        realm: &Realm,
        claim: &Claim,
        found: Option<&Found>,
    ) -> Result<Secret, Fault> {
        let identity = found.map_or("", |found| found.identity.as_str());
        if let Some(token) = self.wider_token(origin, realm, identity, &claim.scopes) {
            return Ok(bearer(&token));
        }
        let slot = self.slot((origin.clone(), realm.clone(), identity.to_owned(), claim.scopes.clone()));
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = slot.as_ref().filter(|token| is_good(token)) {
            return Ok(bearer(&token.value));
        }
        let grant = Grant {
            registry: origin,
            realm: &realm.url,
            service: realm.service.as_deref(),
            scopes: &claim.scopes,
            purpose: claim.purpose,
        };
        let token = match grant.fetch(transport, found.map(|found| &found.credential)) {
            // A variable that serves something else must not stand in the way of a public image.
            Err(fault) if fault.is_refusal() && may_be_nobody(claim, found) => {
                grant.fetch(transport, None).map_err(|_| fault)?
            }
            answer => answer?,
        };
        Ok(bearer(&slot.insert(token).value))
    }

    /// A token in use for the same identity that allows as much or more: who may push need not
    /// ask to pull.
    fn wider_token(&self, origin: &Origin, realm: &Realm, identity: &str, scopes: &[Scope]) -> Option<Secret> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |(o, r, i, have): &TokenKey| {
            o == origin && r == realm && i == identity && scopes.iter().all(|s| have.iter().any(|h| h.covers(s)))
        };
        let found = tokens.iter().filter(|(key, _)| fits(key));
        // A slot that is locked is being filled: not in use yet.
        found.filter_map(|(_, slot)| slot.try_lock().ok()?.clone()).find(is_good).map(|token| token.value)
    }

    fn slot(&self, key: TokenKey) -> TokenSlot {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tokens.entry(key).or_default())
    }

    /// Drops a token that was refused, wherever it is kept.
    fn forget(&self, origin: &Origin, claim: &mut Claim, refused: &Secret) -> Result<(), Fault> {
        let identity = self.identity(claim)?.map_or_else(String::new, |found| found.identity);
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = tokens.iter().filter(|((o, _, i, _), _)| o == origin && *i == identity);
        for mut slot in slots.filter_map(|(_, slot)| slot.try_lock().ok()) {
            if slot.as_ref().is_some_and(|token| bearer(&token.value) == *refused) {
                *slot = None;
            }
        }
        Ok(())
    }
}

fn may_be_nobody(claim: &Claim, found: Option<&Found>) -> bool {
    claim.purpose == Purpose::Pull && found.is_some_and(|found| found.from_environment)
}

fn is_good(token: &Token) -> bool {
    token.good_until > Instant::now()
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

/// The first Bearer challenge with a usable realm, else the first Basic one.
fn choose(challenges: &[Challenge]) -> Option<(Method, &Challenge)> {
    let as_bearer = |challenge: &Challenge| {
        let url = Url::parse(challenge.parameter("realm")?).ok()?;
        Some(Method::Bearer(Realm { url, service: challenge.parameter("service").map(str::to_owned) }))
    };
    let mut bearers = challenges.iter().filter(|c| c.scheme == "bearer");
    let found = bearers.find_map(|c| as_bearer(c).map(|method| (method, c)));
    found.or_else(|| challenges.iter().find(|c| c.scheme == "basic").map(|c| (Method::Basic, c)))
}

/// Puts the demanded scopes that are not covered first: some servers read only one. True when
/// there were any.
fn widen(scopes: &mut Vec<Scope>, demanded: &str) -> bool {
    let new: Vec<Scope> = Scope::demanded(demanded).filter(|d| !scopes.iter().any(|s| s.covers(d))).collect();
    scopes.retain(|scope| !new.iter().any(|n| n.covers(scope)));
    scopes.splice(0..0, new.iter().cloned());
    !new.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demanded_scopes_come_first_once() {
        let mut scopes = vec![Scope::repository("a", "pull")];
        assert!(widen(&mut scopes, "repository:a:pull,push repository:b:pull"));
        assert_eq!(scopes, [Scope::repository("a", "pull,push"), Scope::repository("b", "pull")]);
        assert!(!widen(&mut scopes, "repository:b:pull repository:a:pull"));
        assert!(!widen(&mut scopes, ""));
    }

    #[test]
    fn bearer_is_preferred_and_needs_a_realm() {
        let chosen = |header: &str| choose(&challenge::parse([header])).map(|(method, _)| method);
        assert!(matches!(chosen(r#"Basic realm="x", Bearer realm="https://t/""#), Some(Method::Bearer(_))));
        assert_eq!(chosen(r#"Bearer service="x", Basic realm="y""#), Some(Method::Basic));
        assert_eq!(chosen("Negotiate"), None);
    }
}
