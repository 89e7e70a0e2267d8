//! Trees of files as strings: what is in a build context, in a base image, in a repository, and the ways
//! of naming parts of them. As naive as the oracle, and without a line of the executor's code.

use std::collections::BTreeMap;

use crate::project::{Copy, Entry, Files, Kind};

/// A file of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) what: What,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    /// Names of one file have the same.
    pub(crate) group: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Directory,
    File(String),
    Link(String),
    /// A name of what is written under this path.
    Same(String),
    Gone,
    /// Files in a tar.
    Archive(Vec<(String, String)>),
}

pub(crate) type Tree = BTreeMap<String, Node>;

pub(crate) fn node(what: What, mode: u32) -> Node {
    Node { what, mode, owner: (0, 0), group: None }
}

/// The files of a base image that the oracle knows; the second one has another version and owner.
pub(crate) fn base(number: usize, architecture: &str) -> Tree {
    let mut tree = Tree::new();
    // Where the first RUN finds no dev, proc and sys, it leaves them.
    for directory in ["", "bin", "dev", "etc", "proc", "srv", "sys"] {
        tree.insert(directory.into(), node(What::Directory, 0o755));
    }
    tree.insert("tmp".into(), node(What::Directory, 0o777));
    tree.insert("etc/version".into(), node(What::File(format!("base {number}\n")), 0o644));
    tree.insert("etc/arch".into(), node(What::File(format!("{architecture}\n")), 0o644));
    tree
}

pub(crate) const APP: [u64; 2] = [1000, 1001];

/// What git checks out.
pub(crate) fn checkout(files: &BTreeMap<String, String>) -> Tree {
    let mut tree = Tree::from([(String::new(), node(What::Directory, 0o755))]);
    for (path, text) in files {
        for (at, _) in path.match_indices('/') {
            tree.insert(path[..at].into(), node(What::Directory, 0o755));
        }
        let mode = if path.ends_with(".sh") { 0o755 } else { 0o644 };
        tree.insert(path.clone(), node(What::File(text.clone()), mode));
    }
    tree
}

/// Whether a pattern fits a path, or a directory above it. A name has at most one `*`.
fn covers(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], _) => true,
        (["**", rest @ ..], _) => (0..path.len()).any(|skip| covers(rest, &path[skip..])),
        ([name, rest @ ..], [first, below @ ..]) => fits(name, first) && covers(rest, below),
        (_, []) => false,
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail),
    }
}

fn is_covered(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    covers(&pattern, &path)
}

/// The part of a tree that `takes` says, with the directories on the way to it; its root always.
fn part(tree: &Tree, takes: impl Fn(&str) -> bool) -> Tree {
    let taken: Vec<&String> = tree.keys().filter(|path| !path.is_empty() && takes(path)).collect();
    let holds = |path: &str| taken.iter().any(|other| other.starts_with(&format!("{path}/")));
    let is_there =
        |path: &String, node: &Node| path.is_empty() || takes(path) || (node.what == What::Directory && holds(path));
    tree.iter().filter(|(path, node)| is_there(path, node)).map(|(path, node)| (path.clone(), node.clone())).collect()
}

/// Whether these patterns leave a path out; the last one that fits counts.
fn is_left_out(patterns: &[String], path: &str) -> bool {
    let decisive = patterns.iter().rev().find(|pattern| is_covered(pattern.trim_start_matches('!'), path));
    decisive.is_some_and(|pattern| !pattern.starts_with('!'))
}

/// What is left of a tree without what these patterns leave out.
pub(crate) fn without(tree: &Tree, patterns: &[String]) -> Tree {
    part(tree, |path| !is_left_out(patterns, path))
}

/// The files of the context that are not ignored.
pub(crate) fn context(files: &Files) -> Tree {
    let rules: Vec<String> = match files.get(".dockerignore").map(|entry| &entry.kind) {
        Some(Kind::File(text)) => {
            text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(Into::into).collect()
        }
        _ => Vec::new(),
    };
    let all = files.iter().map(|(path, entry)| (path.clone(), context_node(path, entry, files)));
    without(&all.collect(), &rules)
}

