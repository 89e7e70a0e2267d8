//! Which endpoint a path means. Pure.

use axum::http::Method;
use percent_encoding::percent_decode_str;
use yadokari::digest::Digest;

use crate::access::{Action, Need};
use crate::dashboard::Subject;
use crate::error::{ApiError, Code};
use crate::name::{Reference, RepositoryName, Tag};

/// An endpoint with its names checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/`
    Dashboard,
    /// `/healthz`
    Health,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/token`
    Token,
    /// `/access`
    Access,
    /// `/v2/`
    Probe,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/N/blobs/D`
    Blob { repository: RepositoryName, digest: Digest },
    /// `/v2/N/blobs/uploads/`
    Uploads { repository: RepositoryName },
    /// `/v2/N/blobs/uploads/ID`; any other text than an ID is an unknown session.
    Upload { repository: RepositoryName, id: String },
    /// `/v2/N/manifests/REF`; what a bad reference means depends on the method.
    Manifest { repository: RepositoryName, reference: String },
    /// `/v2/N/tags/list`
    Tags { repository: RepositoryName },
    /// `/v2/N/referrers/D`
    Referrers { repository: RepositoryName, digest: Digest },
    /// `/v2/_oci/ext/discover`, `/v2/N/_oci/ext/discover`
    Discover,
    /// `/v2/N/_yadokari/lookup`
    LookUp { repository: RepositoryName },
    /// `/v2/N/_yadokari/leases/KEY`
    Lease { repository: RepositoryName, key: Tag },
    /// `/v2/N/_yadokari/hot`
    Hot { repository: RepositoryName },
    /// `/v2/N/_yadokari/pins`
    Pins { repository: RepositoryName },
    /// `/v2/N/_yadokari/pins/REF`
    Pin { repository: RepositoryName, reference: Reference },
}

