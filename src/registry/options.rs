//! What the caller chose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::error::Fault;
use super::origin::Origin;
use super::proxy::ProxySettings;
use crate::image::Reference;

/// What a request is for; the flags treat the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Base images and images named by `COPY --from`; mirrors apply.
    Pull,
    /// Destinations and the cache repository, reading it included.
    Push,
}

/// Settings of a [`super::Client`]. Hosts are written `host` or `host:port`.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Plain HTTP for [`Purpose::Push`].
    pub insecure: bool,
    /// Plain HTTP for [`Purpose::Pull`].
    pub insecure_pull: bool,
    /// Hosts spoken to in plain HTTP, for both purposes.
    pub insecure_registries: BTreeSet<String>,
    /// Accept any certificate, for both purposes.
    pub skip_tls_verify: bool,
    /// Accept any certificate for [`Purpose::Pull`].
    pub skip_tls_verify_pull: bool,
    /// Hosts whose certificate is not checked.
    pub skip_tls_verify_registries: BTreeSet<String>,
    /// Host to a PEM file trusted for that host, beside the system's roots.
    pub registry_certificates: BTreeMap<String, PathBuf>,
    /// Host to the PEM files of a client certificate chain and its key.
    pub registry_client_certs: BTreeMap<String, (PathBuf, PathBuf)>,
    /// PEM files, or folders of them, trusted for every host.
    pub extra_certificates: Vec<PathBuf>,
    /// Host to the `host[/prefix]` list that is asked before it, in order; pulls only.
    /// Docker Hub may be written `docker.io` or `index.docker.io`.
    pub maps: BTreeMap<String, Vec<String>>,
    /// Do not ask the original registry when it has an entry in `maps` and none of those delivers.
    pub skip_default_registry_fallback: bool,
    /// Extra tries of a request that failed in a way that may pass.
    pub retries: u32,
    /// Sent with every request.
    pub user_agent: String,
    /// HTTP proxies.
    pub proxy: ProxySettings,
    /// Upload blobs in requests of this many bytes, for proxies that limit them; `None` sends a
    /// blob in one request and falls back to chunks when that is answered 413.
    pub chunk_bytes: Option<u64>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            insecure: false,
            insecure_pull: false,
            insecure_registries: BTreeSet::new(),
            skip_tls_verify: false,
            skip_tls_verify_pull: false,
            skip_tls_verify_registries: BTreeSet::new(),
            registry_certificates: BTreeMap::new(),
            registry_client_certs: BTreeMap::new(),
            extra_certificates: Vec::new(),
            maps: BTreeMap::new(),
            skip_default_registry_fallback: false,
            retries: 3,
            user_agent: concat!("yadokari/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxy: ProxySettings::default(),
            chunk_bytes: None,
        }
    }
}

impl ClientOptions {
    /// Whether plain HTTP was asked for.
    pub(super) fn is_insecure(&self, origin: &Origin, purpose: Purpose) -> bool {
        let all = match purpose {
            Purpose::Pull => self.insecure_pull,
            Purpose::Push => self.insecure,
        };
        all || contains(&self.insecure_registries, origin)
    }

    /// Whether any certificate is accepted.
    pub(super) fn skips_verification(&self, origin: &Origin, purpose: Purpose) -> bool {
        self.skip_tls_verify
            || (self.skip_tls_verify_pull && purpose == Purpose::Pull)
            || contains(&self.skip_tls_verify_registries, origin)
    }

    /// Whether the caller said something about this host's certificate, so that it must have one.
    pub(super) fn has_tls_settings(&self, origin: &Origin) -> bool {
        let named = |name: &String| {
            self.registry_certificates.contains_key(name)
                || self.registry_client_certs.contains_key(name)
                || self.skip_tls_verify_registries.contains(name)
        };
        origin.names().iter().any(named) && !contains(&self.insecure_registries, origin)
    }

    /// Where to ask for `reference`, best first; never empty.
    ///
    /// # Errors
    /// [`Fault::Configuration`] for a map target that is no `host[/prefix]`.
    pub(super) fn places(&self, reference: &Reference, purpose: Purpose) -> Result<Vec<Reference>, Fault> {
        let targets = match purpose {
            Purpose::Pull => self.targets(reference.registry()),
            Purpose::Push => &[],
        };
        let mut places = targets.iter().map(|target| mapped(reference, target)).collect::<Result<Vec<_>, _>>()?;
        if places.is_empty() || !self.skip_default_registry_fallback {
            places.push(reference.clone());
        }
        Ok(places)
    }

