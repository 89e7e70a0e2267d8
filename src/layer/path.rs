use super::EntryPath;

/// Longest path of a member and longest link target, bytes; as the kernel's limit.
pub(crate) const MAX_PATH: usize = 4096;

/// Why a name is no path of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Its `..` lead out of the archive.
    #[error("the path leads out of the archive with `..`")]
    Parent,
    /// It has a NUL byte.
    #[error("the path has a NUL byte")]
    Nul,
    /// More than 4096 bytes.
    #[error("the path is longer than {MAX_PATH} bytes")]
    Length,
    /// It names the root, or what a whiteout would remove has no name.
    #[error("the path has no name")]
    Empty,
}

/// The path that an archive means by `name`: absolute names made relative, `.` and empty
/// components dropped, `..` taken off with the name before it. The root gives the empty path.
pub(super) fn clean(name: &[u8]) -> Result<EntryPath, PathError> {
    let mut path = EntryPath::with_capacity(name.len().min(MAX_PATH));
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => {
                let parent = split(&path).ok_or(PathError::Parent)?.0.len();
                path.truncate(parent);
            }
            component if component.contains(&0) => return Err(PathError::Nul),
            component => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
            }
        }
        if path.len() > MAX_PATH {
            return Err(PathError::Length);
        }
    }
    Ok(path)
}

/// Checks that `path` has the form of [`EntryPath`].
pub(super) fn check(path: &[u8]) -> Result<(), PathError> {
    // Comparing with the cleaned form costs an allocation, and cannot disagree with it.
    if clean(path)? == path { Ok(()) } else { Err(PathError::Empty) }
}

/// The path of the directory and the name in it; `None` for the root.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    let slash = path.iter().rposition(|byte| *byte == b'/');
    Some(slash.map_or((b"", path), |at| (&path[..at], &path[at + 1..])))
}

/// The path of `name` in `directory`.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> EntryPath {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_relative_paths() {
        for (name, path) in [
            ("", ""),
            ("/", ""),
            ("./", ""),
            ("./a//b/", "a/b"),
            ("/etc/./x", "etc/x"),
            ("...", "..."),
            ("a/../b", "b"),
            ("a/b/../..", ""),
            ("a/./b/../c", "a/c"),
        ] {
            assert_eq!(clean(name.as_bytes()), Ok(path.into()), "{name}");
        }
        for name in ["..", "../a", "/..", "a/../..", "a/../../b"] {
            assert_eq!(clean(name.as_bytes()), Err(PathError::Parent), "{name}");
        }
        assert_eq!(clean(b"a\0b"), Err(PathError::Nul));
        assert_eq!(clean(&[b'a'; MAX_PATH + 1]), Err(PathError::Length));
        assert_eq!(clean(&[b'/'; MAX_PATH + 1]), Ok(vec![]));
    }

    #[test]
    fn only_clean_paths_pass() {
        assert_eq!(check(b"a/b"), Ok(()));
        assert_eq!(check(b""), Ok(()));
        for path in ["/a", "a/", "a//b", "./a", "a/.."] {
            assert!(check(path.as_bytes()).is_err(), "{path}");
        }
    }
}
