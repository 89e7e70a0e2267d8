//! How git introduces itself to a web server.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use url::Url;

/// A user and a password or token; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct GitLogin {
    user: String,
    password: String,
}

impl GitLogin {
    /// `GIT_TOKEN`, sent as the user, before `GIT_USERNAME` and `GIT_PASSWORD`.
    ///
    /// # Source
    /// Kaniko `pkg/buildcontext/git.go`, `getGitAuth`.
    pub fn from_lookup(variable: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(user) = set("GIT_TOKEN") {
            return Some(Self { user, password: String::new() });
        }
        let (user, password) = (set("GIT_USERNAME"), set("GIT_PASSWORD"));
        let is_given = user.is_some() || password.is_some();
        is_given.then(|| Self { user: user.unwrap_or_default(), password: password.unwrap_or_default() })
    }

    /// The one in front of a URL's host.
    pub(super) fn of_url(url: &Url) -> Option<Self> {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let password = url.password().map(decode);
        let is_given = !url.username().is_empty() || password.is_some();
        is_given.then(|| Self { user: decode(url.username()), password: password.unwrap_or_default() })
    }

    /// For HTTP.
    pub(super) fn header(&self) -> String {
        let pair = BASE64_STANDARD.encode(format!("{}:{}", self.user, self.password));
        format!("Authorization: Basic {pair}")
    }
}

impl fmt::Debug for GitLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GitLogin(…)")
    }
}