    /// Reads every map target once.
    ///
    /// # Errors
    /// [`Fault::Configuration`].
    pub(super) fn check_maps(&self, any: &Reference) -> Result<(), Fault> {
        self.maps.values().flatten().try_for_each(|target| mapped(any, target).map(drop))
    }

    fn targets(&self, registry: &str) -> &[String] {
        let aliases: &[&str] = match registry {
            "docker.io" => &["docker.io", "index.docker.io", "registry-1.docker.io"],
            other => &[other],
        };
        aliases.iter().find_map(|alias| self.maps.get(*alias)).map_or(&[], Vec::as_slice)
    }
}

/// `reference` below `target`, which is `[https://]host[:port][/prefix]`; a bare word is a host here.
fn mapped(reference: &Reference, target: &str) -> Result<Reference, Fault> {
    let target = target.strip_prefix("https://").unwrap_or(target).trim_end_matches('/');
    let (host, prefix) = target.split_once('/').map_or((target, None), |(host, prefix)| (host, Some(prefix)));
    // Reference would read a bare word as a part of a Docker Hub name.
    let port = if host.contains(['.', ':']) || host == "localhost" { "" } else { ":443" };
    let prefix = prefix.map(|prefix| format!("{prefix}/")).unwrap_or_default();
    let mut text = format!("{host}{port}/{prefix}{}", reference.repository());
    if let Some(tag) = reference.tag() {
        text.push_str(&format!(":{tag}"));
    }
    if let Some(digest) = reference.digest() {
        text.push_str(&format!("@{digest}"));
    }
    text.parse().map_err(|error| Fault::Configuration(format!("registry map target {target:?} is unusable: {error}")))
}

fn contains(hosts: &BTreeSet<String>, origin: &Origin) -> bool {
    !hosts.is_empty() && origin.names().iter().any(|name| hosts.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(options: &ClientOptions, image: &str, purpose: Purpose) -> Vec<String> {
        let found = options.places(&image.parse().expect(image), purpose).expect("valid map");
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn mirrors_come_first_for_pulls_only() {
        let mut options = ClientOptions::default();
        options.maps.insert("index.docker.io".into(), vec!["mirror.example/hub".into(), "10.0.0.1:5000".into()]);
        let original = "docker.io/library/alpine:3";
        let mirrors = ["mirror.example/hub/library/alpine:3", "10.0.0.1:5000/library/alpine:3"];
        assert_eq!(places(&options, "alpine:3", Purpose::Pull), [mirrors[0], mirrors[1], original]);
        assert_eq!(places(&options, "alpine:3", Purpose::Push), [original]);
        assert_eq!(places(&options, "ghcr.io/a:1", Purpose::Pull), ["ghcr.io/a:1"]);
        options.skip_default_registry_fallback = true;
        assert_eq!(places(&options, "alpine:3", Purpose::Pull), mirrors);
        assert_eq!(places(&options, "ghcr.io/a:1", Purpose::Pull), ["ghcr.io/a:1"]);
    }

    #[test]
    fn a_bare_word_is_a_host_in_a_map() {
        let mut options = ClientOptions { skip_default_registry_fallback: true, ..ClientOptions::default() };
        options.maps.insert("docker.io".into(), vec!["mirror".into()]);
        assert_eq!(places(&options, "alpine", Purpose::Pull), ["mirror:443/library/alpine:latest"]);
        options.maps.insert("docker.io".into(), vec!["http://bad".into()]);
        assert!(options.places(&"alpine".parse().expect("valid"), Purpose::Pull).is_err());
    }

    #[test]
    fn insecure_hosts_match_whole_names() {
        let origin = |registry: &str| Origin::of_registry(registry, true).expect(registry).0;
        let mut options = ClientOptions::default();
        options.insecure_registries.insert("reg.example".into());
        options.insecure_registries.insert("reg.example:5000".into());
        for (registry, insecure) in
            [("reg.example", true), ("reg.example:5000", true), ("reg.example:5001", false), ("a.reg.example", false)]
        {
            assert_eq!(options.is_insecure(&origin(registry), Purpose::Pull), insecure, "{registry}");
        }
        options.insecure = true;
        assert!(options.is_insecure(&origin("any.example"), Purpose::Push));
        assert!(!options.is_insecure(&origin("any.example"), Purpose::Pull));
    }
}
