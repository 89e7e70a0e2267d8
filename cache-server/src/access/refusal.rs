//! Why a request is turned away, and how the answer says so.

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, WWW_AUTHENTICATE};
use yadokari::causes::chain;

use super::credentials::Malformed;
use super::identity::Need;
use super::oidc::TokenError;
use crate::error::{ApiError, Code};

/// Why not.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The credentials are not good; says why in general.
    WrongCredentials(&'static str),
    /// A token of a CI system is not good.
    Token(TokenError),
    /// Nobody without credentials may do this.
    LoginNeeded(Need),
    /// The session token was not made for this.
    ScopeNeeded(Need),
    /// The caller may not do this.
    Denied(Need),
}

impl Refusal {
    /// For metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Token(TokenError::Keys(_)) => "keys_unavailable",
            Self::WrongCredentials(_) | Self::Token(_) => "wrong_credentials",
            Self::LoginNeeded(_) => "login_needed",
            Self::ScopeNeeded(_) => "scope_needed",
            Self::Denied(_) => "denied",
        }
    }

    /// The answer. `realm` is where tokens are had, and `also` what the request needs besides; only
    /// 401 answers want to know.
    pub(crate) fn into_error(self, realm: &str, service: &str, also: Option<&Need>) -> ApiError {
        let challenge = |error: ApiError, parameters: &str| {
            let text = format!("Bearer realm=\"{realm}\",service=\"{service}\"{parameters}");
            match HeaderValue::try_from(text) {
                Ok(value) => error.with_header(WWW_AUTHENTICATE, value),
                Err(_) => error,
            }
        };
        let scope = |need: &Need| {
            let scopes: Vec<String> = std::iter::once(need).chain(also).map(Need::scope).collect();
            format!(",scope=\"{}\"", scopes.join(" "))
        };
        match self {
            Self::Token(error @ TokenError::Keys(_)) => {
                // Not the caller's fault, and not to be taken for a wrong token.
                ApiError::new(Code::Unavailable, "the keys of the token's issuer are not available")
                    .with_fault(&chain(&error))
            }
            Self::Token(error) => {
                challenge(ApiError::new(Code::Unauthorized, error.to_string()), ",error=\"invalid_token\"")
            }
            Self::WrongCredentials(reason) => {
                challenge(ApiError::new(Code::Unauthorized, reason), ",error=\"invalid_token\"")
            }
            Self::LoginNeeded(need) => {
                let error = ApiError::new(Code::Unauthorized, "authentication required");
                challenge(error, &scope(&need))
            }
            Self::ScopeNeeded(need) => {
                let message = format!("the token does not allow {need}");
                let parameters = scope(&need) + ",error=\"insufficient_scope\"";
                challenge(ApiError::new(Code::Unauthorized, message), &parameters)
            }
            Self::Denied(need) => {
                ApiError::new(Code::Denied, format!("not allowed: {need}")).with_status(StatusCode::FORBIDDEN)
            }
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Self::WrongCredentials("malformed Authorization header: expected Basic or Bearer credentials")
    }
}
