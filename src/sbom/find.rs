use std::collections::{BTreeSet, HashSet};

use super::{Ecosystem, java};
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
/// Of these together.
const MAX_TOTAL: u64 = 512 << 20;
/// Archives and programs together: they are copied out of their layers, and never held in memory.
const MAX_OPAQUE: u64 = 2 << 30;
/// Shortest file that may be a program of Go's, in bytes.
const MIN_PROGRAM: u64 = 1 << 20;

/// Which distribution it is: the first counts.
const RELEASES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Which distribution it is.
    OsRelease,
    /// dpkg's status, or a file of `status.d`.
    Dpkg,
    /// apk's `installed`.
    Apk,
    /// `rpmdb.sqlite`, `Packages` (Berkeley DB) or `Packages.db` (ndb).
    Rpm,
    /// `usr/share/doc/PACKAGE/copyright`.
    Copyright,
    /// `package-lock.json`.
    NpmLock,
    /// `package.json` of an installed package.
    NpmPackage,
    /// `yarn.lock`.
    YarnLock,
    /// `pnpm-lock.yaml`.
    PnpmLock,
    /// `METADATA` or `PKG-INFO` of an installed package.
    PythonMetadata,
    /// `requirements.txt`.
    Requirements,
    /// A list of `[[package]]`: `Cargo.lock`, `poetry.lock`, `uv.lock`.
    TomlLock(Ecosystem),
    /// `go.sum`.
    GoSum,
    /// `go.mod`.
    GoModule,
    /// `Gemfile.lock`.
    GemLock,
    /// `composer.lock`, or what composer installed.
    ComposerLock,
    /// Of Java: `.jar`, `.war`, `.ear`.
    JavaArchive,
    /// An executable file that may hold the build information of Go.
    Program,
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
        RELEASES.iter().filter_map(|path| resolved(view, path.as_bytes(), Kind::OsRelease)).collect();
    let (mut left, mut left_opaque) = (MAX_TOTAL, MAX_OPAQUE);
    let mut listed: BTreeSet<EntryPath> = BTreeSet::new();
    let mut programs: HashSet<Content> = HashSet::new();
    for (path, node) in view.walk(b"") {
        found.extend(copyright(view, &path));
        let NodeKind::File(file) = &node.kind else { continue };
        let Some(kind) = kind(&path).or_else(|| program(&path, node.mode, file.size)) else { continue };
        let left = if limit(kind) == MAX_OPAQUE { &mut left_opaque } else { &mut left };
        let (Some(rest), true) = (left.checked_sub(file.size), file.size <= limit(kind)) else { continue };
        if kind == Kind::NpmPackage && is_listed(&path, &listed) {
            continue;
        }
        // Programs often have many names.
        if kind == Kind::Program && !programs.insert(file.content.clone()) {
            continue;
        }
        if let (Kind::NpmLock, Some(directory)) = (kind, path.strip_suffix(b"/.package-lock.json")) {
            listed.insert(directory.to_vec());
        }
        *left = rest;
        found.push(Wanted { path, content: file.content.clone(), size: file.size, kind });
        if found.len() >= MAX_FILES {
            break;
        }
    }
    found
}

/// Of a directory of documentation, which may be a link to another package's, as may be the file.
fn copyright(view: &View, directory: &[u8]) -> Option<Wanted> {
    let package = directory.strip_prefix(b"usr/share/doc/").filter(|rest| !rest.contains(&b'/'))?;
    let path = [b"usr/share/doc/", package, b"/copyright"].concat();
    resolved(view, &path, Kind::Copyright).map(|wanted| Wanted { path, ..wanted })
}

/// An executable file that is long enough for a program of Go's, whose name says nothing.
fn program(path: &[u8], mode: u32, size: u64) -> Option<Kind> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let is_library = name.windows(3).any(|part| part == b".so");
    (mode & 0o111 != 0 && size >= MIN_PROGRAM && !is_library).then_some(Kind::Program)
}

/// What may be a link.
fn resolved(view: &View, path: &[u8], kind: Kind) -> Option<Wanted> {
    let real = view.resolve(path, LastLink::Follow).ok()?;
    match &view.get(&real)?.kind {
        NodeKind::File(file) if file.size <= limit(kind) => {
            Some(Wanted { path: real, content: file.content.clone(), size: file.size, kind })
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
        Kind::OsRelease | Kind::Copyright | Kind::NpmPackage | Kind::PythonMetadata => MAX_METADATA,
        Kind::JavaArchive | Kind::Program => MAX_OPAQUE,
        _ => MAX_LOCK,
    }
}

/// By its path alone.
fn kind(path: &[u8]) -> Option<Kind> {
    let path = std::str::from_utf8(path).ok()?;
    match path {
        "var/lib/dpkg/status" => return Some(Kind::Dpkg),
        "lib/apk/db/installed" | "usr/lib/apk/db/installed" => return Some(Kind::Apk),
        _ => {}
    }
    let of_rpm = ["var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/"].iter();
    if let Some(name) = of_rpm.filter_map(|directory| path.strip_prefix(directory)).next() {
        return matches!(name, "rpmdb.sqlite" | "Packages" | "Packages.db").then_some(Kind::Rpm);
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
        "go.mod" => Some(Kind::GoModule),
        "yarn.lock" => Some(Kind::YarnLock),
        "pnpm-lock.yaml" => Some(Kind::PnpmLock),
        "Gemfile.lock" => Some(Kind::GemLock),
        "composer.lock" => Some(Kind::ComposerLock),
        "installed.json" if directory.ends_with("vendor/composer") => Some(Kind::ComposerLock),
        name => java::is_archive(name).then_some(Kind::JavaArchive),
    }
}

/// Whether a directory is that of a package right below a `node_modules`.
fn is_installed(directory: &str) -> bool {
    let Some((_, package)) = directory.rsplit_once("node_modules/") else { return false };
    let scoped = package.starts_with('@');
    package.matches('/').count() == usize::from(scoped)
}
