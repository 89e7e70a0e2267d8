//! Credentials that need no file and no program: clouds and pipelines, each asked only for its own registries.
//!
//! | file | what it knows |
//! |---|---|
//! | `hosts` | which registry is whose |
//! | `pipeline` | GitLab, GitHub and Kaniko's variables |
//! | `aws`, `google`, `azure` | the tokens of the clouds |
//! | `helper` | which of them may be asked |
//! | `clouds` | the same for other services than registries |
//! | `exchange`, `variables` | one bounded request; the environment |

mod aws;
mod azure;
mod clouds;
mod exchange;
mod google;
mod helper;
mod hosts;
mod pipeline;
mod variables;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Credential, CredentialsError};
use crate::registry::proxy::ProxySettings;
pub use aws::Keys as AccessKeys;
pub use clouds::Clouds;
use exchange::{Failure, Web};
pub use helper::Helper;
use helper::Helpers;
use hosts::Cloud;
use variables::Variables;

/// How long a failure is not tried again.
const FAILURE_LIFE: Duration = Duration::from_secs(60);
/// What a token lives when the service does not say.
const DEFAULT_LIFE_SECONDS: f64 = 300.0;
const MAX_LIFE_SECONDS: f64 = 12.0 * 3600.0;

/// A credential and how long it is used.
struct Granted {
    credential: Credential,
    life: Duration,
}

impl Granted {
    /// Nine tenths of what the service grants.
    fn for_seconds(credential: Credential, seconds: Option<f64>) -> Self {
        let seconds = seconds.filter(|seconds| seconds.is_finite()).unwrap_or(DEFAULT_LIFE_SECONDS);
        Self { credential, life: Duration::from_secs_f64(seconds.clamp(0.0, MAX_LIFE_SECONDS) * 0.9) }
    }
}

/// What a cloud said, and until when that counts.
type Kept = Option<(Instant, Result<Credential, Failure>)>;
/// Each registry has a lock of its own: twenty requests ask once, and nobody waits for another registry's cloud.
type Slot = Arc<Mutex<Kept>>;

/// The providers, and what they have granted.
#[derive(Debug)]
pub(super) struct Providers {
    variables: Variables,
    web: Web,
    helpers: Helpers,
    kept: Mutex<HashMap<String, Slot>>,
}

impl Providers {
    /// Nothing is read or asked yet.
    pub(super) fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let proxy = ProxySettings::from_lookup(&lookup);
        Self {
            variables: Variables::new(lookup),
            web: Web { proxy },
            helpers: Helpers::default(),
            kept: Mutex::default(),
        }
    }

    /// These alone are asked from now on.
    pub(super) fn limit(&mut self, helpers: BTreeSet<Helper>) {
        self.helpers = Helpers(helpers);
    }

    /// The credential for `registry` (in lower case) and the provider's name; `None` when no provider has to do with it.
    ///
    /// # Errors
    /// [`CredentialsError::Provider`].
    pub(super) fn find(&self, registry: &str) -> Result<Option<(Credential, &'static str)>, CredentialsError> {
        if let Some(found) = pipeline::find(&self.variables, &self.helpers, registry) {
            return Ok(Some(found));
        }
        let Some(cloud) = hosts::cloud(registry).filter(|cloud| self.helpers.0.contains(&helper(cloud))) else {
            return Ok(None);
        };
        let provider = name(&cloud);
        let fail = |failure: Failure| CredentialsError::Provider {
            provider,
            registry: registry.to_owned(),
            reason: failure.to_string(),
        };
        self.ask(&cloud, registry).map(|credential| Some((credential, provider))).map_err(fail)
    }

    /// Entries and what stands behind them, for people. Metadata services are not asked, and so not listed.
    pub(super) fn kinds(&self) -> Vec<(String, String)> {
        let entry = |host: &str, kind: String| (host.to_owned(), kind);
        let mut kinds = pipeline::kinds(&self.variables, &self.helpers);
        let aws = self.helpers.ask(Helper::Ecr, || aws::configured(&self.variables));
        let google = self.helpers.ask(Helper::Google, || google::configured(&self.variables));
        let azure = self.helpers.ask(Helper::Acr, || azure::configured(&self.variables));
        kinds.extend(aws.map(|kind| entry("*.dkr.ecr.*", kind.to_owned())));
        kinds.extend(google.map(|kind| entry("gcr.io, *.pkg.dev", kind)));
        kinds.extend(azure.map(|kind| entry("*.azurecr.io", kind.to_owned())));
        kinds
    }

    /// Asks the cloud, or remembers.
    fn ask(&self, cloud: &Cloud, registry: &str) -> Result<Credential, Failure> {
        let slot =
            Arc::clone(self.kept.lock().unwrap_or_else(PoisonError::into_inner).entry(registry.into()).or_default());
        let mut kept = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = kept.as_ref().filter(|(until, _)| *until > Instant::now()) {
            return answer.clone();
        }
        let asked = Instant::now();
        let (life, answer) = match self.request(cloud, registry) {
            Ok(granted) => (granted.life, Ok(granted.credential)),
            Err(failure) => (FAILURE_LIFE, Err(failure)),
        };
        *kept = Some((asked + life, answer.clone()));
        answer
    }

    fn request(&self, cloud: &Cloud, registry: &str) -> Result<Granted, Failure> {
        match cloud {
            Cloud::Ecr(host) => aws::ecr(&self.web, &self.variables, host),
            Cloud::EcrPublic => aws::ecr_public(&self.web, &self.variables),
            Cloud::Google => google::token(&self.web, &self.variables),
            Cloud::Azure(cloud) => azure::token(&self.web, &self.variables, registry, *cloud),
        }
    }
}

fn helper(cloud: &Cloud) -> Helper {
    match cloud {
        Cloud::Ecr(_) | Cloud::EcrPublic => Helper::Ecr,
        Cloud::Google => Helper::Google,
        Cloud::Azure(_) => Helper::Acr,
    }
}

fn name(cloud: &Cloud) -> &'static str {
    match cloud {
        Cloud::Ecr(_) | Cloud::EcrPublic => "AWS",
        Cloud::Google => "Google",
        Cloud::Azure(_) => "Azure",
    }
}
