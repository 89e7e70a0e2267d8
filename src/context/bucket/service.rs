//! Clients of object stores: where they are, and who we are there.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::azure::{AzureCredential, MicrosoftAzureBuilder};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::{ObjectStore, RetryConfig, StaticCredentialProvider};
use url::{Host, Url};

use super::address::Service;
use super::error::{Attempt, Place};
use super::http::AgentConnector;
use super::{BucketAddress, BucketError};
use crate::registry::{Clouds, Secret};

/// How often a request is repeated, with growing pauses: about three seconds of them.
const RETRIES: usize = 5;
/// A download may break after hours and still go on.
const RETRY_TIME: Duration = Duration::from_secs(6 * 3600);
/// What Amazon's programs take where nobody says which.
const DEFAULT_REGION: &str = "us-east-1";

const S3_ADVICE: &str = "check the access key, the clock, and that it has the right s3:GetObject on the object";
const GOOGLE_ADVICE: &str = "the account needs the role roles/storage.objectViewer on the bucket";
const AZURE_ADVICE: &str = "check AZURE_STORAGE_ACCESS_KEY, or give the identity the role Storage Blob Data Reader";
const NOBODY_ADVICE: &str = "nothing says who we are: set AZURE_STORAGE_ACCESS_KEY, or add a shared access signature to \
    the URL";

/// A client, and what errors should say.
pub(super) struct Client {
    pub(super) store: Box<dyn ObjectStore>,
    pub(super) connector: AgentConnector,
    pub(super) attempt: Attempt,
}

/// Finds out where the service is and who we are there; asks nothing of the service itself.
pub(super) fn client(address: &BucketAddress, agent: &ureq::Agent, clouds: &Clouds) -> Result<Client, BucketError> {
    match &address.service {
        Service::S3 => s3(address, agent, clouds),
        Service::GoogleCloud => google(address, agent, clouds),
        Service::Azure(host) => azure(address, host, agent, clouds),
    }
}

fn s3(address: &BucketAddress, agent: &ureq::Agent, clouds: &Clouds) -> Result<Client, BucketError> {
    let place = address.to_string();
    let region = clouds.amazon_region(&place)?.unwrap_or_else(|| DEFAULT_REGION.to_owned());
    let (endpoint, is_virtual) = s3_endpoint(&address.bucket, &region, clouds)?;
    let keys = clouds.amazon_keys(&region, &place)?;
    let credential = AwsCredential {
        key_id: keys.id,
        secret_key: keys.secret.expose().to_owned(),
        token: keys.session.map(|session| session.expose().to_owned()),
    };
    let connector = AgentConnector::new(agent, false);
    let builder = AmazonS3Builder::new()
        .with_bucket_name(&address.bucket)
        .with_region(&region)
        .with_endpoint(endpoint.as_str().trim_end_matches('/'))
        .with_virtual_hosted_style_request(is_virtual)
        .with_credentials(Arc::new(StaticCredentialProvider::new(credential)))
        .with_allow_http(true)
        .with_retry(retries())
        .with_http_connector(connector.clone());
    let attempt = attempt(address, &endpoint, Some(region), S3_ADVICE);
    Ok(Client { store: Box::new(builder.build().map_err(unusable)?), connector, attempt })
}

/// The address that requests go to, and whether the bucket stands in its host. A bucket that cannot be part of a host,
/// and an endpoint that is an IP address, are addressed by path whatever is set, as by Amazon's programs.
///
/// # Source
/// Kaniko `pkg/buildcontext/s3.go`; AWS SDKs and Tools Reference Guide, "Service-specific endpoints".
fn s3_endpoint(bucket: &str, region: &str, clouds: &Clouds) -> Result<(Url, bool), BucketError> {
    let is_true = |name: &str| clouds.variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let custom = match is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") {
        true => endpoint_of(clouds, &["S3_ENDPOINT"])?,
        false => endpoint_of(clouds, &["S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])?,
    };
    let is_forced = custom.is_some() && is_true("S3_FORCE_PATH_STYLE");
    let usual = || parsed(&format!("https://s3.{region}.{}", Clouds::amazon_domain(region)), "AWS_REGION");
    let mut endpoint = custom.map_or_else(usual, Ok)?;
    let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let host = match endpoint.host() {
        Some(Host::Domain(host)) if bucket.bytes().all(label) && !is_forced => format!("{bucket}.{host}"),
        _ => return Ok((endpoint, false)),
    };
    let failed = |_| BucketError::Setting(format!("{bucket:?} cannot be part of a host: set S3_FORCE_PATH_STYLE=true"));
    endpoint.set_host(Some(&host)).map_err(failed)?;
    Ok((endpoint, true))
}

/// `STORAGE_EMULATOR_HOST` is Google's own variable; as there, an emulator is told who we are only on demand.
fn google(address: &BucketAddress, agent: &ureq::Agent, clouds: &Clouds) -> Result<Client, BucketError> {
    let emulator = match clouds.variable("STORAGE_EMULATOR_HOST") {
        Some(host) if !host.contains("://") => Some(parsed(&format!("http://{host}"), "STORAGE_EMULATOR_HOST")?),
        Some(url) => Some(parsed(&url, "STORAGE_EMULATOR_HOST")?),
        None => None,
    };
    let wants_token = emulator.is_none() || clouds.variable("GOOGLE_APPLICATION_CREDENTIALS").is_some();
    let endpoint = emulator.map_or_else(|| parsed("https://storage.googleapis.com", "the endpoint"), Ok)?;
    let token = wants_token.then(|| clouds.google_token(&address.to_string())).transpose()?;
    let token = guarded(token, &endpoint, "STORAGE_EMULATOR_HOST")?;
    let bearer = token.as_ref().map_or("", Secret::expose).to_owned();
    let connector = AgentConnector::new(agent, true);
    let builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&address.bucket)
        .with_base_url(endpoint.as_str().trim_end_matches('/'))
        .with_skip_signature(token.is_none())
        .with_credentials(Arc::new(StaticCredentialProvider::new(GcpCredential { bearer })))
        .with_retry(retries())
        .with_http_connector(connector.clone());
    let attempt = attempt(address, &endpoint, None, GOOGLE_ADVICE);
    Ok(Client { store: Box::new(builder.build().map_err(unusable)?), connector, attempt })
}

