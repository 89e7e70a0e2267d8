//! `yarn.lock`, which was a format of its own before it was YAML.

use std::collections::BTreeMap;

use super::javascript::checksum;
use super::{Ecosystem, Package, yaml};

/// # Source
/// yarn, "yarn.lock" of Classic (version 1) and of Berry (versions 2 to 4).
pub(super) fn locked(text: &str) -> Vec<Package> {
    let is_berry = text.lines().any(|line| line.trim_end() == "__metadata:");
    if is_berry { berry(text) } else { classic(text) }
}

/// Blocks of a line with patterns, and fields indented by two blanks.
fn classic(text: &str) -> Vec<Package> {
    let (mut found, mut name) = (Vec::new(), None);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if !line.starts_with(' ') {
            name = line.strip_suffix(':').and_then(pattern_name);
            continue;
        }
        let Some((field, value)) = line.strip_prefix("  ").and_then(|line| line.split_once(' ')) else { continue };
        match (field, name) {
            ("version", Some(name)) => found.extend(Package::new(Ecosystem::Npm, name, value.trim_matches('"'))),
            ("integrity", Some(name)) => {
                let last = found.last_mut().filter(|package: &&mut Package| package.name == name);
                if let Some(package) = last {
                    package.checksum = checksum(value);
                }
            }
            _ => {}
        }
    }
    found
}

/// Of `"@a/b@^1", "@a/b@^2"` the name. What has another name here than in the registry counts by the latter:
/// `b@npm:@a/b@^1`.
fn pattern_name(patterns: &str) -> Option<&str> {
    let pattern = patterns.split(", ").next()?.trim_matches('"');
    let (name, range) = split(pattern)?;
    match range.strip_prefix("npm:") {
        Some(other) => Some(split(other).map_or(name, |(name, _)| name)),
        None => Some(name),
    }
}

/// At the first `@` that does not begin a scope.
fn split(pattern: &str) -> Option<(&str, &str)> {
    let at = pattern.char_indices().skip(1).find(|(_, c)| *c == '@')?.0;
    Some((&pattern[..at], &pattern[at + 1..]))
}

/// What comes from a registry has a resolution such as `@a/b@npm:1.0.0`; patches of it name it, too.
fn berry(text: &str) -> Vec<Package> {
    let mut blocks: BTreeMap<String, (Option<String>, Option<String>)> = BTreeMap::new();
    yaml::values(text, |keys, value| match keys {
        [patterns, field] if field == "version" => blocks.entry(patterns.clone()).or_default().0 = Some(value.into()),
        [patterns, field] if field == "resolution" => {
            blocks.entry(patterns.clone()).or_default().1 = Some(value.into());
        }
        _ => {}
    });
    let package = |(version, resolution): (Option<String>, Option<String>)| {
        let resolution = resolution?;
        let (name, range) = split(&resolution)?;
        let from_registry = range.starts_with("npm:") || range.starts_with("patch:");
        from_registry.then(|| Package::new(Ecosystem::Npm, name, &version?)).flatten()
    };
    blocks.into_values().filter_map(package).collect()
}
