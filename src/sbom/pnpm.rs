//! `pnpm-lock.yaml`.

use std::collections::BTreeMap;

use super::javascript::checksum;
use super::{Ecosystem, Package, yaml};

#[derive(Default)]
struct Locked {
    name: Option<String>,
    version: Option<String>,
    integrity: Option<String>,
}

/// # Source
/// pnpm `spec`, "lockfile" 5, 6 and 9: the keys below `packages` are `/@a/b/1.0.0_peers`, `/@a/b@1.0.0(peers)`, `@a/b@1.0.0`.
pub(super) fn locked(text: &str) -> Vec<Package> {
    let mut format = 0.0;
    let mut packages: BTreeMap<String, Locked> = BTreeMap::new();
    yaml::values(text, |keys, value| match keys {
        [field] if field == "lockfileVersion" => format = value.parse().unwrap_or_default(),
        [list, key, fields @ ..] if list == "packages" => {
            let locked = packages.entry(key.clone()).or_default();
            match fields {
                [field] if field == "name" => locked.name = Some(value.into()),
                [field] if field == "version" => locked.version = Some(value.into()),
                [outer, field] if outer == "resolution" && field == "integrity" => {
                    locked.integrity = Some(value.into())
                }
                _ => {}
            }
        }
        _ => {}
    });
    let old = format < 6.0;
    packages.iter().filter_map(|(key, locked)| package(if old { old_key(key) } else { new_key(key) }, locked)).collect()
}

/// What comes from a repository or an archive says its name and version itself.
fn package(key: Option<(&str, &str)>, locked: &Locked) -> Option<Package> {
    let name = locked.name.as_deref().or(key.map(|(name, _)| name))?;
    let version = locked.version.as_deref().or(key.map(|(_, version)| version))?;
    let is_version = version.starts_with(|c: char| c.is_ascii_digit());
    let package = is_version.then(|| Package::new(Ecosystem::Npm, name, version)).flatten()?;
    Some(Package { checksum: locked.integrity.as_deref().and_then(checksum), ..package })
}

fn old_key(key: &str) -> Option<(&str, &str)> {
    let (name, version) = key.strip_prefix('/')?.rsplit_once('/')?;
    Some((name, version.split('_').next()?))
}

fn new_key(key: &str) -> Option<(&str, &str)> {
    let key = key.strip_prefix('/').unwrap_or(key);
    let key = key.split('(').next()?;
    key.rsplit_once('@').filter(|(name, _)| !name.is_empty())
}
