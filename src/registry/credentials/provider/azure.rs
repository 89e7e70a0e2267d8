//! Azure Container Registry: an Entra access token, traded at the registry for a token of its own.

use serde::Deserialize;
use url::Url;

use super::super::{Credential, Secret};
use super::Granted;
use super::exchange::{Distance, Failure, Question, Web, address, below, read_file};
use super::hosts::{AzureCloud, without_https_port};
use super::variables::Variables;

const NOTHING: &str = "no Azure credentials: none in AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE (with \
    AZURE_CLIENT_ID and AZURE_TENANT_ID), and there is no managed identity";
/// Azure Storage, in every cloud.
const STORAGE: &str = "https://storage.azure.com";
/// The user name that goes with a registry's refresh token.
const USERNAME: &str = "00000000-0000-0000-0000-000000000000";
/// What the registry's token lives at least; it is granted for three hours.
const REFRESH_TOKEN_SECONDS: f64 = 3600.0;

#[derive(Deserialize)]
struct EntraToken {
    access_token: Secret,
}

#[derive(Deserialize)]
struct RegistryToken {
    refresh_token: Secret,
}

impl AzureCloud {
    fn authority(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com/",
            Self::China => "https://login.chinacloudapi.cn/",
            Self::Government => "https://login.microsoftonline.us/",
        }
    }

    /// Whom the token is for. Registries of the public cloud may refuse the resource manager's.
    fn resource(self) -> &'static str {
        match self {
            Self::Public => "https://containerregistry.azure.net",
            Self::China => "https://management.chinacloudapi.cn",
            Self::Government => "https://management.usgovcloudapi.net",
        }
    }
}

/// A token for `registry`.
///
/// # Source
/// Azure/acr, `docs/AAD-OAuth.md`.
pub(super) fn token(web: &Web, variables: &Variables, registry: &str, cloud: AzureCloud) -> Result<Granted, Failure> {
    let host = without_https_port(registry);
    let home = address(&format!("https://{host}"), "the registry's address", |_| false)?;
    exchange(
        web,
        &home,
        host,
        variables.get("AZURE_TENANT_ID").as_deref(),
        &entra(web, variables, cloud, cloud.resource())?,
    )
}

/// An access token for Azure Storage; `None` when nothing is configured that could grant one. The instance's managed
/// identity is asked only where it is named (`AZURE_CLIENT_ID`) or App Service has its own endpoint for it.
pub(super) fn storage_token(web: &Web, variables: &Variables, cloud: AzureCloud) -> Option<Result<Secret, Failure>> {
    let is_named = configured(variables).is_some() || variables.is_set("AZURE_CLIENT_ID");
    is_named.then(|| entra(web, variables, cloud, STORAGE))
}

/// What says who we are, as far as can be told without asking.
pub(super) fn configured(variables: &Variables) -> Option<&'static str> {
    let has = |name: &str| variables.is_set(name);
    if has("AZURE_CLIENT_SECRET") {
        Some("Azure client secret")
    } else if has("AZURE_FEDERATED_TOKEN_FILE") || has("AZURE_FEDERATED_TOKEN") {
        Some("Azure workload identity")
    } else {
        (has("IDENTITY_ENDPOINT") && has("IDENTITY_HEADER")).then_some("Azure managed identity")
    }
}

/// Trades an Entra token for a registry's, at `home`.
fn exchange(web: &Web, home: &Url, service: &str, tenant: Option<&str>, token: &Secret) -> Result<Granted, Failure> {
    let mut fields = vec![("grant_type", "access_token"), ("service", service)];
    fields.extend(tenant.map(|tenant| ("tenant", tenant)));
    let question = Question::form(below(home, "oauth2/exchange"), &fields, &[("access_token", token)]);
    let answer: RegistryToken = web.ask_json(&question)?;
    let credential = Credential::Basic { username: USERNAME.to_owned(), password: answer.refresh_token };
    Ok(Granted::for_seconds(credential, Some(REFRESH_TOKEN_SECONDS)))
}

/// An access token of Entra, by the first way that is configured.
///
/// # Source
/// Azure SDK, `EnvironmentCredential`, `WorkloadIdentityCredential`, `ManagedIdentityCredential`.
fn entra(web: &Web, variables: &Variables, cloud: AzureCloud, resource: &str) -> Result<Secret, Failure> {
    if let Some(secret) = variables.secret("AZURE_CLIENT_SECRET") {
        return login(web, variables, (cloud, resource), &[], ("client_secret", &secret));
    }
    let file =
        variables.path("AZURE_FEDERATED_TOKEN_FILE").map(|file| read_file(&file).map(Secret::new)).transpose()?;
    if let Some(assertion) = file.or_else(|| variables.secret("AZURE_FEDERATED_TOKEN")) {
        let kind = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        return login(web, variables, (cloud, resource), &[kind], ("client_assertion", &assertion));
    }
    managed_identity(web, variables, resource)
}

fn login(
    web: &Web,
    variables: &Variables,
    (cloud, resource): (AzureCloud, &str),
    more: &[(&str, &str)],
    proof: (&str, &Secret),
) -> Result<Secret, Failure> {
    let need = |name: &str| variables.get(name).ok_or_else(|| Failure::Setting(format!("{name} is not set")));
    let (client, tenant) = (need("AZURE_CLIENT_ID")?, need("AZURE_TENANT_ID")?);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if !tenant.bytes().all(plain) {
        return Err(Failure::Setting("AZURE_TENANT_ID is no tenant".to_owned()));
    }
    let authority = variables.get("AZURE_AUTHORITY_HOST").unwrap_or_else(|| cloud.authority().to_owned());
    let authority = address(&authority, "AZURE_AUTHORITY_HOST", |origin| origin.is_loopback())?;
    let scope = format!("{resource}/.default");
    let mut fields = vec![("grant_type", "client_credentials"), ("client_id", &client), ("scope", &scope)];
    fields.extend_from_slice(more);
    let url = below(&authority, &format!("{tenant}/oauth2/v2.0/token"));
    web.ask_json(&Question::form(url, &fields, &[proof])).map(|token: EntraToken| token.access_token)
}

/// App Service names its own endpoint; every other machine has the instance metadata service.
fn managed_identity(web: &Web, variables: &Variables, resource: &str) -> Result<Secret, Failure> {
    let local = variables.get("IDENTITY_ENDPOINT").zip(variables.secret("IDENTITY_HEADER"));
    let (mut url, version) = match &local {
        Some((endpoint, _)) => (address(endpoint, "IDENTITY_ENDPOINT", |_| true)?, "2019-08-01"),
        None => {
            let name = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
            let base = variables.get(name).unwrap_or_else(|| "http://169.254.169.254".to_owned());
            (below(&address(&base, name, |_| true)?, "metadata/identity/oauth2/token"), "2018-02-01")
        }
    };
    url.query_pairs_mut().append_pair("api-version", version).append_pair("resource", resource);
    if let Some(client) = variables.get("AZURE_CLIENT_ID") {
        url.query_pairs_mut().append_pair("client_id", &client);
    }
    let question = Question::get(url, Distance::Machine);
    let question = match &local {
        Some((_, header)) => question.secret_header("x-identity-header", header),
        None => question.header("metadata", "true"),
    };
    match web.ask_json::<EntraToken>(&question) {
        Err(Failure::Unreachable { .. }) if local.is_none() => Err(Failure::Nothing(NOTHING)),
        answer => answer.map(|token| token.access_token),
    }
}

#[cfg(test)]
mod tests;
