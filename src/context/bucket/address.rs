//! Which object of which bucket.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use super::BucketError;

/// What Kaniko looks for where no object is named.
const DEFAULT_KEY: &str = "context.tar.gz";
/// The clouds of Azure.
const AZURE_DOMAINS: [&str; 4] =
    [".blob.core.windows.net", ".blob.core.chinacloudapi.cn", ".blob.core.cloudapi.de", ".blob.core.usgovcloudapi.net"];

/// Whose object store it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Service {
    S3,
    GoogleCloud,
    /// With the account's host.
    Azure(String),
}

/// An object: `s3://BUCKET/[KEY]`, `gs://BUCKET/[KEY]`, `https://ACCOUNT.blob.core.windows.net/CONTAINER/[BLOB]`. Without
/// a key, and below one that ends in `/`, it is `context.tar.gz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketAddress {
    pub(super) service: Service,
    pub(super) bucket: String,
    /// Decoded.
    pub(super) key: String,
}

impl BucketAddress {
    /// Reads what stands behind `s3://`.
    ///
    /// # Errors
    /// [`BucketError::Address`].
    pub(in crate::context) fn s3(rest: &str) -> Result<Self, BucketError> {
        Self::parse(Service::S3, rest, "s3://BUCKET/KEY")
    }

    /// Reads what stands behind `gs://`.
    ///
    /// # Errors
    /// [`BucketError::Address`].
    pub(in crate::context) fn google(rest: &str) -> Result<Self, BucketError> {
        Self::parse(Service::GoogleCloud, rest, "gs://BUCKET/KEY")
    }

    /// Reads the URL of a blob of Azure's; `None` for all others, and for one that brings its own signature.
    pub(in crate::context) fn azure(url: &str) -> Option<Result<Self, BucketError>> {
        let url = Url::parse(url).ok().filter(|url| url.scheme() == "https" && url.port().is_none())?;
        let host = url.host_str()?;
        let account = AZURE_DOMAINS.iter().find_map(|domain| host.strip_suffix(domain))?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if account.is_empty() || !account.bytes().all(plain) || url.query().is_some() {
            return None;
        }
        let expected = "https://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB";
        if !url.username().is_empty() || url.password().is_some() {
            return Some(Err(BucketError::Address { expected }));
        }
        Some(Self::parse(Service::Azure(host.to_owned()), url.path().trim_start_matches('/'), expected))
    }

    fn parse(service: Service, rest: &str, expected: &'static str) -> Result<Self, BucketError> {
        let invalid = || BucketError::Address { expected };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_$".contains(&byte);
        if bucket.is_empty() || bucket.starts_with('.') || bucket.len() > 255 || !bucket.bytes().all(plain) {
            return Err(invalid());
        }
        let key = percent_decode_str(key).decode_utf8().map_err(|_| invalid())?;
        let is_directory = key.is_empty() || key.ends_with('/');
        let key = format!("{key}{}", if is_directory { DEFAULT_KEY } else { "" });
        Ok(Self { service, bucket: bucket.to_owned(), key })
    }

    /// The account that a blob's host names.
    pub(super) fn account(host: &str) -> &str {
        host.split('.').next().unwrap_or_default()
    }

    /// The archive that may have been meant when there is no such object.
    pub(super) fn suggestion(&self) -> Option<Self> {
        let is_archive = [".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst"].iter().any(|end| self.key.ends_with(end));
        (!is_archive).then(|| Self { key: format!("{}/{DEFAULT_KEY}", self.key), ..self.clone() })
    }
}

impl fmt::Display for BucketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, bucket, key } = self;
        // Nothing that moves the cursor.
        let key: String = key.chars().filter(|c| !c.is_control()).collect();
        match service {
            Service::S3 => write!(f, "s3://{bucket}/{key}"),
            Service::GoogleCloud => write!(f, "gs://{bucket}/{key}"),
            Service::Azure(host) => write!(f, "https://{host}/{bucket}/{key}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a failed step of a test ends it")]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_kaniko_reads_them() {
        for (rest, expected) in [
            ("bucket", "s3://bucket/context.tar.gz"),
            ("bucket/", "s3://bucket/context.tar.gz"),
            ("bucket/a/b.tar.gz", "s3://bucket/a/b.tar.gz"),
            ("bucket/a/", "s3://bucket/a/context.tar.gz"),
            ("My_Bucket.x/a%20b%2Bc", "s3://My_Bucket.x/a b+c"),
        ] {
            assert_eq!(BucketAddress::s3(rest).expect(rest).to_string(), expected);
        }
        assert_eq!(BucketAddress::google("b/k").expect("valid").to_string(), "gs://b/k");
        for bad in ["", "/key", "id:hunter2@bucket/key", "..", "a b/c", "bucket/%ff"] {
            let error = BucketAddress::s3(bad).expect_err(bad).to_string();
            assert!(error.contains("s3://BUCKET/KEY") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn blobs_of_azure_and_nobody_elses() {
        let azure = |url: &str| BucketAddress::azure(url).map(|found| found.map(|address| address.to_string()));
        for domain in ["windows.net", "chinacloudapi.cn", "cloudapi.de", "usgovcloudapi.net"] {
            let url = format!("https://acct.blob.core.{domain}/box/dir/x.tar.gz");
            assert_eq!(azure(&url).expect("Azure's").expect("valid"), url);
        }
        let default = azure("https://acct.blob.core.windows.net/box").expect("Azure's").expect("valid");
        assert_eq!(default, "https://acct.blob.core.windows.net/box/context.tar.gz");
        for other in [
            "https://acct.blob.core.windows.net.evil.example/box/x",
            "https://acctblob.core.windows.net/box/x",
            "https://evil.example/acct.blob.core.windows.net/x",
            "https://acct.blob.core.windows.net@evil.example/box/x",
            "https://a.b.blob.core.windows.net/box/x",
            "https://acct.blob.core.windows.net:8443/box/x",
            "http://acct.blob.core.windows.net/box/x",
            "https://acct.blob.core.windows.net/box/x?sv=1&sig=s",
        ] {
            assert!(BucketAddress::azure(other).is_none(), "{other}");
        }
        let named = azure("https://u:hunter2@acct.blob.core.windows.net/box/x").expect("Azure's").expect_err("refused");
        assert!(!named.to_string().contains("hunter2"), "{named}");
    }
}
