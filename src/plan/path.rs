//! Slash-separated paths by their text alone.

/// `path` below `base`, or `path` itself when absolute; absolute, without `.`, `..`, `//` or a
/// trailing slash. `..` stops at the root.
///
/// # Source
/// Go, `path.Join` and `path.Clean`.
pub(super) fn join(base: &str, path: &str) -> String {
    let base = if path.starts_with('/') { "" } else { base };
    let mut parts = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Like [`join`], with a trailing slash when `path` can only mean a directory: it is empty, `.`,
/// or ends with `/` or `/.`.
pub(super) fn join_destination(base: &str, path: &str) -> String {
    let directory = matches!(path, "" | ".") || path.ends_with('/') || path.ends_with("/.");
    let mut joined = join(base, path);
    if directory && joined != "/" {
        joined.push('/');
    }
    joined
}

/// `path` without `.`, `//` and needless `..`; `.` when nothing is left.
///
/// # Source
/// Go, `path.Clean`.
pub(super) fn clean(path: &str) -> String {
    if path.starts_with('/') {
        return join("", path);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

/// The last component, `.` for none, `/` for the root.
///
/// # Source
/// Go, `path.Base`.
pub(super) fn base_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (trimmed, path) {
        ("", "") => ".",
        ("", _) => "/",
        _ => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_cleaned() {
        for (base, path, joined, destination) in [
            ("/", "", "/", "/"),
            ("/w", "", "/w", "/w/"),
            ("/w", ".", "/w", "/w/"),
            ("/w", "./", "/w", "/w/"),
            ("/w", "a/../b/.", "/w/b", "/w/b/"),
            ("/w", "../../..", "/", "/"),
            ("/w", "/a//b/", "/a/b", "/a/b/"),
            ("w", "x", "/w/x", "/w/x"),
        ] {
            assert_eq!(join(base, path), joined, "{base} {path}");
            assert_eq!(join_destination(base, path), destination, "{base} {path}");
        }
    }

    #[test]
    fn clean_keeps_relative_paths_relative() {
        for (path, cleaned) in [("", "."), ("a/./b/", "a/b"), ("../a/..", ".."), ("/../a", "/a"), ("a/..", ".")] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    #[test]
    fn base_name_is_the_last_component() {
        for (path, name) in [("", "."), ("//", "/"), ("/a/b/", "b"), ("a", "a")] {
            assert_eq!(base_name(path), name, "{path}");
        }
    }
}