fn context_node(path: &str, entry: &Entry, files: &Files) -> Node {
    let shared = |path: &str| files.values().any(|entry| matches!(&entry.kind, Kind::Hard(other) if other == path));
    match &entry.kind {
        Kind::File(text) => {
            Node { group: shared(path).then(|| path.to_owned()), ..node(What::File(text.clone()), entry.mode) }
        }
        Kind::Directory => node(What::Directory, entry.mode),
        Kind::Link(target) => node(What::Link(target.clone()), 0o777),
        Kind::Hard(other) => context_node(other, &files[other], files),
        Kind::Archive(members, _) => node(What::Archive(members.clone()), entry.mode),
    }
}

/// Where a path leads when all links are followed; links in the middle as well.
pub(crate) fn follow(tree: &Tree, path: &str) -> String {
    let mut at = String::new();
    let mut left: Vec<String> = path.split('/').rev().map(Into::into).collect();
    for _ in 0..100 {
        let Some(name) = left.pop() else { break };
        match name.as_str() {
            "" | "." => continue,
            ".." => at.truncate(at.rfind('/').unwrap_or(0)),
            _ => {
                let next = join(&at, &name);
                match tree.get(&next).map(|node| &node.what) {
                    Some(What::Link(target)) => {
                        if target.starts_with('/') {
                            at.clear();
                        }
                        left.extend(target.split('/').rev().map(Into::into));
                    }
                    _ => at = next,
                }
            }
        }
    }
    at
}

pub(crate) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() || name.is_empty() { format!("{directory}{name}") } else { format!("{directory}/{name}") }
}

pub(crate) fn parent(path: &str) -> &str {
    &path[..path.rfind('/').unwrap_or(0)]
}

/// What is at and below `path`, by its path from there.
pub(crate) fn below(tree: &Tree, path: &str) -> Tree {
    let inside = |other: &str| {
        if path.is_empty() { Some(other.to_owned()) } else { other.strip_prefix(path).map(ToOwned::to_owned) }
    };
    let found = tree.iter().filter_map(|(other, node)| Some((inside(other)?, node.clone())));
    let found = found.filter(|(rest, _)| path.is_empty() || rest.is_empty() || rest.starts_with('/'));
    found.map(|(rest, node)| (rest.trim_start_matches('/').to_owned(), node)).collect()
}

/// The name and the tree of each thing that a source of a COPY names; `None` for a thing that is not there.
pub(crate) fn sources(copy: &Copy, tree: &Tree, source: &str) -> Vec<(String, Option<Tree>)> {
    if copy.parents {
        return vec![(String::new(), with_parents(copy, tree, source))];
    }
    let rest = |root: &str| tree.contains_key(root).then(|| without(&below(tree, root), &copy.exclude));
    matches(tree, source).into_iter().map(|(name, root)| (name, rest(&root))).collect()
}

/// Directories on the way are there for what is taken.
fn with_parents(copy: &Copy, tree: &Tree, source: &str) -> Option<Tree> {
    let (pivot, pattern) = source.split_once("/./").unwrap_or(("", source));
    let root = below(tree, &follow(tree, pivot));
    let is_named = |path: &str| is_covered(pattern.trim_matches('/'), path);
    let is_there = root.keys().any(|path| !path.is_empty() && is_named(path));
    is_there.then(|| part(&root, |path| is_named(path) && !is_left_out(&copy.exclude, path)))
}

/// The name and the place of what a source with at most one `*`, in its last part, names.
fn matches(tree: &Tree, pattern: &str) -> Vec<(String, String)> {
    let pattern = pattern.trim_matches('/');
    let last = |path: &str| path[path.rfind('/').map_or(0, |at| at + 1)..].to_owned();
    let Some((head, tail)) = pattern.split_once('*') else {
        let pattern = if pattern == "." { "" } else { pattern };
        return vec![(last(pattern), follow(tree, pattern))];
    };
    let fits = |path: &&String| {
        path.len() >= head.len() + tail.len()
            && path.starts_with(head)
            && path.ends_with(tail)
            && !path[head.len()..].contains('/')
    };
    tree.keys().filter(fits).map(|path| (last(path), follow(tree, path))).collect()
}
