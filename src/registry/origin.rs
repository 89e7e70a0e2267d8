//! Origins, and the rules about where a server may send us.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

use url::{Host, Url};

use super::error::Fault;

/// Scheme, host and port; what credentials are bound to.
///
/// # Source
/// RFC 6454.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Origin {
    https: bool,
    /// As the URL writes it: IPv6 in brackets, names in lower case.
    host: String,
    port: u16,
}

/// How far inside a network an address literal lies, by name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Named,
    Public,
    Private,
    LinkLocal,
    Loopback,
}

impl Origin {
    /// The origin of an http or https URL without user information.
    pub(super) fn of(url: &Url) -> Option<Self> {
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        Some(Self { https, host: url.host_str()?.to_owned(), port: url.port_or_known_default()? })
    }

    /// The origin and the base URL of a registry named `host[:port]`.
    pub(super) fn of_registry(registry: &str, https: bool) -> Option<(Self, Url)> {
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let scheme = if https { "https" } else { "http" };
        let url = Url::parse(&format!("{scheme}://{host}/")).ok()?;
        Some((Self::of(&url)?, url))
    }

    pub(super) fn is_https(&self) -> bool {
        self.https
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// `host`, with the port when it is not the scheme's own.
    pub(super) fn authority(&self) -> String {
        if self.port == self.default_port() {
            return self.host.clone();
        }
        format!("{}:{}", self.host, self.port)
    }

    /// Every way a user may have written this host in an option.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = vec![format!("{}:{}", self.host, self.port)];
        if self.port == self.default_port() {
            names.push(self.host.clone());
        }
        if self.host == "registry-1.docker.io" {
            names.extend(["docker.io".to_owned(), "index.docker.io".to_owned()]);
        }
        names
    }

    /// Whether this is this machine, by name or literal.
    pub(super) fn is_loopback(&self) -> bool {
        self.reach() == Reach::Loopback
    }

    /// Whether this is a host of a local network, by name or literal: RFC 1918, `*.local` (a cluster's services are),
    /// `*.localhost`.
    ///
    /// # Source
    /// go-containerregistry, `name.Registry.Scheme`.
    pub(super) fn is_local(&self) -> bool {
        match Host::parse(&self.host) {
            Ok(Host::Ipv4(address)) => address.is_private() || address.is_loopback(),
            Ok(Host::Domain(name)) => name.ends_with(".local") || of_name(&name) == Reach::Loopback,
            Ok(Host::Ipv6(address)) => address.is_loopback(),
            Err(_) => false,
        }
    }

    /// Where `location`, sent by a server at `self` in answer to a request for `base`, leads.
    ///
    /// A registry behind a TLS proxy that forgets about the proxy names itself with http: that is
    /// read as https.
    ///
    /// # Errors
    /// [`Fault::Malformed`], and [`Fault::Forbidden`] for a place that we must not be sent to.
    pub(super) fn destination(&self, base: &Url, location: &str) -> Result<(Self, Url), Fault> {
        let malformed = || Fault::Malformed { origin: self.to_string(), reason: "unusable location".to_owned() };
        let mut url = base.join(location).map_err(|_| malformed())?;
        let mut target = Self::of(&url).ok_or_else(malformed)?;
        if self.https && !target.https && self.host == target.host && [80, self.port].contains(&target.port) {
            url.set_scheme("https").map_err(|()| malformed())?;
            url.set_port(Some(self.port)).map_err(|()| malformed())?;
            target = self.clone();
        }
        self.may_send_to(&target, &url)?;
        Ok((target, url))
    }

    /// Checks that a server at `self` may send us to `target`: not from https to http, and not
    /// from outside into a private network.
    ///
    /// # Errors
    /// [`Fault::Forbidden`].
    fn may_send_to(&self, target: &Origin, url: &Url) -> Result<(), Fault> {
        let refuse = |reason| {
            let target = format!("{}{}", target, url.path());
            Err(Fault::Forbidden { origin: self.to_string(), target, reason })
        };
        if self.https && !target.https {
            return refuse("it leads from https to plain http");
        }
        if self.host == target.host {
            return Ok(());
        }
        match target.reach() {
            Reach::Named | Reach::Public => Ok(()),
            Reach::Loopback if self.reach() == Reach::Loopback => Ok(()),
            Reach::Private if self.is_inside() => Ok(()),
            Reach::Loopback => refuse("it is a loopback address"),
            Reach::LinkLocal => refuse("it is a link-local address"),
            Reach::Private => refuse("it is a private address"),
        }
    }

    /// Whether this host lies in a private network; a name is looked up.
    fn is_inside(&self) -> bool {
        match self.reach() {
            Reach::Loopback | Reach::Private => true,
            Reach::LinkLocal | Reach::Public => false,
            Reach::Named => (self.host.as_str(), self.port)
                .to_socket_addrs()
                .is_ok_and(|mut found| found.any(|a| matches!(of_address(a.ip()), Reach::Private | Reach::Loopback))),
        }
    }

