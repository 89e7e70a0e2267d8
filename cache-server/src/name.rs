//! The grammar of what clients name: repositories, tags, references.
//!
//! Only values that passed it reach the storage, so a name can never leave its directory.
//!
//! # Source
//! OCI distribution-spec, "Pulling manifests".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use yadokari::digest::{Digest, DigestError};

/// Most registries and clients cap a name here; it also fits one file name.
const MAX_REPOSITORY_BYTES: usize = 255;
const MAX_TAG_BYTES: usize = 128;

/// Path of a repository: components joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RepositoryName(Box<str>);

/// Name of a manifest within a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag(Box<str>);

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Reference {
    /// By name.
    Tag(Tag),
    /// By identity.
    Digest(Digest),
}

/// Why a text is no name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NameError {
    #[error("invalid repository name {0:?}")]
    Repository(String),
    #[error("invalid tag {0:?}")]
    Tag(String),
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl RepositoryName {
    /// Where caches of CI systems are when nothing else is configured.
    pub(crate) fn cache() -> Self {
        Self("cache".into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_REPOSITORY_BYTES || !text.split('/').all(is_component) {
            return Err(NameError::Repository(text.into()));
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let valid = text.len() <= MAX_TAG_BYTES
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if valid { Ok(Self(text.into())) } else { Err(NameError::Tag(text.into())) }
    }
}

impl FromStr for Reference {
    type Err = NameError;

    /// A text with a colon is a digest or wrong, never a tag.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains(':') { Ok(Self::Digest(text.parse()?)) } else { Ok(Self::Tag(text.parse()?)) }
    }
}

impl<'de> Deserialize<'de> for RepositoryName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Runs of `[a-z0-9]` joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !(component.starts_with(alnum) && component.ends_with(alnum)) {
        return false;
    }
    component.split(alnum).all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_grammar() {
        for good in ["a", "a/b", "library/alpine", "a.b_c__d---e/0", "blobs/uploads", "tags/list"] {
            assert!(good.parse::<RepositoryName>().is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in
            ["", "/", "a/", "/a", "a//b", "..", "a/../b", "A", "_tags", "a_", "a..b", "a___b", "a\0b", "a\\b", &long]
        {
            assert_eq!(bad.parse::<RepositoryName>(), Err(NameError::Repository(bad.into())));
        }
    }

    #[test]
    fn reference_grammar() {
        let digest = Digest::sha256(b"x");
        assert_eq!(digest.to_string().parse(), Ok(Reference::Digest(digest)));
        assert_eq!("v1.0_a-b".parse(), Ok(Reference::Tag(Tag("v1.0_a-b".into()))));
        for bad in ["", ".a", "-a", "a/b", "sha256:../x", "sha256:ABC", "a:b", "a b", &"t".repeat(129)] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
