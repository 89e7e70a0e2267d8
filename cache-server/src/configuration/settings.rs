//! Everything that can be set: each by a flag, a variable of the environment, or the file.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::duration::Seconds;
use crate::access::{Anonymous, Grant, Kind, Rule};
use crate::access_log::{LogFormat, LogLevel};
use crate::eviction::{Quota, Size, Time, TimeToLive};
use crate::mirror::Upstream;
use crate::name::RepositoryName;
use crate::storage::StoreAddress;

/// Settings as given; what is absent is decided later.
///
/// A flag wins over the environment, and that over the file. Names in the file are those of the
/// flags without dashes in front.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Address to listen on; port 0 picks a free port [default: 127.0.0.1:5000]
    #[arg(long, value_name = "HOST:PORT", env = "CACHE_SERVER_LISTEN")]
    pub(crate) listen: Option<String>,

    /// Directory that holds all content, or with --store a copy of its index; made if absent
    ///
    /// One server at a time. The server may be killed at any moment. With --store it holds a copy of the index, so
    /// that a restart reads only what changed meanwhile; without, that copy is in TMPDIR and ends with the process.
    #[arg(long, value_name = "DIR", env = "CACHE_SERVER_DATA")]
    pub(crate) data: Option<PathBuf>,

    /// Place in an object store that holds all content: s3://BUCKET/PREFIX,
    /// gs://BUCKET/PREFIX or az://CONTAINER/PREFIX
    ///
    /// Any number of servers may use it at the same time. Credentials and endpoint come from the
    /// usual variables, such as AWS_ACCESS_KEY_ID, AWS_REGION and AWS_ENDPOINT_URL.
    #[arg(long, value_name = "URL", env = "CACHE_SERVER_STORE")]
    pub(crate) store: Option<StoreAddress>,

    /// Send clients to the object store for blobs: with signed addresses, good for 15 minutes
    ///
    /// Clients must reach the store themselves. Blobs that came in several chunks are served all
    /// the same. Means nothing without --store.
    #[arg(long, value_name = "BOOL", env = "CACHE_SERVER_REDIRECT", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) redirect: Option<bool>,

    /// What callers without credentials may do
    ///
    /// By default nothing. On a loopback address they may read, and, when no credentials
    /// are configured, do everything. A server on another address without credentials wants this
    /// flag: whoever reaches the address can then read (and write, and delete) everything.
    #[arg(long, value_enum, value_name = "RIGHTS", env = "CACHE_SERVER_ANONYMOUS")]
    pub(crate) anonymous: Option<Anonymous>,

    /// File of users and bcrypt hashes, as `htpasswd -B` writes it; read again when it changes
    #[arg(long, value_name = "FILE", env = "CACHE_SERVER_HTPASSWD")]
    pub(crate) htpasswd: Option<PathBuf>,

    /// File of tokens, as `cache-server token create` writes it; read again when it changes
    #[arg(long, value_name = "FILE", env = "CACHE_SERVER_TOKENS")]
    pub(crate) tokens: Option<PathBuf>,

    /// File of at least 32 random bytes that sign the tokens of `docker login`
    ///
    /// The same on all replicas. Without it the server makes a key at each start: clients then
    /// log in again by themselves.
    #[arg(long, value_name = "FILE", env = "CACHE_SERVER_SIGNING_KEY")]
    pub(crate) signing_key: Option<PathBuf>,

    /// Address that clients use, when it is not the one that the server sees (behind a proxy)
    #[arg(long, value_name = "URL", env = "CACHE_SERVER_EXTERNAL_URL")]
    pub(crate) external_url: Option<String>,

    /// Serve TLS with this certificate chain (PEM); read again when it changes
    #[arg(long, value_name = "FILE", env = "CACHE_SERVER_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", env = "CACHE_SERVER_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Let in only clients with a certificate of these authorities (PEM)
    #[arg(long, value_name = "FILE", env = "CACHE_SERVER_TLS_CLIENT_CA")]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// Connections open at a time; more wait [default: 1024]
    #[arg(long, value_name = "NUMBER", env = "CACHE_SERVER_MAX_CONNECTIONS")]
    pub(crate) max_connections: Option<usize>,

    /// After SIGTERM, keep accepting for so long while /readyz says no [default: 0s]
    #[arg(long, value_name = "DURATION", env = "CACHE_SERVER_SHUTDOWN_DELAY")]
    pub(crate) shutdown_delay: Option<Seconds>,

    /// After SIGTERM, running requests may take so long [default: 60s]
    #[arg(long, value_name = "DURATION", env = "CACHE_SERVER_SHUTDOWN_TIMEOUT")]
    pub(crate) shutdown_timeout: Option<Seconds>,

    /// Use no more than this much of the disk: 500MB, 20GiB, or bytes
    ///
    /// Room is set aside before an upload is accepted. To make room, manifests are removed as a
    /// whole, those first that were not used for long and were cheap to build for their size.
    #[arg(long, value_name = "SIZE", env = "CACHE_SERVER_MAX_BYTES")]
    pub(crate) max_bytes: Option<Size>,

    /// Let a repository hold no more than this: REPOSITORY=SIZE, a trailing /* stands for all below
    ///
    /// May be given several times, in the variable with commas between; the first one that fits a
    /// repository counts.
    #[arg(long, value_name = "REPOSITORY=SIZE", env = "CACHE_SERVER_QUOTA", value_delimiter = ',')]
    pub(crate) quota: Option<Vec<Quota>>,

    /// Remove what was not used for so long: 30d, or REPOSITORY=30d; units s, m, h, d
    ///
    /// May be given several times, in the variable with commas between; the first one that fits a
    /// repository counts.
    #[arg(long, value_name = "[REPOSITORY=]TIME", env = "CACHE_SERVER_TTL", value_delimiter = ',')]
    pub(crate) ttl: Option<Vec<TimeToLive>>,

    /// Keep blobs that no manifest names for so long after their upload [default: 1h]
    #[arg(long, value_name = "TIME", env = "CACHE_SERVER_GRACE")]
    pub(crate) grace: Option<Time>,

    // Doc comments are help texts here.
    #[allow(rustdoc::bare_urls)]
    /// Mirror a registry: docker.io=https://registry-1.docker.io
    ///
    /// May be given several times, in the variable with commas between. Its images are then at
    /// docker.io/NAME here, and at NAME for requests with ?ns=docker.io, as containerd sends them.
    /// What is asked for under a name that nobody pushed to comes from the mirror of docker.io, as
    /// Docker's registry-mirrors want it. Credentials for the registry come from Docker's
    /// configuration file.
    #[arg(long, value_name = "NAME=URL", env = "CACHE_SERVER_MIRROR", value_delimiter = ',')]
    pub(crate) mirror: Option<Vec<Upstream>>,

    /// Ask a mirrored registry after so long what a tag names now [default: 5m]
    #[arg(long, value_name = "TIME", env = "CACHE_SERVER_MIRROR_TAG_TTL")]
    pub(crate) mirror_tag_ttl: Option<Time>,

    // Doc comments are help texts here.
    #[allow(rustdoc::bare_urls)]
    /// Send a span for each request to this collector, by OTLP over HTTP: http://collector:4318
    ///
    /// The standard variables OTEL_EXPORTER_OTLP_ENDPOINT, _TRACES_ENDPOINT, _HEADERS, OTEL_SERVICE_NAME
    /// and OTEL_RESOURCE_ATTRIBUTES count, too; this wins. Requests join the trace of their client.
    #[arg(long, value_name = "URL", env = "CACHE_SERVER_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<String>,

    /// What to log on standard error [default: info]
    #[arg(long, value_enum, value_name = "LEVEL", env = "CACHE_SERVER_LOG")]
    pub(crate) log: Option<LogLevel>,

    /// How log lines look [default: text]
    #[arg(long, value_enum, value_name = "FORMAT", env = "CACHE_SERVER_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    /// What users of the htpasswd file may do, by name. In the file only.
    #[arg(skip)]
    pub(crate) users: Option<HashMap<String, Vec<Grant>>>,

    /// What everyone with valid credentials may do besides. In the file only.
    #[arg(skip)]
    pub(crate) authenticated: Option<Vec<Grant>>,

    /// CI systems whose tokens are accepted. In the file only.
    #[arg(skip)]
    pub(crate) oidc: Option<Vec<OidcSettings>>,
}