/// By Kaniko's shared key; else as the identity that is configured, else as nobody.
fn azure(address: &BucketAddress, host: &str, agent: &ureq::Agent, clouds: &Clouds) -> Result<Client, BucketError> {
    let usual = || parsed(&format!("https://{host}"), "the endpoint");
    let endpoint = endpoint_of(clouds, &["AZURE_STORAGE_ENDPOINT"])?.map_or_else(usual, Ok)?;
    let connector = AgentConnector::new(agent, false);
    let builder = MicrosoftAzureBuilder::new()
        .with_account(BucketAddress::account(host))
        .with_container_name(&address.bucket)
        .with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned())
        .with_allow_http(true)
        .with_retry(retries())
        .with_http_connector(connector.clone());
    let (builder, advice) = if let Some(key) = clouds.variable("AZURE_STORAGE_ACCESS_KEY") {
        (builder.with_access_key(key.trim()), AZURE_ADVICE)
    } else {
        let token = clouds.azure_storage_token(host, &address.to_string())?;
        let token = guarded(token, &endpoint, "AZURE_STORAGE_ENDPOINT")?;
        let advice = if token.is_some() { AZURE_ADVICE } else { NOBODY_ADVICE };
        let bearer = token.as_ref().map_or("", Secret::expose).to_owned();
        let credential = StaticCredentialProvider::new(AzureCredential::BearerToken(bearer));
        (builder.with_credentials(Arc::new(credential)).with_skip_signature(token.is_none()), advice)
    };
    let wrong_key = |_| BucketError::Setting("AZURE_STORAGE_ACCESS_KEY is not the base64 of a key".to_owned());
    let attempt = attempt(address, &endpoint, None, advice);
    Ok(Client { store: Box::new(builder.build().map_err(wrong_key)?), connector, attempt })
}

fn attempt(address: &BucketAddress, endpoint: &Url, region: Option<String>, advice: &'static str) -> Attempt {
    let place = Place { address: Box::new(address.clone()), endpoint: endpoint.origin().ascii_serialization().into() };
    Attempt { place, region, advice }
}

/// A token is sent by https, or stays on this machine.
fn guarded(token: Option<Secret>, endpoint: &Url, name: &str) -> Result<Option<Secret>, BucketError> {
    let is_local = match endpoint.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if token.is_some() && endpoint.scheme() != "https" && !is_local {
        return Err(BucketError::Setting(format!("{name} is a plain http URL, to which no token is sent: use https")));
    }
    Ok(token)
}

/// The first of these variables that is set.
fn endpoint_of(clouds: &Clouds, names: &[&str]) -> Result<Option<Url>, BucketError> {
    let found = names.iter().find_map(|name| Some((name, clouds.variable(name)?)));
    found.map(|(name, text)| parsed(&text, name)).transpose()
}

fn parsed(text: &str, name: &str) -> Result<Url, BucketError> {
    let unusable = |why: &str| BucketError::Setting(format!("{name} is {why}"));
    let url = Url::parse(text.trim()).map_err(|_| unusable("no URL: expected https://HOST[:PORT]"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(unusable("no http or https URL: expected https://HOST[:PORT]"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(unusable("a URL with a user, a password or a query: expected https://HOST[:PORT]"));
    }
    Ok(url)
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIME, ..RetryConfig::default() }
}

/// Of a client that cannot be made; nothing in it is secret, since credentials are given ready-made.
fn unusable(error: object_store::Error) -> BucketError {
    BucketError::Setting(error.to_string())
}