    fn reach(&self) -> Reach {
        match Host::parse(&self.host) {
            Ok(Host::Ipv4(address)) => of_address(address.into()),
            Ok(Host::Ipv6(address)) => of_address(address.into()),
            Ok(Host::Domain(name)) => of_name(&name),
            Err(_) => Reach::Named,
        }
    }

    fn default_port(&self) -> u16 {
        if self.https { 443 } else { 80 }
    }
}

fn of_name(name: &str) -> Reach {
    let name = name.trim_end_matches('.');
    if name == "localhost" || name.ends_with(".localhost") { Reach::Loopback } else { Reach::Named }
}

fn of_address(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(v4) => of_v4(v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => of_v4(v4),
            None if v6.is_loopback() || v6.is_unspecified() => Reach::Loopback,
            None if v6.is_unicast_link_local() => Reach::LinkLocal,
            None if v6.is_unique_local() => Reach::Private,
            None => Reach::Public,
        },
    }
}

fn of_v4(address: Ipv4Addr) -> Reach {
    let [a, b, ..] = address.octets();
    if address.is_loopback() || a == 0 {
        Reach::Loopback
    } else if address.is_link_local() {
        Reach::LinkLocal
    } else if address.is_private() || (a == 100 && (64..128).contains(&b)) {
        Reach::Private
    } else {
        Reach::Public
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.https { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Origin, Url) {
        let url = Url::parse(text).expect(text);
        (Origin::of(&url).expect(text), url)
    }

    #[test]
    fn loopback_is_anchored() {
        for (url, loopback) in [
            ("http://127.0.0.1:5000/", true),
            ("http://127.1/", true),
            ("http://[::1]:5000/", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://localhost:1/", true),
            ("http://a.localhost/", true),
            ("http://127.0.0.1.evil.example/", false),
            ("http://localhost.evil.example/", false),
            ("http://notlocalhost/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(parse(url).0.is_loopback(), loopback, "{url}");
        }
    }

    #[test]
    fn local_networks_are_anchored() {
        for (url, local) in [
            ("http://10.0.0.1:5000/", true),
            ("http://192.168.1.2/", true),
            ("http://172.31.0.1/", true),
            ("http://registry.kube-system.svc.cluster.local:5000/", true),
            ("http://a.localhost/", true),
            ("http://172.32.0.1/", false),
            ("http://10.0.0.1.evil.example/", false),
            ("http://registry.local.evil.example/", false),
            ("http://registrylocal/", false),
            ("http://registry/", false),
            ("http://100.64.0.1/", false),
            ("http://169.254.169.254/", false),
        ] {
            assert_eq!(parse(url).0.is_local(), local, "{url}");
        }
    }

    #[test]
    fn servers_outside_cannot_send_us_inside() {
        for (from, to, allowed) in [
            ("https://8.8.8.8", "https://1.1.1.1/x", true),
            ("https://8.8.8.8", "https://cdn.example/x", true),
            ("https://8.8.8.8", "http://cdn.example/x", false),
            ("https://8.8.8.8", "https://10.0.0.1/x", false),
            ("https://8.8.8.8", "https://169.254.169.254/latest", false),
            ("https://8.8.8.8", "https://127.0.0.1/x", false),
            ("https://8.8.8.8", "https://[::1]/x", false),
            ("https://8.8.8.8", "https://[fd00::1]/x", false),
            ("https://8.8.8.8", "https://0x7f000001/x", false),
            ("http://10.0.0.1:5000", "http://10.0.0.2:9000/x", true),
            ("http://10.0.0.1:5000", "http://127.0.0.1/x", false),
            ("http://127.0.0.1:1", "http://127.0.0.1:2/x", true),
            ("http://127.0.0.1:1", "http://10.0.0.1/x", true),
        ] {
            let ((from_origin, _), (target, url)) = (parse(from), parse(to));
            assert_eq!(from_origin.may_send_to(&target, &url).is_ok(), allowed, "{from} -> {to}");
        }
    }

    #[test]
    fn a_forgotten_tls_proxy_is_mended() {
        let (origin, base) = parse("https://r.example/v2/x/blobs/uploads/");
        let to = |location: &str| origin.destination(&base, location).map(|(_, url)| url.to_string()).ok();
        assert_eq!(to("http://r.example/u?a=b").as_deref(), Some("https://r.example/u?a=b"));
        assert_eq!(to("http://r.example:443/u").as_deref(), Some("https://r.example/u"));
        assert_eq!(to("/u?_state=1").as_deref(), Some("https://r.example/u?_state=1"));
        assert_eq!(to("http://other.example/u"), None);
        assert_eq!(to("https://user:password@r.example/u"), None);
        assert_eq!(to("file:///etc/passwd"), None);
    }

    #[test]
    fn urls_with_user_information_have_no_origin() {
        assert_eq!(Origin::of(&Url::parse("https://a:b@c/").expect("url")), None);
        assert_eq!(Origin::of(&Url::parse("ftp://c/").expect("url")), None);
    }
}
