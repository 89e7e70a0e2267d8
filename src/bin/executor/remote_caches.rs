//! Which caches there are besides the cache directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use yadokari::cache::{LayoutCache, LocalCache, RegistryCache, RegistryCacheOptions, TieredCache, Trust};
use yadokari::causes::chain;
use yadokari::image::Reference;
use yadokari::registry::Client;
use yadokari::report::{Event, Observer};
use yadokari::store::{Access, Lease, Store, StoreError};

use crate::cache_server::cache_server;
use crate::command_line::settings::{Environment, SettingsError, usage};
use crate::flags::{CacheFlags, CommandLine};
use crate::keys;
use crate::settings::reference;
use crate::workplace::Workplace;

/// A cache besides the cache directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteCache {
    pub(crate) at: At,
    pub(crate) is_written: bool,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    Registry(Reference),
    /// `oci:/path`.
    Layout(PathBuf),
}

impl At {
    pub(crate) fn repository(&self) -> Option<&Reference> {
        if let Self::Registry(repository) = self { Some(repository) } else { None }
    }

    /// `REPOSITORY` or `oci:PATH`.
    pub(crate) fn parse(text: &str) -> Result<Self, SettingsError> {
        if text.starts_with("type=") {
            return Err(usage(format!("{text:?}: expected a repository, or oci:PATH; BuildKit's caches are not read")));
        }
        match text.strip_prefix("oci:") {
            Some("") => Err(usage("oci: needs a path")),
            Some(path) => Ok(Self::Layout(path.into())),
            None => reference(text).map(Self::Registry),
        }
    }
}

/// In the order in which they are read: what `--cache-to` names, `--cache-repo`, `--cache-server`,
/// `--cache-from`; where none is named, the first destination's. Written are all of `--cache-to`, the
/// first of `--cache-repo`, and `--cache-server`.
pub(crate) fn remote_caches(line: &CommandLine) -> Result<Vec<RemoteCache>, SettingsError> {
    if line.cache.cache { named_caches(line) } else { Ok(Vec::new()) }
}

/// Where cache mounts go: the first that is written, else the first; `None` when they are only kept in the
/// local directory.
pub(crate) fn mount_repository(line: &CommandLine) -> Result<Option<Reference>, SettingsError> {
    if !line.cache.cache_mounts_remote {
        return Ok(None);
    }
    let caches = named_caches(line)?;
    let chosen = caches.iter().find(|cache| cache.is_written).or(caches.first());
    match chosen.map(|cache| &cache.at) {
        Some(At::Registry(repository)) => Ok(Some(repository.clone())),
        _ => Err(usage("--cache-mounts-remote needs a cache in a registry")),
    }
}

fn named_caches(line: &CommandLine) -> Result<Vec<RemoteCache>, SettingsError> {
    let flags = &line.cache;
    let named = |texts: &[String], written: usize| -> Result<Vec<RemoteCache>, SettingsError> {
        let one = |(number, text): (usize, &String)| {
            Ok(RemoteCache { at: At::parse(text)?, is_written: number < written && !flags.no_push_cache })
        };
        texts.iter().enumerate().map(one).collect()
    };
    let mut all = named(&flags.cache_to, usize::MAX)?;
    all.extend(named(&flags.cache_repo, 1)?);
    let server = cache_server(flags)?.map(|server| At::Registry(server.repository));
    all.extend(server.map(|at| RemoteCache { at, is_written: !flags.no_push_cache }));
    all.extend(named(&flags.cache_from, 0)?);
    if let (true, Some(destination)) = (all.is_empty(), line.output.destination.first()) {
        let at = At::Registry(reference(destination)?.child("cache"));
        all.push(RemoteCache { at, is_written: !flags.no_push_cache });
    }
    Ok(without_repetition(all))
}

/// One that is named twice is read where it comes first, and written if either says so.
fn without_repetition(all: Vec<RemoteCache>) -> Vec<RemoteCache> {
    let mut once: Vec<RemoteCache> = Vec::new();
    for cache in all {
        match once.iter_mut().find(|known| known.at == cache.at) {
            Some(known) => known.is_written |= cache.is_written,
            None => once.push(cache),
        }
    }
    once
}

/// The keys that the flags name.
pub(crate) fn trust(flags: &CacheFlags, env: Environment<'_>) -> Result<Arc<Trust>, SettingsError> {
    let signer = flags.cache_sign_key.as_ref().map(|path| keys::signing_key("--cache-sign-key", path, env));
    let trusted = flags.cache_trusted_key.iter().map(|path| keys::trusted_key("--cache-trusted-key", path));
    Ok(Arc::new(Trust::new(signer.transpose()?, trusted.collect::<Result<_, _>>()?)))
}