impl Endpoint {
    /// Reads a path from its end: a repository may be called `tags` or `blobs/uploads`.
    ///
    /// Percent-encoding is undone once, after the split, so that an encoded slash or
    /// `..` is part of a name, which the grammar then refuses.
    pub(super) fn parse(path: &str) -> Result<Self, ApiError> {
        let decoded: Option<Vec<String>> = path.split('/').skip(1).map(decode).collect();
        let segments = decoded.ok_or_else(unknown)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            [""] => Ok(Self::Dashboard),
            ["healthz"] => Ok(Self::Health),
            ["readyz"] => Ok(Self::Ready),
            ["metrics"] => Ok(Self::Metrics),
            ["token"] => Ok(Self::Token),
            ["access"] => Ok(Self::Access),
            ["v2"] | ["v2", ""] => Ok(Self::Probe),
            ["v2", "_catalog"] => Ok(Self::Catalog),
            ["v2", name @ .., "blobs", "uploads"] | ["v2", name @ .., "blobs", "uploads", ""] => {
                Ok(Self::Uploads { repository: repository(name)? })
            }
            ["v2", name @ .., "blobs", "uploads", id] => {
                Ok(Self::Upload { repository: repository(name)?, id: (*id).into() })
            }
            ["v2", name @ .., "blobs", text] => Ok(Self::Blob { repository: repository(name)?, digest: digest(text)? }),
            ["v2", name @ .., "manifests", reference] => {
                Ok(Self::Manifest { repository: repository(name)?, reference: (*reference).into() })
            }
            ["v2", name @ .., "tags", "list"] => Ok(Self::Tags { repository: repository(name)? }),
            ["v2", name @ .., "referrers", text] => {
                Ok(Self::Referrers { repository: repository(name)?, digest: digest(text)? })
            }
            ["v2", "_oci", "ext", "discover"] => Ok(Self::Discover),
            ["v2", name @ .., "_oci", "ext", "discover"] => repository(name).map(|_| Self::Discover),
            ["v2", name @ .., "_yadokari", "lookup"] => Ok(Self::LookUp { repository: repository(name)? }),
            ["v2", name @ .., "_yadokari", "leases", key] => {
                Ok(Self::Lease { repository: repository(name)?, key: key.parse()? })
            }
            ["v2", name @ .., "_yadokari", "hot"] => Ok(Self::Hot { repository: repository(name)? }),
            ["v2", name @ .., "_yadokari", "pins"] => Ok(Self::Pins { repository: repository(name)? }),
            ["v2", name @ .., "_yadokari", "pins", reference] => {
                Ok(Self::Pin { repository: repository(name)?, reference: reference.parse()? })
            }
            _ => Err(unknown()),
        }
    }

    /// Its name in metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Dashboard => "dashboard",
            Self::Health => "health",
            Self::Ready => "ready",
            Self::Metrics => "metrics",
            Self::Token => "token",
            Self::Access => "access",
            Self::Probe => "probe",
            Self::Catalog => "catalog",
            Self::Blob { .. } => "blob",
            Self::Uploads { .. } | Self::Upload { .. } => "upload",
            Self::Manifest { .. } => "manifest",
            Self::Tags { .. } => "tags",
            Self::Referrers { .. } => "referrers",
            Self::Discover => "discover",
            Self::LookUp { .. } => "lookup",
            Self::Lease { .. } => "lease",
            Self::Hot { .. } => "hot",
            Self::Pins { .. } | Self::Pin { .. } => "pin",
        }
    }

    /// What a request with `method` is about, for the dashboard.
    pub(super) fn subject(&self, method: &Method) -> Option<Subject> {
        let manifest = match self {
            Self::Manifest { reference, .. } if is_read(method) => Some(reference.clone()),
            _ => None,
        };
        Some(Subject { repository: self.repository()?.clone(), manifest })
    }

    /// The repository that the path names.
    fn repository(&self) -> Option<&RepositoryName> {
        match self {
            // Open to everybody, but for what `need` names.
            Self::Dashboard
            | Self::Health
            | Self::Ready
            | Self::Metrics
            | Self::Token
            | Self::Access
            | Self::Probe
            | Self::Catalog
            | Self::Discover => None,
            Self::Blob { repository, .. }
            | Self::Uploads { repository }
            | Self::Upload { repository, .. }
            | Self::Manifest { repository, .. }
            | Self::Tags { repository }
            | Self::Referrers { repository, .. }
            | Self::LookUp { repository }
            | Self::Lease { repository, .. }
            | Self::Hot { repository }
            | Self::Pins { repository }
            | Self::Pin { repository, .. } => Some(repository),
        }
    }

    /// What a caller must be allowed to do for a request with `method`.
    pub(super) fn need(&self, method: &Method) -> Option<Need> {
        // Both name repositories.
        if matches!(self, Self::Catalog | Self::Dashboard) {
            return Some(Need::Catalog);
        }
        let action = match self {
            Self::Upload { .. } | Self::Uploads { .. } => Action::Push,
            Self::LookUp { .. } | Self::Hot { .. } | Self::Pins { .. } => Action::ReadKeys,
            Self::Lease { .. } | Self::Pin { .. } => Action::WriteKeys,
            _ if is_read(method) => Action::Pull,
            _ if *method == Method::DELETE => Action::Delete,
            _ => Action::Push,
        };
        Some(Need::Repository(action, self.repository()?.clone()))
    }

    /// The methods that the endpoint answers, as an `Allow` header says it.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Dashboard | Self::Health | Self::Ready | Self::Metrics | Self::Access => "GET, HEAD",
            Self::Probe | Self::Catalog | Self::Tags { .. } | Self::Referrers { .. } => "GET, HEAD",
            Self::Discover | Self::Hot { .. } | Self::Pins { .. } => "GET, HEAD",
            Self::Token => "GET, HEAD, POST",
            Self::Blob { .. } => "GET, HEAD, DELETE",
            Self::Uploads { .. } | Self::LookUp { .. } => "POST",
            Self::Lease { .. } => "POST, PUT, DELETE",
            Self::Pin { .. } => "PUT, DELETE",
            Self::Upload { .. } => "GET, PATCH, PUT, DELETE",
            Self::Manifest { .. } => "GET, HEAD, PUT, DELETE",
        }
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn decode(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(Into::into)
}

fn repository(components: &[&str]) -> Result<RepositoryName, ApiError> {
    // A component with a slash in it came from an encoded one; joined, it would pass.
    if components.iter().any(|component| component.contains('/')) {
        return Err(ApiError::new(Code::NameInvalid, "invalid repository name: encoded slash"));
    }
    Ok(components.join("/").parse::<RepositoryName>()?)
}

/// A digest of a path or a parameter.
pub(super) fn digest(text: &str) -> Result<Digest, ApiError> {
    text.parse().map_err(|error: yadokari::digest::DigestError| ApiError::new(Code::DigestInvalid, error.to_string()))
}

