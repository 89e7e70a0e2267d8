//! What can go wrong with a registry, in words that name it and without a secret in them.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::Deserialize;

use super::credentials::CredentialsError;
use crate::digest::Digest;
use crate::image::{ManifestError, Platform};

/// Longest text taken over from a server, in characters.
const MAX_TEXT: usize = 400;

/// A registry operation that failed: what was tried, on what; the why is the source.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} {target}")]
pub struct RegistryError {
    /// What was tried.
    pub operation: Operation,
    /// On what: a reference, or a repository and a digest.
    pub target: String,
    /// Why it failed.
    #[source]
    pub fault: Box<Fault>,
}

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Setting up the client.
    Configure,
    /// GET or HEAD of a manifest.
    FetchManifest,
    /// GET of a blob.
    FetchBlob,
    /// HEAD of a blob.
    CheckBlob,
    /// Cross-repository mount.
    MountBlob,
    /// Upload of a blob.
    PushBlob,
    /// PUT of a manifest.
    PushManifest,
    /// DELETE of a manifest.
    DeleteManifest,
    /// Tag list.
    ListTags,
    /// List of what refers to a manifest.
    ListReferrers,
    /// The early look whether a push is allowed.
    CheckPush,
    /// A request that only some servers know.
    UseExtension,
    /// GET of the API's root.
    Reach,
    /// From a reference to an image for one platform.
    ResolveImage,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configure => "set up the registry client for",
            Self::FetchManifest => "fetch manifest",
            Self::FetchBlob => "fetch blob",
            Self::CheckBlob => "look for blob",
            Self::MountBlob => "mount blob",
            Self::PushBlob => "push blob",
            Self::PushManifest => "push manifest",
            Self::DeleteManifest => "delete manifest",
            Self::ListTags => "list tags of",
            Self::ListReferrers => "list referrers of",
            Self::CheckPush => "check push permission for",
            Self::UseExtension => "use the cache server of",
            Self::Reach => "reach registry",
            Self::ResolveImage => "resolve image",
        })
    }
}

/// What answers in the place of a registry.
pub(super) const WEB_PAGE: &str = "a web page: no registry is there, or a login page stands before it";
const REFUSED: &str = " (the credentials that are configured for it were refused)";

/// Why a registry operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// 401: no credentials, or wrong ones.
    #[error("{answer}{}", if *.had_credentials { REFUSED } else { " (no credentials are configured for it)" })]
    Unauthorized {
        /// What the server said.
        answer: Answer,
        /// Whether credentials were found for this host.
        had_credentials: bool,
    },
    /// 403: known, but not allowed.
    #[error("{0}")]
    Denied(Answer),
    /// 404.
    #[error("{0}")]
    NotFound(Answer),
    /// 429.
    #[error("{0}")]
    RateLimited(Answer),
    /// Any other answer that a repetition will not change.
    #[error("{0}")]
    Refused(Answer),
    /// 408 or 5xx: the server has a problem.
    #[error("{0}")]
    Unavailable(Answer),
    /// No connection.
    #[error("cannot connect to {origin}: {reason}")]
    Connect {
        /// Scheme, host and port.
        origin: String,
        /// What the system said.
        reason: String,
    },
    /// The name does not resolve.
    #[error("host of {origin} not found")]
    HostNotFound {
        /// Scheme, host and port.
        origin: String,
    },
    /// Nothing came within the time allowed.
    #[error("{origin} did not answer in time ({phase})")]
    Timeout {
        /// Scheme, host and port.
        origin: String,
        /// Which wait it was.
        phase: String,
    },
    /// The certificate is not trusted, or the other side speaks no TLS.
    #[error("no secure connection to {origin}: {reason}")]
    Tls {
        /// Scheme, host and port.
        origin: String,
        /// What the TLS library said.
        reason: String,
    },
    /// The connection broke.
    #[error("connection to {origin} broke: {reason}")]
    Interrupted {
        /// Scheme, host and port.
        origin: String,
        /// What the system said.
        reason: String,
    },
    /// The bytes are not what their name says.
    #[error("digest mismatch: expected {expected}, got {actual}")]
    DigestMismatch {
        /// The name asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// There are fewer or more bytes than announced.
    #[error("size mismatch: expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// Bytes in the descriptor.
        expected: u64,
        /// Bytes offered, or seen until we stopped.
        actual: u64,
    },
    /// More bytes than we are ready to hold.
    #[error("larger than the limit of {limit} bytes")]
    TooLarge {
        /// Bytes.
        limit: u64,
    },
    /// An answer that does not follow the specification.
    #[error("{origin} sent a malformed answer: {reason}")]
    Malformed {
        /// Scheme, host and port.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A redirect, upload location or token realm that we will not follow.
    #[error("{origin} points to {target}, which is refused: {reason}")]
    Forbidden {
        /// Scheme, host and port.
        origin: String,
        /// Where it points, without query.
        target: String,
        /// Why not.
        reason: &'static str,
    },
    /// Credentials could not be read or asked for.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A certificate, key, proxy or mirror setting that cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// The bytes to upload could not be read.
    #[error("cannot read the bytes to upload")]
    Source(#[source] io::Error),
    /// The manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The image's documents contradict each other, or are no image.
    #[error("not a usable image: {0}")]
    Image(String),
    /// The index has no image for this platform.
    #[error("no image for platform {wanted}; available: {}", list(.available))]
    NoPlatform {
        /// What was asked for.
        wanted: Platform,
        /// What there is, in the index's order.
        available: Vec<Platform>,
    },
}

impl RegistryError {
    /// Whether the same operation may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        self.fault.is_transient()
    }

    /// Whether the registry does not let the tag be moved. There is no code for it: ECR says "cannot be
    /// overwritten because the repository is immutable", Artifact Registry "has enabled tag immutability",
    /// Harbor and Docker Hub use these words, too.
    pub fn is_immutable_tag(&self) -> bool {
        let answer = self.fault.answer().filter(|_| self.operation == Operation::PushManifest);
        let text = answer.map(|answer| answer.to_string().to_lowercase()).unwrap_or_default();
        text.contains("immutable") || text.contains("immutability")
    }
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "none".to_owned();
    }
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Fault {
    /// Names what was tried, on what.
    pub(super) fn during(self, operation: Operation, target: impl fmt::Display) -> RegistryError {
        RegistryError { operation, target: target.to_string(), fault: Box::new(self) }
    }

    /// The fault that an unwelcome status is.
    pub(super) fn of(answer: Answer, had_credentials: bool) -> Self {
        match answer.status {
            401 => Self::Unauthorized { answer, had_credentials },
            403 => Self::Denied(answer),
            404 => Self::NotFound(answer),
            429 => Self::RateLimited(answer),
            408 | 500.. => Self::Unavailable(answer),
            _ => Self::Refused(answer),
        }
    }

    /// Whether the same request may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited(_) | Self::Connect { .. } | Self::HostNotFound { .. } => true,
            Self::Timeout { .. } | Self::Interrupted { .. } => true,
            Self::Unavailable(answer) => !matches!(answer.status, 501 | 505 | 507),
            _ => false,
        }
    }

    /// Whether the server wants somebody else to ask.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Unauthorized { .. } | Self::Denied(_))
    }

    /// What the server said, when it said something.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Unauthorized { answer, .. } => Some(answer),
            Self::Denied(answer) | Self::NotFound(answer) | Self::RateLimited(answer) => Some(answer),
            Self::Refused(answer) | Self::Unavailable(answer) => Some(answer),
            _ => None,
        }
    }
}

