use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::ops::Bound;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::SandboxError;
use crate::pattern::{Wildcard, has_meta};

/// Paths of a root, `/` being the root itself, that do not belong to the stage: neither they nor
/// anything below them is wiped, written or snapshotted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IgnoreList {
    /// None below another.
    paths: BTreeSet<PathBuf>,
    /// Of paths seen from the root.
    wildcards: Vec<Wildcard>,
}

impl IgnoreList {
    /// Of absolute paths.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut kept = BTreeSet::new();
        for path in paths.into_iter().collect::<BTreeSet<_>>() {
            // Sorted by component: a path comes after those above it.
            if !is_in(&kept, &path) {
                kept.insert(path);
            }
        }
        Self { paths: kept, wildcards: Vec::new() }
    }

    /// With these absolute paths, too. One with `*`, `?` or `[` stands for all that it matches, name by name.
    ///
    /// # Source
    /// Kaniko `pkg/util`, `HasFilepathPrefix`: a pattern that is malformed is a path like others.
    #[must_use]
    pub fn with(&self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        let relative = |path: &PathBuf| path.strip_prefix("/").ok().map(|path| path.as_os_str().as_bytes().to_vec());
        let wildcards = paths.iter().filter_map(relative).filter(|path| has_meta(path));
        let wildcards = wildcards.filter_map(|pattern| Wildcard::new(&pattern).ok());
        let wildcards = self.wildcards.iter().cloned().chain(wildcards).collect();
        Self { wildcards, ..Self::new(self.paths.iter().cloned().chain(paths)) }
    }

    /// Whether `path` or one above it is ignored.
    pub fn contains(&self, path: &Path) -> bool {
        is_in(&self.paths, path) || self.matches(path)
    }

    fn matches(&self, path: &Path) -> bool {
        !self.wildcards.is_empty()
            && path.ancestors().any(|path| self.wildcards.iter().any(|wildcard| wildcard.matches(inside(path))))
    }

    /// Whether something below `path` is ignored, or may be (and `path` itself is not).
    pub fn has_below(&self, path: &Path) -> bool {
        self.has_path_below(path) || self.wildcards.iter().any(|wildcard| wildcard.may_match_below(inside(path)))
    }

    fn has_path_below(&self, path: &Path) -> bool {
        let after = (Bound::Excluded(path), Bound::Unbounded);
        self.paths.range::<Path, _>(after).next().is_some_and(|next| next.starts_with(path))
    }

    /// The ignored paths, sorted; without those that only a wildcard names.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path)
    }
}

/// Seen from the root.
fn inside(path: &Path) -> &[u8] {
    let path = path.as_os_str().as_bytes();
    path.strip_prefix(b"/").unwrap_or(path)
}

fn is_in(paths: &BTreeSet<PathBuf>, path: &Path) -> bool {
    !paths.is_empty() && path.ancestors().any(|path| paths.contains(path))
}

/// What does not belong to the stage when it is built in place: the executor's directory,
/// `/proc`, `/sys`, `/dev`, every mount point but the root, `/var/run` when `var_run`, and `extra`.
///
/// # Errors
/// The mount table cannot be read.
pub fn ignore_list(executor_dir: &Path, var_run: bool, extra: &[PathBuf]) -> Result<IgnoreList, SandboxError> {
    let fixed = ["/proc", "/sys", "/dev"].into_iter().chain(var_run.then_some("/var/run")).map(PathBuf::from);
    let paths = mount_table()?.into_iter().filter(|path| path != Path::new("/"));
    Ok(IgnoreList::new(fixed.chain(paths).chain([executor_dir.to_owned()])).with(extra.iter().cloned()))
}

/// Where something is mounted.
pub(super) fn mount_table() -> Result<Vec<PathBuf>, SandboxError> {
    let what = || "read /proc/self/mountinfo".to_owned();
    Ok(mount_points(&fs::read("/proc/self/mountinfo").map_err(SandboxError::setup(what))?).collect())
}

/// The fifth field of each line.
fn mount_points(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    let fields = table.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4));
    fields.map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
}

/// Undoes `\ooo`, as the kernel writes blanks, tabs, newlines and backslashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// Removes everything in `root` but what is ignored and the directories on the way to it.
///
/// # Errors
/// Something could not be removed; the rest may be there still.
pub fn wipe(root: &Path, ignore: &IgnoreList) -> Result<(), SandboxError> {
    wipe_below(root, Path::new("/"), ignore)
}

