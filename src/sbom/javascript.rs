use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::{Ecosystem, Package};

/// How deep the oldest form of lock files nests.
const MAX_DEPTH: usize = 32;

#[derive(Deserialize)]
struct Lock {
    /// Since version 2, by path.
    #[serde(default)]
    packages: BTreeMap<String, Locked>,
    /// Version 1, by name.
    #[serde(default)]
    dependencies: BTreeMap<String, Locked>,
}

#[derive(Deserialize)]
struct Locked {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    license: Option<Value>,
    #[serde(default)]
    integrity: Option<String>,
    #[serde(default)]
    link: bool,
    #[serde(default)]
    dependencies: Value,
}

/// # Source
/// npm, `package-lock.json`.
pub(super) fn locked(text: &str) -> Vec<Package> {
    let Ok(Lock { packages, dependencies }) = serde_json::from_str::<Lock>(text) else { return Vec::new() };
    if packages.is_empty() {
        return nested(dependencies, 0);
    }
    // The project itself has no path below node_modules.
    let named = packages.iter().filter(|(_, package)| !package.link).filter_map(|(path, package)| {
        let (_, name) = path.rsplit_once("node_modules/")?;
        of_lock(package.name.as_deref().unwrap_or(name), package)
    });
    named.collect()
}

fn nested(dependencies: BTreeMap<String, Locked>, depth: usize) -> Vec<Package> {
    if depth > MAX_DEPTH {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (name, locked) in dependencies {
        found.extend(of_lock(&name, &locked));
        if let Ok(below) = serde_json::from_value(locked.dependencies) {
            found.extend(nested(below, depth + 1));
        }
    }
    found
}

fn of_lock(name: &str, locked: &Locked) -> Option<Package> {
    let package = Package::new(Ecosystem::Npm, name, locked.version.as_deref()?)?;
    let checksum = locked.integrity.as_deref().and_then(checksum);
    Some(Package { checksum, ..package.licensed(license(locked.license.as_ref()).as_deref()) })
}

/// The first that SPDX has a name for.
///
/// # Source
/// W3C Subresource Integrity.
pub(super) fn checksum(integrity: &str) -> Option<(&'static str, String)> {
    integrity.split_whitespace().find_map(|part| {
        let (algorithm, length, value) = match part.split_once('-')? {
            ("sha512", value) => ("SHA512", 64, value),
            ("sha256", value) => ("SHA256", 32, value),
            ("sha1", value) => ("SHA1", 20, value),
            _ => return None,
        };
        let bytes = STANDARD.decode(value).ok().filter(|bytes| bytes.len() == length)?;
        Some((algorithm, super::locks::hex(&bytes)))
    })
}

/// `package.json` of an installed package.
pub(super) fn installed(text: &str) -> Vec<Package> {
    let Ok(document) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let field = |name: &str| document.get(name).and_then(Value::as_str);
    let package = field("name").zip(field("version"));
    let package = package.and_then(|(name, version)| Package::new(Ecosystem::Npm, name, version));
    package.map(|package| package.licensed(license(document.get("license")).as_deref())).into_iter().collect()
}

/// A text, or an object with a type.
fn license(value: Option<&Value>) -> Option<String> {
    let value = value?;
    value.as_str().or_else(|| value.get("type")?.as_str()).map(str::to_owned)
}