/// The local cache with the remote ones behind it, and what keeps directories from being pruned
/// meanwhile. A directory that cannot be opened is a warning.
pub(crate) fn layer_cache(
    line: &CommandLine,
    client: &Client,
    workplace: &Workplace,
    caches: &[RemoteCache],
    trust: &Arc<Trust>,
    observer: &Arc<dyn Observer>,
) -> (TieredCache, Vec<Lease>) {
    let ttl = Some(line.cache.cache_ttl.0);
    let local = |store: &Arc<Store>| {
        LocalCache::new(Arc::clone(store), ttl, Arc::clone(observer)).with_trust(Arc::clone(trust))
    };
    let mut tiered = TieredCache::new(local(&workplace.store), Arc::clone(observer)).with_trust(Arc::clone(trust));
    let mut leases = Vec::new();
    for RemoteCache { at, is_written } in caches {
        match at {
            At::Registry(repository) => {
                let neighbours = caches.iter().filter_map(|cache| cache.at.repository().cloned()).collect();
                let trust = Arc::clone(trust);
                let options = RegistryCacheOptions { ttl, neighbours, trust, ..RegistryCacheOptions::default() };
                let store = Arc::clone(&workplace.store);
                let cache =
                    RegistryCache::new(client.clone(), repository.clone(), store, options, Arc::clone(observer));
                tiered = tiered.with_remote(Arc::new(cache), *is_written);
            }
            At::Layout(path) => match open_layout(path, *is_written) {
                Ok(store) => {
                    leases.extend(store.declare_build());
                    let is_written = *is_written && store.is_writable();
                    let cache = LayoutCache::new(local(&Arc::new(store)), Arc::clone(&workplace.store));
                    tiered = tiered.with_remote(Arc::new(cache), is_written);
                }
                Err(error) => {
                    let text = format!("cache {} is not used: {}", path.display(), chain(&error));
                    observer.event(Event::Warning(text));
                }
            },
        }
    }
    (tiered, leases)
}

/// The store in a directory, which is made where it is written to.
fn open_layout(path: &Path, is_written: bool) -> Result<Store, StoreError> {
    let access = match is_written {
        true if path.exists() => Access::Auto,
        true => Access::ReadWrite,
        false => Access::ReadOnly,
    };
    Store::open(path, access)
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn caches(arguments: &[&str]) -> Result<Vec<(String, bool)>, SettingsError> {
        let all = [&["executor", "--cache=true", "-d=r.example/app:1"], arguments].concat();
        let matches = crate::flags::command().try_get_matches_from(all).expect("flags");
        let line = CommandLine::from_arg_matches(&matches).expect("flags");
        let name = |at: At| match at {
            At::Registry(reference) => reference.name(),
            At::Layout(path) => format!("oci:{}", path.display()),
        };
        Ok(remote_caches(&line)?.into_iter().map(|cache| (name(cache.at), cache.is_written)).collect())
    }

    fn expected(list: &[(&str, bool)]) -> Vec<(String, bool)> {
        list.iter().map(|(name, written)| ((*name).to_owned(), *written)).collect()
    }

    #[test]
    fn many_are_read_and_the_first_is_written() {
        for (arguments, list) in [
            (&[][..], &[("r.example/app/cache", true)][..]),
            (&["--no-push-cache"], &[("r.example/app/cache", false)]),
            (&["--cache-repo=r.example/a", "--cache-repo=oci:/b"], &[("r.example/a", true), ("oci:/b", false)]),
            (&["--cache-server=http://s.example:5000"], &[("s.example:5000/cache", true)]),
            (&["--cache-from=r.example/main"], &[("r.example/main", false)]),
            (
                &["--cache-from=r.example/main", "--cache-from=r.example/mine", "--cache-to=r.example/mine"],
                &[("r.example/mine", true), ("r.example/main", false)],
            ),
        ] {
            assert_eq!(caches(arguments).expect("valid"), expected(list), "{arguments:?}");
        }
        for wrong in ["--cache-from=type=registry,ref=a/b", "--cache-repo=oci:", "--cache-to=UPPER CASE"] {
            assert!(matches!(caches(&[wrong]), Err(SettingsError::Usage(_))), "{wrong}");
        }
    }
}