/// `path` is that of `directory`, seen from the root.
fn wipe_below(directory: &Path, path: &Path, ignore: &IgnoreList) -> Result<(), SandboxError> {
    let list = || format!("list {}", directory.display());
    for entry in fs::read_dir(directory).map_err(SandboxError::setup(list))? {
        let entry = entry.map_err(SandboxError::setup(list))?;
        let path = path.join(entry.file_name());
        if ignore.contains(&path) {
            continue;
        }
        if ignore.has_below(&path) && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            wipe_below(&entry.path(), &path, ignore)?;
            if !ignore.has_path_below(&path) {
                // Not empty where a wildcard matched.
                let _ = fs::remove_dir(entry.path());
            }
            continue;
        }
        let what = || format!("remove {}", entry.path().display());
        remove(&entry).map_err(SandboxError::setup(what))?;
    }
    Ok(())
}

fn remove(entry: &fs::DirEntry) -> io::Result<()> {
    if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(paths: &[&str]) -> IgnoreList {
        IgnoreList::new(paths.iter().map(PathBuf::from))
    }

    #[test]
    fn paths_above_and_below() {
        let ignore = list(&["/kaniko", "/etc/hosts", "/kaniko/x", "/a b"]);
        assert_eq!(ignore.paths().count(), 3);
        assert!(ignore.contains(Path::new("/kaniko")) && ignore.contains(Path::new("/kaniko/x/y")));
        assert!(!ignore.contains(Path::new("/kaniko2")) && !ignore.contains(Path::new("/etc")));
        assert!(ignore.has_below(Path::new("/etc")) && ignore.has_below(Path::new("/")));
        assert!(!ignore.has_below(Path::new("/et")) && !ignore.has_below(Path::new("/usr")));
        assert!(!IgnoreList::default().has_below(Path::new("/")));
    }

    #[test]
    fn wildcards_are_matched_name_by_name() {
        let ignore = list(&["/kaniko"]).with(["/var/*/cache", "/opt/[x", "/root/.n?m"].map(PathBuf::from));
        for ignored in ["/var/lib/cache", "/var/lib/cache/a/b", "/opt/[x/y", "/root/.npm", "/kaniko/x"] {
            assert!(ignore.contains(Path::new(ignored)), "{ignored}");
        }
        for other in ["/var/cache", "/var/lib/apt/cache", "/var/lib", "/opt/x", "/root/.nppm"] {
            assert!(!ignore.contains(Path::new(other)), "{other}");
        }
        assert!(["/", "/var", "/var/lib", "/root"].into_iter().all(|path| ignore.has_below(Path::new(path))));
        assert!(!ignore.has_below(Path::new("/usr")) && !ignore.has_below(Path::new("/var/lib/x")));
        let more = ignore.with([PathBuf::from("/more")]);
        assert!(more.contains(Path::new("/var/a/cache")) && more.contains(Path::new("/more/x")));
    }

    #[test]
    fn mount_table_with_blanks() {
        let table = b"22 27 0:21 / /proc rw - proc proc rw\n23 27 0:22 / /a\\040b rw - sysfs s rw\n\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [PathBuf::from("/proc"), PathBuf::from("/a b")]);
    }

    #[test]
    fn the_real_table_and_the_fixed_paths() {
        let ignore = ignore_list(Path::new("/kaniko"), true, &["/extra".into()]).unwrap();
        for path in ["/proc/1", "/sys", "/dev/null", "/kaniko/executor", "/var/run/x", "/extra"] {
            assert!(ignore.contains(Path::new(path)), "{path}");
        }
        assert!(!ignore.contains(Path::new("/")));
    }

    #[test]
    fn wipe_keeps_the_ignored_and_the_way_to_it() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        };
        ["etc/hosts", "etc/passwd", "usr/bin/x", "kaniko/executor", "var/run/a", "var/b", "c"]
            .into_iter()
            .for_each(make);
        std::os::unix::fs::symlink("/kaniko", root.path().join("link")).unwrap();
        make("opt/one/cache/x");
        make("opt/two/other");
        let ignore = list(&["/etc/hosts", "/kaniko", "/var/run", "/missing/x"]).with([PathBuf::from("/opt/*/cache")]);
        wipe(root.path(), &ignore).unwrap();
        let mut left: Vec<_> = walk(root.path(), root.path());
        left.sort();
        let kept = ["opt", "opt/one", "opt/one/cache", "opt/one/cache/x"];
        let kept = [&["etc", "etc/hosts", "kaniko", "kaniko/executor"], &kept[..], &["var", "var/run", "var/run/a"]];
        assert_eq!(left, kept.concat());
    }

    fn walk(root: &Path, directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| {
                let below = if path.is_dir() { walk(root, &path) } else { Vec::new() };
                std::iter::once(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()).chain(below)
            })
            .collect()
    }
}