/// A CI system whose tokens are accepted.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct OidcSettings {
    pub(crate) kind: Kind,
    /// Exactly as tokens say it.
    pub(crate) issuer: String,
    /// What tokens must be meant for.
    pub(crate) audience: String,
    /// First components of the names that the default rules grant.
    #[serde(default = "default_namespace")]
    pub(crate) namespace: RepositoryName,
    /// Owners whose projects are served, by name or ID.
    #[serde(default)]
    pub(crate) owners: Vec<String>,
    /// Patterns of full refs that count as protected although the issuer does not say so.
    #[serde(default)]
    pub(crate) protected_refs: Vec<String>,
    /// Instead of the default rules.
    #[serde(default)]
    pub(crate) rules: Option<Vec<Rule>>,
    #[serde(default)]
    pub(crate) jwks_url: Option<String>,
    #[serde(default)]
    pub(crate) jwks_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) ca: Option<PathBuf>,
    #[serde(default)]
    pub(crate) bearer_file: Option<PathBuf>,
}

fn default_namespace() -> RepositoryName {
    RepositoryName::cache()
}

impl Settings {
    /// These, and where they say nothing, the others.
    pub(crate) fn or(self, other: Self) -> Self {
        // One place: a flag for one of them wins over the other one in the file.
        let is_placed = self.data.is_some() || self.store.is_some();
        let (data, store) = if is_placed { (self.data, self.store) } else { (other.data, other.store) };
        Self {
            listen: self.listen.or(other.listen),
            data,
            store,
            redirect: self.redirect.or(other.redirect),
            anonymous: self.anonymous.or(other.anonymous),
            htpasswd: self.htpasswd.or(other.htpasswd),
            tokens: self.tokens.or(other.tokens),
            signing_key: self.signing_key.or(other.signing_key),
            external_url: self.external_url.or(other.external_url),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            tls_client_ca: self.tls_client_ca.or(other.tls_client_ca),
            max_connections: self.max_connections.or(other.max_connections),
            shutdown_delay: self.shutdown_delay.or(other.shutdown_delay),
            shutdown_timeout: self.shutdown_timeout.or(other.shutdown_timeout),
            max_bytes: self.max_bytes.or(other.max_bytes),
            quota: self.quota.or(other.quota),
            ttl: self.ttl.or(other.ttl),
            grace: self.grace.or(other.grace),
            mirror: self.mirror.or(other.mirror),
            mirror_tag_ttl: self.mirror_tag_ttl.or(other.mirror_tag_ttl),
            otlp_endpoint: self.otlp_endpoint.or(other.otlp_endpoint),
            log: self.log.or(other.log),
            log_format: self.log_format.or(other.log_format),
            users: self.users.or(other.users),
            authenticated: self.authenticated.or(other.authenticated),
            oidc: self.oidc.or(other.oidc),
        }
    }
}
