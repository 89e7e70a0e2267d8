//! Who asks, and what they may do.
//!
//! A request shows credentials ([`Presented`]); [`Access::identify`] turns them into an
//! [`Identity`] with [`Grants`]; each endpoint says what it [`Need`]s, and
//! [`Access::authorize`] compares. Secrets are compared in constant time and never logged.

mod action;
mod credentials;
mod grant;
mod htpasswd;
mod identity;
mod oidc;
mod pattern;
mod refusal;
mod session;
mod tokens;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use moka::sync::Cache;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

pub(crate) use action::{Action, Actions};
pub(crate) use credentials::{Malformed, Presented};
pub(crate) use grant::{Grant, Grants};
pub(crate) use htpasswd::HtpasswdError;
pub(crate) use identity::{Identity, Need, Proof};
pub(crate) use oidc::{KeyError, KeyLocation, KeySet, Kind, Provider, Rule, default_rules};
pub(crate) use refusal::Refusal;
pub(crate) use session::{Issued, LIFETIME_SECONDS};
pub(crate) use tokens::{TokenFile, TokenFileError};

use crate::watched::{Reload, Watched};
use htpasswd::Htpasswd;
use session::Signer;

/// Name of the service in challenges and tokens.
const SERVICE: &str = "cache-server";
/// Checked credentials are believed for so long without checking again.
const REMEMBER: Duration = Duration::from_secs(60);
const MAX_REMEMBERED: u64 = 10_000;
/// Password hashes computed at a time: each keeps a core busy for tens of milliseconds.
const HASHES_AT_A_TIME: usize = 2;

/// What callers without credentials may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Anonymous {
    /// Nothing.
    None,
    /// Pull and look up records, everywhere.
    Read,
    /// Everything.
    Write,
}

/// Where credentials are checked.
#[derive(Debug)]
pub(crate) struct AccessSettings {
    pub(crate) anonymous: Anonymous,
    pub(crate) htpasswd: Option<PathBuf>,
    /// What users of the htpasswd file may do; all may do everything when there is no list.
    pub(crate) users: Option<HashMap<String, Vec<Grant>>>,
    pub(crate) tokens: Option<PathBuf>,
    pub(crate) providers: Vec<Provider>,
    /// What everyone with valid credentials may do besides.
    pub(crate) authenticated: Vec<Grant>,
    /// Signs the tokens that the server issues; the same on all replicas.
    pub(crate) signing_key: [u8; 32],
}

/// Why access control could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error(transparent)]
    Htpasswd(#[from] HtpasswdError),
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
}

/// The door.
#[derive(Debug)]
pub(crate) struct Access {
    anonymous: Identity,
    htpasswd: Option<Arc<Watched<Htpasswd>>>,
    users: Option<HashMap<String, Arc<Grants>>>,
    tokens: Option<Arc<Watched<TokenFile>>>,
    providers: Vec<Provider>,
    authenticated: Vec<Grant>,
    signer: Signer,
    remembered: Cache<[u8; 32], Remembered>,
    hashing: Semaphore,
}

/// Credentials that were checked.
#[derive(Debug, Clone)]
struct Remembered {
    identity: Identity,
    /// End of the credentials themselves, seconds since 1970.
    expires: Option<u64>,
}

