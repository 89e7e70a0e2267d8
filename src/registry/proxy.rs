//! HTTP proxies, chosen by scheme and host.

use std::fmt;
use std::net::IpAddr;

use ureq::{Proxy, ProxyProtocol};

use super::error::Fault;
use super::origin::Origin;

/// Proxy URLs and the hosts that bypass them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// Proxy for plain HTTP, `http://[user:password@]host[:port]`.
    pub http: Option<String>,
    /// Proxy for HTTPS (by CONNECT).
    pub https: Option<String>,
    /// Comma-separated: `*`, `host`, `.suffix`, an address, a CIDR block, each with an optional
    /// `:port`. Loopback always bypasses.
    pub no_proxy: String,
}

impl ProxySettings {
    /// Reads the customary environment variables through `lookup`, upper case first.
    /// `ALL_PROXY` stands in for a missing one.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| {
            let value = lookup(name).filter(|v| !v.is_empty());
            value.or_else(|| lookup(&name.to_lowercase()).filter(|v| !v.is_empty()))
        };
        Self {
            http: get("HTTP_PROXY").or_else(|| get("ALL_PROXY")),
            https: get("HTTPS_PROXY").or_else(|| get("ALL_PROXY")),
            no_proxy: get("NO_PROXY").unwrap_or_default(),
        }
    }

    /// The proxy that leads to `origin`.
    ///
    /// # Errors
    /// [`Fault::Configuration`] for a URL that is no HTTP proxy.
    pub(super) fn for_origin(&self, origin: &Origin) -> Result<Option<Proxy>, Fault> {
        let setting = if origin.is_https() { &self.https } else { &self.http };
        let Some(setting) = setting else { return Ok(None) };
        if self.bypasses(origin) {
            return Ok(None);
        }
        let unusable = || Fault::Configuration("the proxy setting is no http or https URL".to_owned());
        let proxy = Proxy::new(setting).map_err(|_| unusable())?;
        if !matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
            return Err(unusable());
        }
        Ok(Some(proxy))
    }

    fn bypasses(&self, origin: &Origin) -> bool {
        origin.is_loopback() || self.no_proxy.split([',', ' ']).any(|rule| covers(rule.trim(), origin))
    }
}

/// Whether one entry of `NO_PROXY` covers `origin`.
fn covers(rule: &str, origin: &Origin) -> bool {
    if rule.is_empty() {
        return false;
    }
    let host = origin.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    if let Ok(address) = host.parse::<IpAddr>()
        && let Some(inside) = block_contains(rule, address)
    {
        return inside;
    }
    let (name, port) = match rule.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => (name, port.parse::<u16>().ok()),
        _ => (rule, None),
    };
    if port.is_some_and(|port| port != origin.port()) {
        return false;
    }
    let name = name.trim_start_matches("*.").trim_start_matches('.').to_lowercase();
    name == "*" || host == name || host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether `address` lies in `rule`, when `rule` is a CIDR block.
fn block_contains(rule: &str, address: IpAddr) -> Option<bool> {
    let (network, bits) = rule.split_once('/')?;
    let bits: u32 = bits.parse().ok()?;
    match (network.parse().ok()?, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            Some(u32::from(network) & mask == u32::from(address) & mask)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            Some(u128::from(network) & mask == u128::from(address) & mask)
        }
        _ => Some(false),
    }
}

/// Proxy URLs may hold a password.
impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |setting: &Option<String>| setting.as_ref().map(|_| "…");
        f.debug_struct("ProxySettings")
            .field("http", &hidden(&self.http))
            .field("https", &hidden(&self.https))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bypass_rules() {
        let origin = |registry: &str| Origin::of_registry(registry, true).expect(registry).0;
        for (rule, registry, bypassed) in [
            ("*", "a.example", true),
            ("a.example", "a.example", true),
            ("a.example", "b.a.example", true),
            (".a.example", "b.a.example", true),
            ("*.a.example", "b.a.example", true),
            ("a.example", "evila.example", false),
            ("a.example:5000", "a.example:5000", true),
            ("a.example:5000", "a.example", false),
            ("10.0.0.0/8", "10.1.2.3:5000", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("fd00::/8", "[fd00::1]:5000", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("", "a.example", false),
            ("x,,a.example", "a.example", true),
            ("", "127.0.0.1:5000", true),
        ] {
            let settings = ProxySettings { no_proxy: rule.to_owned(), ..ProxySettings::default() };
            assert_eq!(settings.bypasses(&origin(registry)), bypassed, "{rule} {registry}");
        }
    }

    #[test]
    fn lookup_prefers_the_specific_variable() {
        let lookup = |name: &str| match name {
            "https_proxy" => Some("http://s:1".to_owned()),
            "ALL_PROXY" => Some("http://all:1".to_owned()),
            _ => None,
        };
        let settings = ProxySettings::from_lookup(lookup);
        assert_eq!(settings.https.as_deref(), Some("http://s:1"));
        assert_eq!(settings.http.as_deref(), Some("http://all:1"));
        assert_eq!(ProxySettings::from_lookup(|_| None), ProxySettings::default());
    }

    #[test]
    fn passwords_stay_out_of_debug_and_errors() {
        let settings = ProxySettings { https: Some("socks5://u:hunter2@p:1".to_owned()), ..ProxySettings::default() };
        let origin = Origin::of_registry("a.example", true).expect("valid").0;
        let error = settings.for_origin(&origin).expect_err("socks");
        assert!(!format!("{settings:?} {error:?} {error}").contains("hunter2"));
    }
}
