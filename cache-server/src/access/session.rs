//! Short-lived tokens that the server signs: what `docker login` and its like work with.
//!
//! # Source
//! distribution, "Token Authentication Implementation".

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::action::{Action, Actions};
use super::grant::{Grant, Grants};
use super::identity::{Identity, Need, Proof};
use super::pattern::NamePattern;
use crate::name::RepositoryName;

/// Issuer of our own tokens; no OIDC issuer is called so, for those are URLs.
pub(super) const ISSUER: &str = "cache-server";
/// Seconds that a token lives. Clients fetch the next one by themselves.
pub(crate) const LIFETIME_SECONDS: i64 = 300;
/// Clocks of replicas may differ by so many seconds.
const LEEWAY_SECONDS: u64 = 5;
const REPOSITORY: &str = "repository";
const REGISTRY: &str = "registry";
const CATALOG: &str = "catalog";

/// Makes and checks the server's tokens.
pub(crate) struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    service: String,
}

/// A token that was just made.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) token: String,
    pub(crate) issued_at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
    nbf: i64,
    iat: i64,
    jti: String,
    access: Vec<Access>,
}

/// One resource and what may be done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Access {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

impl Signer {
    /// Signs with `secret`, for the audience `service`.
    pub(crate) fn new(secret: &[u8; 32], service: &str) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[service]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
            service: service.into(),
        }
    }

    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// A token for `subject` that allows `access`.
    pub(crate) fn issue(
        &self,
        subject: &str,
        access: Vec<Access>,
        now: Timestamp,
    ) -> Result<Issued, jsonwebtoken::errors::Error> {
        let second = now.as_second();
        let claims = Claims {
            iss: ISSUER.into(),
            sub: subject.into(),
            aud: self.service.clone(),
            exp: second + LIFETIME_SECONDS,
            nbf: second,
            iat: second,
            jti: Uuid::new_v4().to_string(),
            access,
        };
        let token = encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)?;
        Ok(Issued { token, issued_at: now })
    }

    /// Whose token this is; `None` when it is not one of ours or has ended.
    pub(crate) fn identify(&self, token: &str) -> Option<Identity> {
        let claims = decode::<Claims>(token, &self.decoding, &self.validation).ok()?.claims;
        let grants: Grants = claims.access.iter().filter_map(Access::grant).collect();
        let catalog = claims.access.iter().any(|access| access.is_catalog() && !access.actions.is_empty());
        let asked = claims.access.iter().filter_map(Access::place);
        Some(Identity::new(claims.sub, grants, Proof::Session).seeing_catalog(catalog).having_asked(asked))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Access {
    /// The part of a scope that `identity` may have, which may be nothing; `None` for what is no
    /// scope of ours.
    ///
    /// A scope is `repository:NAME:ACTIONS` or `registry:catalog:*`; a name may hold a port, so
    /// the first and the last colon count.
    pub(crate) fn grantable(scope: &str, identity: &Identity) -> Option<Self> {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        // Older clients write `repository(plugin)`.
        let actions = match kind.split('(').next() {
            Some(REPOSITORY) => {
                let repository: RepositoryName = name.parse().ok()?;
                let allowed = identity.grants().allowed(Actions::known(actions), &repository);
                allowed.iter().map(|action| action.name().to_owned()).collect()
            }
            Some(REGISTRY) if name == CATALOG => identity.may(&Need::Catalog).then(|| "*".into()).into_iter().collect(),
            _ => return None,
        };
        Some(Self { kind: kind.into(), name: name.into(), actions })
    }

    fn is_catalog(&self) -> bool {
        self.kind == REGISTRY && self.name == CATALOG
    }

    /// What it is about, whatever it allows.
    fn place(&self) -> Option<Need> {
        if self.is_catalog() {
            return Some(Need::Catalog);
        }
        Some(Need::Repository(Action::Pull, self.name.parse().ok()?))
    }

    fn grant(&self) -> Option<Grant> {
        if self.kind == REGISTRY {
            return None;
        }
        let repositories = NamePattern::exactly(&self.name.parse().ok()?);
        Some(Grant { repositories, actions: Actions::known(&self.actions.join(",")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(grant: &str) -> Identity {
        let grants: Grants = [grant.parse().expect("valid")].into_iter().collect();
        Identity::new("user:alice", grants, Proof::Credentials)
    }

    fn issue(signer: &Signer, scopes: &[&str], now: Timestamp) -> String {
        let alice = identity("team/**=pull,push");
        let access = scopes.iter().filter_map(|scope| Access::grantable(scope, &alice)).collect();
        signer.issue("user:alice", access, now).expect("signed").token
    }

    fn need(action: Action, name: &str) -> Need {
        Need::Repository(action, name.parse().expect("valid"))
    }

    #[test]
    fn a_token_holds_what_was_asked_for_and_is_allowed() {
        let signer = Signer::new(&[1; 32], "cache");
        let scopes = ["repository:team/app:pull,delete", "repository:other:pull", "registry:catalog:*", "nonsense"];
        let session = signer.identify(&issue(&signer, &scopes, Timestamp::now())).expect("valid");
        assert_eq!((&**session.name(), session.proof()), ("user:alice", Proof::Session));
        assert!(session.may(&need(Action::Pull, "team/app")));
        for refused in [
            need(Action::Push, "team/app"),
            need(Action::Delete, "team/app"),
            need(Action::Pull, "other"),
            need(Action::Pull, "team/other"),
            Need::Catalog,
        ] {
            assert!(!session.may(&refused), "{refused:?}");
        }
        assert!(session.may_ask(&need(Action::Pull, "team/other")), "it was not asked for");
        for asked in [need(Action::Pull, "other"), Need::Catalog] {
            assert!(!session.may_ask(&asked), "{asked:?} was asked for");
        }
    }

    #[test]
    fn tokens_of_others_and_of_yesterday_are_refused() {
        let signer = Signer::new(&[1; 32], "cache");
        let (now, scopes) = (Timestamp::now(), ["repository:team/app:pull"]);
        let hour = |hours: i64| Timestamp::from_second(now.as_second() + hours * 3600).expect("valid");
        for (what, token) in [
            ("other key", issue(&Signer::new(&[2; 32], "cache"), &scopes, now)),
            ("other service", issue(&Signer::new(&[1; 32], "elsewhere"), &scopes, now)),
            ("expired", issue(&signer, &scopes, hour(-1))),
            ("not yet valid", issue(&signer, &scopes, hour(1))),
        ] {
            assert!(signer.identify(&token).is_none(), "{what}");
        }
    }
}
