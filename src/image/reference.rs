use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// Name of an image in a registry, normalised (`alpine` is `docker.io/library/alpine:latest`).
///
/// # Source
/// `distribution/reference`; OCI distribution-spec, "Pulling manifests".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no image reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid reference format: {text:?}: {reason}")]
pub struct ReferenceError {
    text: String,
    reason: &'static str,
}

impl Reference {
    /// `host[:port]`; Docker Hub is `docker.io`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `None` only when a digest is given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, which wins over the tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to ask the registry for: the digest, else the tag.
    pub fn target(&self) -> String {
        self.digest.as_ref().map(ToString::to_string).or_else(|| self.tag.clone()).unwrap_or_else(|| "latest".into())
    }

    /// `registry/repository`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository, another tag. `tag` must be valid (a key's hex, a checked tag).
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }

    /// The same repository by digest; the tag is kept for display.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The repository below this one, as Kaniko's default `<destination>/cache`.
    #[must_use]
    pub fn child(&self, component: &str) -> Self {
        Self {
            repository: format!("{}/{component}", self.repository),
            tag: Some("latest".into()),
            digest: None,
            ..self.clone()
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let fail = |reason| ReferenceError { text: text.to_owned(), reason };
        if text.is_empty() {
            return Err(fail("it is empty"));
        }
        if text.contains("://") {
            return Err(fail("a name has no https:// before it"));
        }
        let (rest, digest) = split_digest(text).map_err(fail)?;
        let (name, tag) = split_tag(rest).map_err(fail)?;
        let (registry, repository) = split_registry(name);
        if !repository.split('/').all(is_component) {
            return Err(fail("repository must be lower-case letters, digits and . _ - between slashes"));
        }
        if !is_host(&registry) {
            return Err(fail("malformed registry host"));
        }
        if registry.len() + repository.len() > 254 {
            return Err(fail("name longer than 255 characters"));
        }
        if name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(fail("a name of 64 hex digits is reserved for image IDs"));
        }
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { registry, repository, tag, digest })
    }
}

fn split_digest(text: &str) -> Result<(&str, Option<Digest>), &'static str> {
    match text.split_once('@') {
        None => Ok((text, None)),
        Some((rest, digest)) => Ok((rest, Some(digest.parse().map_err(|_| "malformed digest")?))),
    }
}

fn split_tag(text: &str) -> Result<(&str, Option<String>), &'static str> {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => {
            if is_tag(tag) {
                Ok((name, Some(tag.to_owned())))
            } else {
                Err("malformed tag")
            }
        }
        _ => Ok((text, None)),
    }
}

/// The part before the first slash is a host only if it looks like one.
fn split_registry(name: &str) -> (String, String) {
    let looks_like_host =
        |s: &str| s == "localhost" || s.contains(['.', ':']) || s.bytes().any(|b| b.is_ascii_uppercase());
    match name.split_once('/') {
        Some((host, path)) if looks_like_host(host) => {
            let host = if host == "index.docker.io" { "docker.io" } else { host };
            let library = host == "docker.io" && !path.contains('/');
            (host.to_owned(), if library { format!("library/{path}") } else { path.to_owned() })
        }
        Some(_) => ("docker.io".into(), name.to_owned()),
        None => ("docker.io".into(), format!("library/{name}")),
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128 && tag.bytes().next().is_some_and(word) && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let ipv6 = name
        .strip_prefix('[')
        .and_then(|n| n.strip_suffix(']'))
        .is_some_and(|n| n.parse::<std::net::Ipv6Addr>().is_ok());
    (ipv6 || name.split('.').all(label)) && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

/// Runs of `[a-z0-9]` joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    if !(bytes.first().copied().is_some_and(alnum) && bytes.last().copied().is_some_and(alnum)) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        for (given, shown) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x:1", "localhost:5000/x:1"),
            ("ghcr.io/a/b__c/d---e.f", "ghcr.io/a/b__c/d---e.f:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
        ] {
            assert_eq!(given.parse::<Reference>().expect(given).to_string(), shown);
        }
    }

    #[test]
    fn digest_wins_over_tag() {
        let digest = Digest::sha256(b"");
        let reference: Reference = format!("a:b@{digest}").parse().expect("valid");
        assert_eq!(reference.target(), digest.to_string());
        let untagged: Reference = format!("a@{digest}").parse().expect("valid");
        assert_eq!(untagged.tag(), None);
    }

    #[test]
    fn malformed_names_are_refused() {
        let hex = "a".repeat(64);
        for bad in [
            "",
            "A",
            "a:",
            ":a",
            "a/",
            "/a",
            "a//b",
            "a:b:c",
            "a b",
            "Bad:::",
            "a@sha256:1",
            "a/../b",
            "-a",
            "a.-b/..",
            "h:99999/x",
            &hex,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
