//! Rules: which claims get which grants. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};

use super::super::action::Actions;
use super::super::grant::{Grant, Grants, InvalidGrant};
use super::super::pattern::{NamePattern, matches_text};
use super::claims::{Claims, Kind};

/// Grants for the tokens whose claims fit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Rule {
    /// All of these claims must be there and have one of the values.
    #[serde(default)]
    when: BTreeMap<String, Values>,
    grants: Vec<GrantTemplate>,
}

/// Patterns of values; `*` stands for any run of characters.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Any(Vec<String>),
}

/// A grant whose pattern may hold claims: `cache/{ci.project}/{ci.ref}/**=pull,push`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GrantTemplate {
    parts: Vec<Part>,
    actions: Actions,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Claim(String),
}

#[derive(Debug, Deserialize)]
struct RuleFile {
    rules: Vec<Rule>,
}

/// What a claim becomes in a name is at most this long; names stop at 255 bytes.
const MAX_COMPONENT_BYTES: usize = 60;
/// Hex digits of the hash that stands for what a name cannot hold: 80 bits.
const HASH_DIGITS: usize = 20;
/// Claims that are paths of several components; all others become one component.
const PATHS: [&str; 5] =
    [super::claims::NAMESPACE, super::claims::PROJECT, "project_path", "namespace_path", "repository"];

/// The rules for an issuer that has none of its own.
///
/// With them a job writes only where jobs read that trust it: protected refs read protected
/// refs; every other ref has a place that only itself reads.
pub(crate) fn default_rules(kind: Kind) -> Result<Vec<Rule>, toml::de::Error> {
    let text = match kind {
        Kind::Gitlab => include_str!("defaults/gitlab.toml"),
        Kind::Github => include_str!("defaults/github.toml"),
        Kind::Kubernetes => include_str!("defaults/kubernetes.toml"),
        Kind::Other => return Ok(Vec::new()),
    };
    Ok(toml::from_str::<RuleFile>(text)?.rules)
}

/// What a token with these claims may do: what all rules that fit grant.
pub(super) fn evaluate(rules: &[Rule], claims: &Claims) -> Grants {
    let fitting = rules.iter().filter(|rule| rule.fits(claims));
    fitting.flat_map(|rule| &rule.grants).filter_map(|template| template.fill(claims)).collect()
}

impl Rule {
    fn fits(&self, claims: &Claims) -> bool {
        self.when.iter().all(|(name, values)| claims.get(name).is_some_and(|value| values.fit(value)))
    }
}

impl Values {
    fn fit(&self, value: &str) -> bool {
        match self {
            Self::One(pattern) => matches_text(pattern, value),
            Self::Any(patterns) => patterns.iter().any(|pattern| matches_text(pattern, value)),
        }
    }
}

impl GrantTemplate {
    /// The grant for these claims; `None` when one is missing or the name is impossible.
    fn fill(&self, claims: &Claims) -> Option<Grant> {
        let mut pattern = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => pattern.push_str(text),
                Part::Claim(name) => pattern.push_str(&name_of(name, claims.get(name)?)?),
            }
        }
        Some(Grant { repositories: pattern.parse().ok()?, actions: self.actions })
    }
}

impl std::str::FromStr for GrantTemplate {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, InvalidGrant> {
        let (pattern, actions) = Grant::split(text)?;
        let malformed = || InvalidGrant::Form(text.into());
        let (mut parts, mut rest) = (Vec::new(), pattern);
        while let Some((before, after)) = rest.split_once('{') {
            let (claim, after) = after.split_once('}').ok_or_else(malformed)?;
            parts.extend([Part::Text(before.into()), Part::Claim(claim.into())]);
            rest = after;
        }
        parts.push(Part::Text(rest.into()));
        let template = Self { parts, actions };
        template.check(text)?;
        Ok(template)
    }
}

impl GrantTemplate {
    /// With a letter in the place of each claim it must be a pattern.
    fn check(&self, text: &str) -> Result<(), InvalidGrant> {
        let sample = self.parts.iter().map(|part| match part {
            Part::Text(text) => Ok(text.as_str()),
            Part::Claim(name) if name.is_empty() => Err(InvalidGrant::Form(text.into())),
            Part::Claim(_) => Ok("x"),
        });
        sample.collect::<Result<String, _>>()?.parse::<NamePattern>()?;
        Ok(())
    }
}

impl<'de> Deserialize<'de> for GrantTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A claim's value as part of a repository's name; `None` when it is empty.
fn name_of(claim: &str, value: &str) -> Option<String> {
    if !PATHS.contains(&claim) {
        return component(value);
    }
    let components: Option<Vec<String>> = value.split('/').map(component).collect();
    Some(components?.join("/"))
}

/// A text as one component of a name. Different texts give different components: what a name
/// cannot hold is replaced and told apart by a hash, and so is what looks as if it had one.
fn component(value: &str) -> Option<String> {
    if value.is_empty() {
        return None;
    }
    if value.len() <= MAX_COMPONENT_BYTES && is_plain(value) && !has_hash(value) {
        return Some(value.into());
    }
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let readable: String = value.chars().take(MAX_COMPONENT_BYTES - HASH_DIGITS - 1).map(allowed).collect();
    let hash: String = Sha256::digest(value).iter().map(|byte| format!("{byte:02x}")).take(HASH_DIGITS / 2).collect();
    Some(format!("{}-{hash}", readable.trim_matches('-')).trim_start_matches('-').into())
}

fn is_plain(value: &str) -> bool {
    !value.contains('/') && value.parse::<crate::name::RepositoryName>().is_ok()
}

fn has_hash(value: &str) -> bool {
    let tail = value.rsplit('-').next().unwrap_or_default();
    tail.len() == HASH_DIGITS && tail.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