impl Access {
    /// # Errors
    /// When a file of users or tokens cannot be used.
    pub(crate) fn open(settings: AccessSettings) -> Result<Self, AccessError> {
        let actions = match settings.anonymous {
            Anonymous::None => Actions::default(),
            Anonymous::Read => Actions::reading(),
            Anonymous::Write => Actions::all(),
        };
        let anonymous = Identity::new("anonymous", Grants::everywhere(actions), Proof::None);
        let htpasswd = settings.htpasswd.map(|path| {
            let from = path.clone();
            Watched::open(vec![path], move || Htpasswd::load(&from)).map(Arc::new)
        });
        let tokens = settings.tokens.map(|path| {
            let from = path.clone();
            Watched::open(vec![path], move || TokenFile::load(&from)).map(Arc::new)
        });
        let collect = |grants: Vec<Grant>| Arc::new(grants.into_iter().collect::<Grants>());
        let users = settings.users.map(|all| all.into_iter().map(|(user, grants)| (user, collect(grants))).collect());
        Ok(Self {
            anonymous,
            htpasswd: htpasswd.transpose()?,
            users,
            tokens: tokens.transpose()?,
            providers: settings.providers,
            authenticated: settings.authenticated,
            signer: Signer::new(&settings.signing_key, SERVICE),
            remembered: Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REMEMBER).build(),
            hashing: Semaphore::new(HASHES_AT_A_TIME),
        })
    }

    /// Files to look at again from time to time.
    pub(crate) fn watched(&self) -> Vec<Arc<dyn Reload>> {
        let htpasswd = self.htpasswd.iter().map(|file| Arc::clone(file) as Arc<dyn Reload>);
        let tokens = self.tokens.iter().map(|file| Arc::clone(file) as Arc<dyn Reload>);
        htpasswd.chain(tokens).collect()
    }

    /// After a change of the files: what was checked before must be checked again.
    pub(crate) fn forget(&self) {
        self.remembered.invalidate_all();
    }

    /// Says whether credentials can make a difference.
    pub(crate) fn accepts_credentials(&self) -> bool {
        self.htpasswd.is_some() || self.tokens.is_some() || !self.providers.is_empty()
    }

    /// Says whether clients must be told on their first request that they may log in.
    pub(crate) fn challenges(&self) -> bool {
        self.accepts_credentials() && !self.anonymous.grants().allow_everywhere(Action::Delete)
    }

    /// Who shows these credentials.
    ///
    /// # Errors
    /// When they are wrong, or cannot be checked now. Nobody with wrong credentials is anonymous.
    pub(crate) async fn identify(&self, presented: Option<&Presented>) -> Result<Identity, Refusal> {
        let Some(presented) = presented.filter(|_| self.accepts_credentials()) else {
            return Ok(self.anonymous.clone());
        };
        if let Presented::Bearer(token) = presented
            && let Some(session) = self.signer.identify(token)
        {
            return Ok(session);
        }
        if tokens::looks_like(presented.secret()) {
            // Cheap to check, and so every time.
            return self.check_token(presented.secret()).map(|identity| self.enrich(identity));
        }
        let key = presented.fingerprint();
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        if let Some(known) = self.remembered.get(&key)
            && known.expires.is_none_or(|end| now < end)
        {
            return Ok(known.identity);
        }
        let checked = self.check(presented).await?;
        let known = Remembered { identity: self.enrich(checked.identity), ..checked };
        self.remembered.insert(key, known.clone());
        Ok(known.identity)
    }

    /// Compares what a caller may do with what it is about to do.
    pub(crate) fn authorize(&self, identity: &Identity, need: &Need) -> Result<(), Refusal> {
        if identity.may(need) {
            return Ok(());
        }
        Err(match identity.proof() {
            // Wrong is not what is missing, if nobody can be anyone.
            Proof::None if self.accepts_credentials() => Refusal::LoginNeeded(need.clone()),
            Proof::Session => Refusal::ScopeNeeded(need.clone()),
            Proof::None | Proof::Credentials => Refusal::Denied(need.clone()),
        })
    }

    /// A short-lived token for what `identity` asks for and may have of it.
    pub(crate) fn issue(&self, identity: &Identity, scopes: &[&str]) -> Result<Issued, jsonwebtoken::errors::Error> {
        let access = scopes.iter().filter_map(|scope| session::Access::grantable(scope, identity)).collect();
        self.signer.issue(identity.name(), access, Timestamp::now())
    }

    /// The name of this service in challenges.
    pub(crate) fn service(&self) -> &str {
        self.signer.service()
    }

    fn check_token(&self, text: &str) -> Result<Identity, Refusal> {
        let file = self.tokens.as_ref().map(|tokens| tokens.get());
        let identity = file.and_then(|file| file.identify(text, Timestamp::now()));
        identity.ok_or(Refusal::WrongCredentials("the token is wrong or has ended"))
    }

    async fn check(&self, presented: &Presented) -> Result<Remembered, Refusal> {
        let secret = presented.secret();
        match oidc::claimed_issuer(secret) {
            Some(issuer) if issuer == session::ISSUER => {
                return Err(Refusal::WrongCredentials("the session token is wrong or has ended"));
            }
            Some(issuer) => return self.check_oidc(&issuer, secret).await,
            None => {}
        }
        match presented {
            Presented::Basic { user, password } => self.check_password(user, password).await,
            Presented::Bearer(_) => Err(Refusal::WrongCredentials("the token is not one that is known here")),
        }
    }

    async fn check_oidc(&self, issuer: &str, token: &str) -> Result<Remembered, Refusal> {
        let known = self.providers.iter().find(|provider| provider.issuer == issuer);
        let provider = known.ok_or(Refusal::WrongCredentials("the token has an issuer that is not trusted here"))?;
        let verified = provider.verify(token).await?;
        Ok(Remembered { identity: verified.identity, expires: Some(verified.expires) })
    }

    async fn check_password(&self, user: &str, password: &str) -> Result<Remembered, Refusal> {
        const WRONG: Refusal = Refusal::WrongCredentials("unknown user or wrong password");
        let file = self.htpasswd.as_ref().ok_or(WRONG)?.get();
        let _turn = self.hashing.acquire().await.map_err(|_| WRONG)?;
        let (name, secret) = (user.to_owned(), password.to_owned());
        let right = spawn_blocking(move || file.verify(&name, &secret)).await.unwrap_or(false);
        if !right {
            return Err(WRONG);
        }
        let grants = match &self.users {
            None => Arc::new(Grants::everywhere(Actions::all())),
            Some(users) => users.get(user).cloned().unwrap_or_default(),
        };
        let identity = Identity::new(format!("user:{user}"), grants, Proof::Credentials);
        Ok(Remembered { identity, expires: None })
    }

    /// Adds what everyone with credentials may do.
    fn enrich(&self, identity: Identity) -> Identity {
        if self.authenticated.is_empty() {
            return identity;
        }
        let grants: Grants = identity.grants().iter().chain(&self.authenticated).cloned().collect();
        Identity::new(Arc::clone(identity.name()), grants, identity.proof())
    }
}
