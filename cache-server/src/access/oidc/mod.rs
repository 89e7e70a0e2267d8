//! Tokens of CI systems.
//!
//! # Source
//! OpenID Connect Core, section 3.1.3.7; RFC 8725 (best current practices for JWT).

mod claims;
mod keys;
mod rules;

use std::time::Duration;

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};

pub(crate) use claims::Kind;
pub(crate) use keys::{KeyError, KeyLocation, KeySet};
pub(crate) use rules::{Rule, default_rules};

use super::identity::{Identity, Proof};
use claims::Claims;

/// Clocks may differ by so much.
const LEEWAY: Duration = Duration::from_secs(30);
/// Longer tokens are refused unread.
const MAX_TOKEN_BYTES: usize = 16 << 10;
/// Public-key signatures only: with a shared secret, or with none, anyone could sign.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// A CI system whose tokens are accepted.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) kind: Kind,
    pub(crate) issuer: String,
    /// What the token must be meant for.
    pub(crate) audience: String,
    /// First components of the names that default rules grant.
    pub(crate) namespace: String,
    /// Owners whose projects are served; all when empty.
    pub(crate) owners: Vec<String>,
    /// Patterns of full refs that count as protected although the issuer does not say so.
    pub(crate) protected_refs: Vec<String>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) keys: KeySet,
}

/// A token that was accepted.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) identity: Identity,
    /// End of the token, seconds since 1970.
    pub(crate) expires: u64,
}

/// Why a token was not accepted. Shown to the caller; holds nothing of the token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token is malformed")]
    Malformed,
    #[error("the token is signed in a way that is not accepted")]
    Algorithm,
    #[error("the token is signed with a key that its issuer does not have")]
    UnknownKey,
    #[error("the token is not valid: {0}")]
    Invalid(&'static str),
    #[error("the token's project does not belong to an owner who is served here")]
    Owner,
    #[error("the keys of the token's issuer are not available")]
    Keys(#[from] KeyError),
}

/// The issuer that a token names; nothing is verified yet.
pub(super) fn claimed_issuer(token: &str) -> Option<String> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let claims: Map<String, Value> = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

impl Provider {
    /// Checks a token and works out what its bearer may do.
    pub(crate) async fn verify(&self, token: &str) -> Result<Verified, TokenError> {
        // The header's own keys (`jwk`, `x5c`, `jku`) are never looked at.
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        // An extension that must be understood is one that is not understood here.
        if !ALGORITHMS.contains(&header.alg) || header.crit.is_some() {
            return Err(TokenError::Algorithm);
        }
        let key = self.keys.find(header.kid.as_deref(), header.alg).await?.ok_or(TokenError::UnknownKey)?;
        let validation = self.validation(header.alg);
        let token = decode::<Map<String, Value>>(token, &key, &validation).map_err(|error| reason(&error))?;
        let expires = token.claims.get("exp").and_then(Value::as_f64).ok_or(TokenError::Invalid("no exp"))?;
        let claims = Claims::new(self.kind, &token.claims, &self.namespace, &self.protected_refs);
        if !self.serves(&claims) {
            return Err(TokenError::Owner);
        }
        let grants = rules::evaluate(&self.rules, &claims);
        // A time in seconds: whatever does not fit is far away.
        Ok(Verified {
            identity: Identity::new(self.name(&claims), grants, Proof::Credentials),
            expires: expires as u64,
        })
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY.as_secs();
        validation
    }

    /// Says whether the project is below one of the owners, by name or by ID.
    fn serves(&self, claims: &Claims) -> bool {
        let ids = ["repository_owner_id", "namespace_id"].map(|name| claims.get(name));
        let owned = |owner: &String| {
            let below = |project: &str| project.strip_prefix(owner.as_str()).is_some_and(|rest| rest.starts_with('/'));
            ids.contains(&Some(owner)) || claims.get(claims::PROJECT).is_some_and(below)
        };
        self.owners.is_empty() || self.owners.iter().any(owned)
    }

    /// For logs.
    fn name(&self, claims: &Claims) -> String {
        let kind = match self.kind {
            Kind::Gitlab => "gitlab",
            Kind::Github => "github",
            Kind::Kubernetes => "kubernetes",
            Kind::Other => "oidc",
        };
        match (claims.get(claims::PROJECT), claims.get(claims::REF)) {
            (Some(project), Some(reference)) => format!("{kind}:{project}@{reference}"),
            (Some(project), None) => format!("{kind}:{project}"),
            (None, _) => format!("{kind}:{}", claims.get("sub").unwrap_or_default()),
        }
    }
}

fn reason(error: &jsonwebtoken::errors::Error) -> TokenError {
    use jsonwebtoken::errors::ErrorKind;
    TokenError::Invalid(match error.kind() {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidAudience => "it is meant for another audience",
        ErrorKind::InvalidIssuer => "it has another issuer",
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::MissingRequiredClaim(_) => "it lacks a claim that it must have",
        _ => "it cannot be verified",
    })
}
