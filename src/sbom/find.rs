use std::collections::BTreeSet;

use super::Ecosystem;
use crate::layer::{Content, EntryPath};
use crate::view::{LastLink, NodeKind, View};

/// Most files that are read.
const MAX_FILES: usize = 20_000;
/// Longest database of a distribution that is read, in bytes.
const MAX_DATABASE: u64 = 128 << 20;
/// Longest lock file.
const MAX_LOCK: u64 = 16 << 20;
/// Longest metadata of one package.
const MAX_METADATA: u64 = 512 << 10;
/// All together.
const MAX_TOTAL: u64 = 512 << 20;

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Which distribution it is.
    OsRelease,
    /// dpkg's status, or a file of `status.d`.
    Dpkg,
    /// apk's `installed`.
    Apk,
    /// `rpmdb.sqlite`.
    Rpm,
    /// `package-lock.json`.
    NpmLock,
    /// `package.json` of an installed package.
    NpmPackage,
    /// `METADATA` or `PKG-INFO` of an installed package.
    PythonMetadata,
    /// `requirements.txt`.
    Requirements,
    /// A list of `[[package]]`: `Cargo.lock`, `poetry.lock`, `uv.lock`.
    TomlLock(Ecosystem),
    /// `go.sum`.
    GoSum,
    /// `Gemfile.lock`.
    GemLock,
    /// `composer.lock`, or what composer installed.
    ComposerLock,
}

/// A file worth reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it was found.
    pub path: EntryPath,
    /// Where its bytes are.
    pub content: Content,
    /// Of these, in bytes: bounded.
    pub size: u64,
    /// What is in it.
    pub kind: Kind,
}

/// The files of an image that tell of packages: of the merged tree, so that what a later layer removed or replaced
/// does not count. In the order of their paths.
pub fn wanted(view: &View) -> Vec<Wanted> {
    let mut found: Vec<Wanted> =
        ["etc/os-release", "usr/lib/os-release"].iter().filter_map(|path| os_release(view, path.as_bytes())).collect();
    let mut left = MAX_TOTAL;
    let mut listed: BTreeSet<EntryPath> = BTreeSet::new();
    for (path, node) in view.walk(b"") {
        let (Some(kind), NodeKind::File(file)) = (kind(&path), &node.kind) else { continue };
        let (Some(rest), true) = (left.checked_sub(file.size), file.size <= limit(kind)) else { continue };
        if kind == Kind::NpmPackage && is_listed(&path, &listed) {
            continue;
        }
        if let (Kind::NpmLock, Some(directory)) = (kind, path.strip_suffix(b"/.package-lock.json")) {
            listed.insert(directory.to_vec());
        }
        left = rest;
        found.push(Wanted { path, content: file.content.clone(), size: file.size, kind });
        if found.len() >= MAX_FILES {
            break;
        }
    }
    found
}

/// Often a link.
fn os_release(view: &View, path: &[u8]) -> Option<Wanted> {
    let real = view.resolve(path, LastLink::Follow).ok()?;
    match &view.get(&real)?.kind {
        NodeKind::File(file) if file.size <= limit(Kind::OsRelease) => {
            Some(Wanted { path: real, content: file.content.clone(), size: file.size, kind: Kind::OsRelease })
        }
        _ => None,
    }
}

/// Whether npm's own list in the outermost `node_modules` has the package.
fn is_listed(path: &[u8], listed: &BTreeSet<EntryPath>) -> bool {
    let text = String::from_utf8_lossy(path);
    text.match_indices("node_modules").any(|(at, name)| listed.contains(&path[..at + name.len()]))
}

fn limit(kind: Kind) -> u64 {
    match kind {
        Kind::Dpkg | Kind::Apk | Kind::Rpm => MAX_DATABASE,
        Kind::OsRelease | Kind::NpmPackage | Kind::PythonMetadata => MAX_METADATA,
        _ => MAX_LOCK,
    }
}

/// By its path alone.
fn kind(path: &[u8]) -> Option<Kind> {
    let path = std::str::from_utf8(path).ok()?;
    match path {
        "var/lib/dpkg/status" => return Some(Kind::Dpkg),
        "lib/apk/db/installed" | "usr/lib/apk/db/installed" => return Some(Kind::Apk),
        "var/lib/rpm/rpmdb.sqlite" | "usr/lib/sysimage/rpm/rpmdb.sqlite" | "usr/share/rpm/rpmdb.sqlite" => {
            return Some(Kind::Rpm);
        }
        _ => {}
    }
    if let Some(name) = path.strip_prefix("var/lib/dpkg/status.d/") {
        return (!name.ends_with(".md5sums") && !name.contains('/')).then_some(Kind::Dpkg);
    }
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "package-lock.json" | "npm-shrinkwrap.json" | ".package-lock.json" => Some(Kind::NpmLock),
        "package.json" if is_installed(directory) => Some(Kind::NpmPackage),
        "METADATA" if directory.ends_with(".dist-info") => Some(Kind::PythonMetadata),
        "PKG-INFO" if directory.ends_with(".egg-info") => Some(Kind::PythonMetadata),
        "requirements.txt" => Some(Kind::Requirements),
        "Cargo.lock" => Some(Kind::TomlLock(Ecosystem::Cargo)),
        "poetry.lock" | "uv.lock" => Some(Kind::TomlLock(Ecosystem::Python)),
        "go.sum" => Some(Kind::GoSum),
        "Gemfile.lock" => Some(Kind::GemLock),
        "composer.lock" => Some(Kind::ComposerLock),
        "installed.json" if directory.ends_with("vendor/composer") => Some(Kind::ComposerLock),
        _ => None,
    }
}

/// Whether a directory is that of a package right below a `node_modules`.
fn is_installed(directory: &str) -> bool {
    let Some((_, package)) = directory.rsplit_once("node_modules/") else { return false };
    let scoped = package.starts_with('@');
    package.matches('/').count() == usize::from(scoped)
}
