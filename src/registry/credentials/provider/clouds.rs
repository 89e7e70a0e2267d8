//! Who we are for other services of the clouds: their object stores.

use std::fmt;

use super::super::{CredentialsError, Secret};
use super::aws::{self, Keys};
use super::exchange::{Failure, Web};
use super::hosts::{AzureCloud, aws_domain};
use super::variables::Variables;
use super::{azure, google};
use crate::registry::proxy::ProxySettings;

/// The identities that clouds give to programs, by the same ways as for their registries. Nothing is read or asked
/// before a method wants it, and nothing is kept.
///
/// `place` of the methods is what is to be opened; it stands in errors.
pub struct Clouds {
    variables: Variables,
    web: Web,
}

impl Clouds {
    /// Looks up variables through `lookup`.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let proxy = ProxySettings::from_lookup(&lookup);
        Self { variables: Variables::new(lookup), web: Web { proxy } }
    }

    /// A variable; an empty one is not set.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name)
    }

    /// The region of `AWS_REGION`, `AWS_DEFAULT_REGION` or the profile.
    ///
    /// # Errors
    /// [`CredentialsError::Provider`]: the profiles cannot be read, or the name is none.
    pub fn amazon_region(&self, place: &str) -> Result<Option<String>, CredentialsError> {
        aws::region(&self.variables).map_err(|failure| refused("AWS", place, &failure))
    }

    /// Amazon's domain in the partition of `region`, `amazonaws.com` or another.
    pub fn amazon_domain(region: &str) -> &'static str {
        aws_domain(region)
    }

    /// Access keys by the chain of Amazon's own programs, for a service in `region`.
    ///
    /// # Errors
    /// [`CredentialsError::Provider`].
    pub fn amazon_keys(&self, region: &str, place: &str) -> Result<Keys, CredentialsError> {
        aws::keys(&self.web, &self.variables, region).map_err(|failure| refused("AWS", place, &failure))
    }

    /// An access token by Google's Application Default Credentials.
    ///
    /// # Errors
    /// [`CredentialsError::Provider`].
    pub fn google_token(&self, place: &str) -> Result<Secret, CredentialsError> {
        google::access_token(&self.web, &self.variables).map_err(|failure| refused("Google", place, &failure))
    }

    /// An access token for Azure Storage on `host`; `None` when no identity is configured.
    ///
    /// # Errors
    /// [`CredentialsError::Provider`].
    pub fn azure_storage_token(&self, host: &str, place: &str) -> Result<Option<Secret>, CredentialsError> {
        let cloud = match host {
            _ if host.ends_with(".chinacloudapi.cn") => AzureCloud::China,
            _ if host.ends_with(".usgovcloudapi.net") => AzureCloud::Government,
            _ => AzureCloud::Public,
        };
        let token = azure::storage_token(&self.web, &self.variables, cloud).transpose();
        token.map_err(|failure| refused("Azure", place, &failure))
    }
}

fn refused(provider: &'static str, place: &str, failure: &Failure) -> CredentialsError {
    CredentialsError::Provider { provider, registry: place.to_owned(), reason: failure.to_string() }
}

impl fmt::Debug for Clouds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clouds")
    }
}
