//! Which sources of ADD are not files of the context.

use super::CopySource;

/// `source` as what it names: a git repository, a URL, or else a path.
///
/// # Source
/// BuildKit, `dfgitutil.ParseGitRef` and `isHTTPSource`; `github.com/…` without a scheme is a path.
pub(super) fn classify(source: &str) -> CopySource {
    if is_git(source) {
        CopySource::Git(source.to_owned())
    } else if source.starts_with("http://") || source.starts_with("https://") {
        CopySource::Url(source.to_owned())
    } else {
        CopySource::Path(source.to_owned())
    }
}

fn is_git(source: &str) -> bool {
    match scheme(source) {
        Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
            "git" | "ssh" => true,
            "http" | "https" => url_path(rest).ends_with(".git"),
            _ => false,
        },
        None => is_scp_style(source),
    }
}

/// The scheme and what follows `://`.
fn scheme(source: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = source.split_once("://")?;
    (!scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric())).then_some((scheme, rest))
}

/// The path of a URL, given what follows its `://`.
fn url_path(rest: &str) -> &str {
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    rest.find('/').map_or("", |slash| &rest[slash..])
}

/// `user@host:path`.
fn is_scp_style(source: &str) -> bool {
    let Some((user, rest)) = source.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let word = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    word(user, b"-_") && word(host, b"-.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_url_or_path() {
        for git in [
            "git://h/r",
            "ssh://git@h/r",
            "git@github.com:a/b",
            "https://h/r.git",
            "HTTPS://h/r.git",
            "http://h/r.git#tag:sub",
            "https://h/r.git?ref=x",
        ] {
            assert_eq!(classify(git), CopySource::Git(git.into()));
        }
        for url in ["https://h/r.git/", "http://h/f?q=.git", "https://h.git", "https://h/", "http://h/a#x.git"] {
            assert_eq!(classify(url), CopySource::Url(url.into()));
        }
        for path in ["github.com/a/b", "ftp://h/f", "a@b", "a b@c:d", "./git@h:r", "HTTP://h/f", "a/b", ""] {
            assert_eq!(classify(path), CopySource::Path(path.into()));
        }
    }
}