fn unknown() -> ApiError {
    ApiError::new(Code::NameUnknown, "there is no such endpoint")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().expect(text)
    }

    #[test]
    fn endpoints_are_read_from_the_end() {
        let digest = Digest::sha256(b"x");
        let manifest = |repository: &str, reference: &str| Endpoint::Manifest {
            repository: name(repository),
            reference: reference.into(),
        };
        for (path, expected) in [
            ("/token".into(), Endpoint::Token),
            ("/v2".into(), Endpoint::Probe),
            ("/v2/".into(), Endpoint::Probe),
            ("/v2/_catalog".into(), Endpoint::Catalog),
            (format!("/v2/a/b/blobs/{digest}"), Endpoint::Blob { repository: name("a/b"), digest: digest.clone() }),
            (
                format!("/v2/a/blobs/{}", digest.to_string().replace(':', "%3A")),
                Endpoint::Blob { repository: name("a"), digest: digest.clone() },
            ),
            ("/v2/a/blobs/uploads".into(), Endpoint::Uploads { repository: name("a") }),
            ("/v2/a/blobs/uploads/".into(), Endpoint::Uploads { repository: name("a") }),
            ("/v2/a/blobs/uploads/1".into(), Endpoint::Upload { repository: name("a"), id: "1".into() }),
            ("/v2/a/tags/list".into(), Endpoint::Tags { repository: name("a") }),
            ("/v2/tags/list/tags/list".into(), Endpoint::Tags { repository: name("tags/list") }),
            ("/v2/a/blobs/uploads/manifests/v1".into(), manifest("a/blobs/uploads", "v1")),
            ("/v2/manifests/manifests/manifests".into(), manifest("manifests", "manifests")),
            (format!("/v2/a/referrers/{digest}"), Endpoint::Referrers { repository: name("a"), digest }),
        ] {
            assert_eq!(Endpoint::parse(&path).ok(), Some(expected), "{path}");
        }
    }

    #[test]
    fn every_method_needs_its_action() {
        let need = |method: &str, path: &str| {
            let endpoint = Endpoint::parse(path).expect("valid");
            endpoint.need(&method.parse().expect("a method")).map(|need| need.to_string())
        };
        let digest = Digest::sha256(b"x");
        let (blob, manifest, list) = (format!("/v2/a/blobs/{digest}"), "/v2/a/manifests/v1", "/v2/a/tags/list");
        let (uploads, referrers) = ("/v2/a/blobs/uploads/", format!("/v2/a/referrers/{digest}"));
        for (method, path, expected) in [
            ("GET", blob.as_str(), "pull in a"),
            ("HEAD", &blob, "pull in a"),
            ("DELETE", &blob, "delete in a"),
            ("GET", manifest, "pull in a"),
            ("PUT", manifest, "push in a"),
            ("DELETE", manifest, "delete in a"),
            ("GET", list, "pull in a"),
            ("GET", &referrers, "pull in a"),
            ("POST", uploads, "push in a"),
            ("GET", "/v2/a/blobs/uploads/1", "push in a"),
            ("PATCH", "/v2/a/blobs/uploads/1", "push in a"),
            ("PUT", "/v2/a/blobs/uploads/1", "push in a"),
            ("DELETE", "/v2/a/blobs/uploads/1", "push in a"),
            // Methods that nothing answers are no way around.
            ("OPTIONS", manifest, "push in a"),
            ("GET", "/v2/_catalog", "listing all repositories"),
        ] {
            assert_eq!(need(method, path).as_deref(), Some(expected), "{method} {path}");
        }
        for path in ["/healthz", "/readyz", "/metrics", "/token", "/access", "/v2/"] {
            assert_eq!(need("GET", path), None, "{path}");
        }
    }

    #[test]
    fn paths_that_leave_their_place_are_refused() {
        for bad in [
            "//",
            "/v1/",
            "/v2/a",
            "/v2//tags/list",
            "/v2/../tags/list",
            "/v2/%2e%2e/tags/list",
            "/v2/a%2Fb/tags/list",
            "/v2/a%2f..%2fb/tags/list",
            "/v2/%252e%252e/tags/list",
            "/v2/a%00/tags/list",
            "/v2/a%5Cb/tags/list",
            "/v2/a%ff/tags/list",
            "/v2/A/tags/list",
            "/v2/a/blobs/sha256:..%2F..%2Fx",
            "/v2/a/referrers/latest",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
