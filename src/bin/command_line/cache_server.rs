//! `--cache-server`: a cache repository on a server that knows more than a registry.

use yadokari::image::Reference;

use super::settings::{SettingsError, usage};

/// Where the cache-server keeps records, unless its address says otherwise.
const REPOSITORY: &str = "cache";

/// What `--cache-server` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheServer {
    pub(crate) repository: Reference,
    /// The address starts with `http://`.
    pub(crate) is_plain: bool,
}

/// Reads `[http[s]://]HOST[:PORT][/REPOSITORY]`.
///
/// # Errors
/// Wrong usage.
pub(crate) fn read(text: &str) -> Result<CacheServer, SettingsError> {
    parse(text)
        .ok_or_else(|| usage(format!("invalid --cache-server {text:?}: expected http[s]://HOST[:PORT][/REPOSITORY]")))
}

fn parse(text: &str) -> Option<CacheServer> {
    let (is_plain, address) = match text.split_once("://") {
        None => (false, text),
        Some(("https", rest)) => (false, rest),
        Some(("http", rest)) => (true, rest),
        Some(_) => return None,
    };
    let (host, path) =
        address.trim_end_matches('/').split_once('/').unwrap_or((address.trim_end_matches('/'), REPOSITORY));
    let repository: Reference = format!("{host}/{path}").parse().ok()?;
    // What looks like no host became a name on Docker Hub.
    (repository.registry() == host && repository.digest().is_none()).then_some(CacheServer { repository, is_plain })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_host_and_perhaps_a_repository() {
        for (text, name, is_plain) in [
            ("http://127.0.0.1:5000", "127.0.0.1:5000/cache", true),
            ("https://cache.example/", "cache.example/cache", false),
            ("cache.example:5000/team/a", "cache.example:5000/team/a", false),
        ] {
            let server = parse(text).expect(text);
            assert_eq!((server.repository.name().as_str(), server.is_plain), (name, is_plain), "{text}");
        }
        for bad in ["ftp://cache.example", "cache", "http://", "https://cache.example/A", "http://u@h:1/x"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
