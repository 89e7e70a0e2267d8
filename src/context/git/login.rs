//! How git introduces itself to a web server.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use url::Url;

/// The value of an `Authorization` header; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct GitLogin {
    authorization: String,
}

impl GitLogin {
    /// `GIT_TOKEN`, sent as the user, before `GIT_USERNAME` and `GIT_PASSWORD`.
    ///
    /// # Source
    /// Kaniko `pkg/buildcontext/git.go`, `getGitAuth`.
    pub fn from_lookup(variable: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(user) = set("GIT_TOKEN") {
            return Some(Self::basic(&user, ""));
        }
        let (user, password) = (set("GIT_USERNAME"), set("GIT_PASSWORD"));
        let is_given = user.is_some() || password.is_some();
        is_given.then(|| Self::basic(&user.unwrap_or_default(), &password.unwrap_or_default()))
    }

    /// The secrets `GIT_AUTH_HEADER` and `GIT_AUTH_TOKEN`; those with `.HOST` behind go first.
    ///
    /// # Source
    /// BuildKit `source/git`, `authSecretNames`.
    pub fn from_secrets(host: &str, secret: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        [format!(".{host}"), String::new()].iter().find_map(|suffix| {
            let header = secret(&format!("GIT_AUTH_HEADER{suffix}")).map(|authorization| Self { authorization });
            header.or_else(|| Some(Self::basic("x-access-token", &secret(&format!("GIT_AUTH_TOKEN{suffix}"))?)))
        })
    }

    /// The one in front of a URL's host.
    pub(super) fn of_url(url: &Url) -> Option<Self> {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let password = url.password().map(decode);
        let is_given = !url.username().is_empty() || password.is_some();
        is_given.then(|| Self::basic(&decode(url.username()), &password.unwrap_or_default()))
    }

    fn basic(user: &str, password: &str) -> Self {
        Self { authorization: format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))) }
    }

    /// For HTTP.
    pub(super) fn header(&self) -> String {
        format!("Authorization: {}", self.authorization)
    }
}

impl fmt::Debug for GitLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GitLogin(…)")
    }
}
