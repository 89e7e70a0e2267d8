//! Patterns of repository names and of claim values. Pure.

use std::fmt;
use std::str::FromStr;

use crate::name::RepositoryName;

/// Longer patterns are refused; names stop at 255 bytes.
const MAX_PATTERN_BYTES: usize = 1024;

/// Which repositories are meant: components joined by `/`; `*` stands for any run of characters
/// within a component, a component `**` for any number of components, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamePattern(Vec<Box<str>>);

/// A text that can match no repository.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid repository pattern {0:?}: expected names like team/app, with * and ** as wildcards")]
pub(crate) struct InvalidPattern(String);

impl NamePattern {
    /// All repositories.
    pub(crate) fn everything() -> Self {
        Self(vec!["**".into()])
    }

    /// One repository only.
    pub(crate) fn exactly(name: &RepositoryName) -> Self {
        // No name has a wildcard in it.
        Self(name.as_str().split('/').map(Into::into).collect())
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.0.iter().all(|component| &**component == "**")
    }

    pub(crate) fn matches(&self, name: &RepositoryName) -> bool {
        let components: Vec<&str> = name.as_str().split('/').collect();
        wildcard(&self.0, &components, |p| &**p == "**", |p, component| matches_text(p, component))
    }
}

impl FromStr for NamePattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-*".contains(&b);
        let component = |c: &str| !c.is_empty() && c.bytes().all(allowed) && (c == "**" || !c.contains("**"));
        if text.len() > MAX_PATTERN_BYTES || !text.split('/').all(component) {
            return Err(InvalidPattern(text.into()));
        }
        Ok(Self(text.split('/').map(Into::into).collect()))
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

/// Says whether all of `text` fits `pattern`, where `*` stands for any run of characters.
pub(super) fn matches_text(pattern: &str, text: &str) -> bool {
    wildcard(pattern.as_bytes(), text.as_bytes(), |p| *p == b'*', |p, t| p == t)
}

/// Matches a sequence against one with wildcards, in time of at most the product of their lengths.
fn wildcard<P, T>(pattern: &[P], text: &[T], star: impl Fn(&P) -> bool, fits: impl Fn(&P, &T) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the text after the last wildcard does not fit: that takes one more.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(item) if star(item) => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(item) if fits(item, &text[t]) => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((after, taken)) = retry else { return false };
                retry = Some((after, taken + 1));
                (p, t) = (after, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(star)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<NamePattern>().expect(pattern).matches(&name.parse().expect(name))
    }

    #[test]
    fn patterns_match_by_component() {
        for (pattern, name) in [
            ("**", "a/b"),
            ("a/**", "a"),
            ("a/**", "a/b/c"),
            ("a/**/z", "a/z"),
            ("a/**/z", "a/b/z/c/z"),
            ("a/*", "a/b"),
            ("a-*/x", "a-1/x"),
            ("*-*-c", "a-b-b-c"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a/*", "a/b/c"),
            ("a/*", "a"),
            ("a/**", "ab"),
            ("a", "a/b"),
            ("a/**/z", "a/b"),
            ("*-c", "a-b"),
            ("a*", "b"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn hostile_patterns_end_soon() {
        let pattern = format!("{}b", "*a".repeat(400));
        assert!(!matches_text(&pattern, &"a".repeat(4000)));
        for bad in ["", "/", "a//b", "A", "a**", "a b", "a/../{x}", &"a".repeat(1025)] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
        }
    }
}
