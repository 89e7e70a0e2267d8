//! `--store`: which service, which bucket, and below what.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, Error, ObjectStore, RetryConfig, StaticCredentialProvider};

use super::BucketError;

/// A request is tried again for so long, with growing pauses of random length.
const RETRY_TIME: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// An answer that makes no progress for so long is given up.
const READ_TIME: Duration = Duration::from_secs(30);

/// Any of them says who we are at Google's.
const GOOGLE_CREDENTIALS: [&str; 6] = [
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "SERVICE_ACCOUNT",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_BEARER_TOKEN",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    S3,
    GoogleCloud,
    Azure,
}

/// A place in an object store: `s3://BUCKET/PREFIX`, `gs://…` or `az://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreAddress {
    service: Service,
    bucket: String,
    prefix: Path,
}

impl FromStr for StoreAddress {
    type Err = BucketError;

    fn from_str(text: &str) -> Result<Self, BucketError> {
        let invalid = || BucketError::Address(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        let service = match scheme {
            "s3" => Service::S3,
            "gs" => Service::GoogleCloud,
            "az" => Service::Azure,
            _ => return Err(invalid()),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if prefix.starts_with('/') || prefix.ends_with('/') {
            return Err(invalid());
        }
        let prefix = Path::parse(prefix).map_err(|_| invalid())?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
        if bucket.is_empty() || bucket.starts_with('.') || !bucket.chars().all(plain) {
            return Err(invalid());
        }
        Ok(Self { service, bucket: bucket.to_owned(), prefix })
    }
}

impl<'de> serde::Deserialize<'de> for StoreAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.service {
            Service::S3 => "s3",
            Service::GoogleCloud => "gs",
            Service::Azure => "az",
        };
        let slash = if self.prefix.as_ref().is_empty() { "" } else { "/" };
        write!(f, "{scheme}://{}{slash}{}", self.bucket, self.prefix)
    }
}

/// A client of a service, and its way to sign addresses.
pub(super) struct Client {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) signer: Arc<dyn Signer>,
}

impl StoreAddress {
    pub(super) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// Makes a client; `variable` looks into the environment.
    pub(super) fn client(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Client, BucketError> {
        self.build(variable)
            .map_err(|cause| BucketError::Settings { address: self.to_string(), cause: Arc::new(cause) })
    }

    fn build(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Client, Error> {
        Ok(match self.service {
            Service::S3 => both(s3(&self.bucket, variable).build()?),
            Service::GoogleCloud => both(google_cloud(&self.bucket, variable).build()?),
            Service::Azure => both(azure(&self.bucket, variable).build()?),
        })
    }
}

fn s3(bucket: &str, variable: impl Fn(&str) -> Option<String>) -> AmazonS3Builder {
    let named = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "S3_ENDPOINT"];
    let endpoint = named.iter().find_map(|name| variable(name)).filter(|endpoint| !endpoint.is_empty());
    let builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retries())
        .with_client_options(options(is_plain(endpoint.as_deref())));
    match endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint),
        None => builder,
    }
}

fn google_cloud(bucket: &str, variable: impl Fn(&str) -> Option<String>) -> GoogleCloudStorageBuilder {
    let (named, emulator) = (variable("GOOGLE_BASE_URL"), emulator(&variable));
    let endpoint = named.as_ref().or(emulator.as_ref());
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retries())
        .with_client_options(options(is_plain(endpoint.map(String::as_str))));
    if let Some(endpoint) = endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    let is_known = GOOGLE_CREDENTIALS.iter().any(|name| variable(name).is_some());
    if named.is_none() && emulator.is_some() && !is_known {
        let nobody = GcpCredential { bearer: String::new() };
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(nobody)));
    }
    builder
}

fn azure(bucket: &str, variable: impl Fn(&str) -> Option<String>) -> MicrosoftAzureBuilder {
    let endpoint = variable("AZURE_STORAGE_ENDPOINT").or_else(|| variable("AZURE_ENDPOINT"));
    MicrosoftAzureBuilder::from_env()
        .with_container_name(bucket)
        .with_retry(retries())
        .with_client_options(options(is_plain(endpoint.as_deref())))
}

fn both<S: ObjectStore + Signer>(store: S) -> Client {
    let store = Arc::new(store);
    Client { store: Arc::clone(&store) as Arc<dyn ObjectStore>, signer: store }
}

/// What Google's own programs take for the address of an emulator, which asks nobody who they are.
fn emulator(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let host = variable("STORAGE_EMULATOR_HOST").filter(|host| !host.is_empty())?;
    Some(if host.contains("://") { host } else { format!("http://{host}") })
}

/// An endpoint that someone chose to name with `http`.
fn is_plain(endpoint: Option<&str>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
}

fn retries() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: LONGEST_PAUSE, ..BackoffConfig::default() };
    // The time is what counts: the first pauses are short, and ten of them were over after two seconds.
    RetryConfig { backoff, max_retries: usize::MAX, retry_timeout: RETRY_TIME }
}

/// No limit to the whole time of a request: a client may take long for a blob.
fn options(plain: bool) -> ClientOptions {
    let options = ClientOptions::new().with_timeout_disabled().with_allow_http(plain);
    options.with_connect_timeout(CONNECT_TIME).with_read_timeout(READ_TIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for text in ["s3://bucket", "s3://bucket/a/b", "gs://my-bucket/cache", "az://container/x"] {
            let address: StoreAddress = text.parse().expect("valid");
            assert_eq!(address.to_string(), text);
        }
        assert_eq!("s3://bucket/a/".parse::<StoreAddress>().expect("valid").to_string(), "s3://bucket/a");
        for bad in
            ["", "s3", "s3:/b", "s3://", "s3:///a", "file:///x", "s3://b//c", "s3://b/../c", "s3://B", "s3://u:p@b"]
        {
            assert!(bad.parse::<StoreAddress>().is_err(), "{bad}");
        }
    }
}