/// A server's refusal: status, and the first error of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Host and port that answered.
    pub host: String,
    /// HTTP status.
    pub status: u16,
    /// The registry's error code (`MANIFEST_UNKNOWN`), cleaned and cut.
    pub code: Option<String>,
    /// Its message and detail, cleaned and cut.
    pub message: Option<String>,
    /// How long the server asked us to wait.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered {}", self.host, self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        self.retry_after.map_or(Ok(()), |wait| write!(f, " (retry after {} s)", wait.as_secs()))
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    errors: Vec<ErrorEntry>,
    /// What token servers say instead.
    #[serde(default, alias = "error_description", alias = "message")]
    details: Option<String>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: serde_json::Value,
}

impl Answer {
    /// Reads a refusal's body (already bounded) as far as it makes sense.
    ///
    /// # Source
    /// OCI distribution-spec, "Error Codes".
    pub(super) fn read(host: &str, status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let (code, message) = match serde_json::from_slice::<ErrorBody>(body) {
            Ok(ErrorBody { errors, details }) => match errors.into_iter().next() {
                Some(entry) => (clean(&entry.code), entry.text()),
                None => (None, details.as_deref().and_then(clean)),
            },
            Err(_) => (None, plain_text(body)),
        };
        Self { host: host.to_owned(), status, code, message, retry_after }
    }
}

/// A body that is a sentence, not a document.
fn plain_text(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim_start();
    if text.starts_with(['<', '{', '[', '"']) { None } else { clean(text) }
}

impl ErrorEntry {
    /// `message (detail)`; many servers put the useful part in the detail.
    fn text(&self) -> Option<String> {
        let detail = match &self.detail {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => clean(text),
            other => clean(&other.to_string()),
        };
        match (clean(&self.message), detail) {
            (Some(message), Some(detail)) if message != detail => Some(format!("{message} ({detail})")),
            (message, detail) => message.or(detail),
        }
    }
}

/// Server text for a terminal: no control characters, cut; `None` when nothing is left.
pub(super) fn clean(text: &str) -> Option<String> {
    let visible = |c: &char| !c.is_control() && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    let text: String = text.trim().chars().filter(visible).take(MAX_TEXT).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_code_message_and_detail() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m push","detail":{"needs":"push"}}]}"#;
        let answer = Answer::read("r.example", 403, body, None);
        assert_eq!(answer.to_string(), r#"r.example answered 403 DENIED: no[31m push ({"needs":"push"})"#);
    }

    #[test]
    fn nonsense_bodies_leave_the_status() {
        for body in [&b""[..], b"<html>", b"{}", b"{\"errors\":[]}", b"{\"errors\":null}", b"\xff\xfe", b"[7"] {
            assert_eq!(Answer::read("h", 500, body, None).to_string(), "h answered 500");
        }
    }

    #[test]
    fn other_ways_to_say_why() {
        for (body, message) in [
            (r#"{"details":"incorrect username or password"}"#, "incorrect username or password"),
            (r#"{"error":"invalid_grant","error_description":"expired"}"#, "expired"),
            ("Client sent an HTTP request to an HTTPS server.\n", "Client sent an HTTP request to an HTTPS server."),
        ] {
            assert_eq!(Answer::read("h", 400, body.as_bytes(), None).message.as_deref(), Some(message));
        }
    }

    #[test]
    fn server_text_is_cut() {
        let body = format!(r#"{{"errors":[{{"code":"X","message":"{}"}}]}}"#, "y".repeat(100_000));
        let answer = Answer::read("h", 400, body.as_bytes(), None);
        assert_eq!(answer.message.map(|m| m.len()), Some(MAX_TEXT));
    }
}
