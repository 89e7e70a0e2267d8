//! Which objects of the source tree an instruction touches.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{CopyError, clean, is_directory, join, split_last};
use crate::digest::ContentHash;
use crate::dockerfile::suggestion;
use crate::layer::{Content, EntryPath};
use crate::pattern::{PatternError, Patterns, Wildcard, has_meta};
use crate::plan::{CopyOp, CopySource};
use crate::view::{FileNode, LastLink, Node, NodeKind, View};

/// One copied root: what a source, or one match of its wildcard, contributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected<'a> {
    /// Index in [`CopyOp::sources`].
    pub source: usize,
    /// Last component as written, links not followed: what a file is called in a directory.
    pub name: Vec<u8>,
    /// Where the root is in the source tree, links followed; empty for a heredoc.
    pub root: EntryPath,
    /// The root, and if it is a directory, what of it is copied: depth first, names sorted
    /// bytewise, a directory before what it holds. Never empty.
    pub members: Vec<Member<'a>>,
}

/// One object of a [`Selected`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// Relative to the root; empty for the root itself.
    pub path: EntryPath,
    /// What it is in the source.
    pub node: Cow<'a, Node>,
    /// Not selected itself, only on the way to something that is: an existing directory takes its
    /// mode and nothing else.
    pub passage: bool,
}

impl Selected<'_> {
    /// Where a member is in the source tree.
    pub fn origin(&self, member: &Member) -> EntryPath {
        join(&self.root, &member.path)
    }

    /// Whether ADD has to look into the content: an archive would be unpacked.
    pub fn may_be_archive(&self, op: &CopyOp) -> bool {
        let unpacks = op.add.as_ref().is_some_and(|add| add.unpack != Some(false));
        let is_path = matches!(op.sources.get(self.source), Some(CopySource::Path(_)));
        let file = self.members.first().map(|root| &root.node.kind);
        unpacks && is_path && matches!(file, Some(NodeKind::File(FileNode { size: 1.., .. })))
    }
}

/// The indexes of the sources in the order in which they are copied: heredocs come last.
pub(super) fn copy_order(op: &CopyOp) -> impl Iterator<Item = (usize, &CopySource)> {
    let inline = |source: &CopySource| matches!(source, CopySource::Inline { .. });
    let (last, first): (Vec<_>, Vec<_>) = op.sources.iter().enumerate().partition(|(_, source)| inline(source));
    first.into_iter().chain(last)
}

/// What paths, wildcards and heredocs select, in the order in which it is copied; URLs and git
/// repositories select nothing of the tree.
///
/// # Errors
/// [`CopyError::NotFound`], [`CopyError::Pattern`], [`CopyError::Resolve`] for links in a loop.
pub fn select<'a>(op: &'a CopyOp, tree: &'a View) -> Result<Vec<Selected<'a>>, CopyError> {
    let filter = Filter::new(&op.excludes)?;
    let mut selected = Vec::new();
    for (source, what) in copy_order(op) {
        match what {
            CopySource::Path(path) if op.parents => selected.extend(with_parents(path, source, tree, &filter)?),
            CopySource::Path(path) => {
                for (name, root) in roots(path, tree)? {
                    selected.push(filter.select(source, name, root, tree)?);
                }
            }
            CopySource::Inline { name, content } => selected.push(inline(source, name, content)),
            CopySource::Url(_) | CopySource::Git(_) => {}
        }
    }
    Ok(selected)
}

/// A whole tree, as a git repository is copied.
pub(super) fn select_tree<'a>(source: usize, tree: &'a View, excludes: &[String]) -> Result<Selected<'a>, CopyError> {
    Filter::new(excludes)?.select(source, Vec::new(), EntryPath::new(), tree)
}

fn inline<'a>(source: usize, name: &str, content: &str) -> Selected<'a> {
    let size = content.len() as u64;
    let hash = Some(ContentHash::of(content.as_bytes()));
    let file = FileNode { size, hash, content: Content::Bytes(content.as_bytes().into()), inode: None };
    let node = Node { kind: NodeKind::File(file), mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() };
    let root = Member { path: EntryPath::new(), node: Cow::Owned(node), passage: false };
    let (_, name) = split_last(name.as_bytes());
    Selected { source, name: name.to_vec(), root: EntryPath::new(), members: vec![root] }
}

/// `--parents`: the root is what stands before the pivot `/./`, the rest is a pattern below it. An empty one matches
/// nothing, as in BuildKit: of `.` only the destination is made.
fn with_parents<'a>(
    path: &str,
    source: usize,
    tree: &'a View,
    filter: &Filter,
) -> Result<Vec<Selected<'a>>, CopyError> {
    let (pivot, pattern) = path.split_once("/./").unwrap_or(("/", path));
    let pattern = clean(pattern.as_bytes());
    let include = Some(wildcard(&pattern, Wildcard::recursive)?);
    let filter = Filter { include, exclude: filter.exclude.clone() };
    let required = !has_meta(pivot.as_bytes()) && !has_meta(&pattern) && !pattern.is_empty();
    let mut selected = Vec::new();
    for (name, root) in roots(pivot, tree)? {
        if required && tree.get(&join(&root, &pattern)).is_none() {
            return Err(not_found(tree, &join(&clean(pivot.as_bytes()), &pattern)));
        }
        selected.push(filter.select(source, name, root, tree)?);
    }
    Ok(selected)
}

/// The name as written and the place of each match of a path, in lexical order.
fn roots(path: &str, tree: &View) -> Result<Vec<(Vec<u8>, EntryPath)>, CopyError> {
    let path = clean(path.as_bytes());
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let fixed = names.iter().take_while(|name| !has_meta(name)).count();
    let (fixed, wild) = (names[..fixed].join(&b'/'), names[fixed..].join(&b'/'));
    let start = existing(tree, &fixed, &fixed)?;
    if wild.is_empty() {
        return Ok(vec![(split_last(&fixed).1.to_vec(), start)]);
    }
    let mut found = Vec::new();
    for below in matches(tree, &start, &wild)? {
        let root = existing(tree, &join(&start, &below), &join(&fixed, &below))?;
        found.push((split_last(&below).1.to_vec(), root));
    }
    Ok(found)
}

/// Follows all links; `written` is the path to complain about.
fn existing(tree: &View, path: &[u8], written: &[u8]) -> Result<EntryPath, CopyError> {
    match tree.resolve(path, LastLink::Follow) {
        Ok(resolved) if resolved.is_empty() || tree.get(&resolved).is_some() => Ok(resolved),
        Ok(_) | Err(crate::view::ResolveError::NotADirectory { .. }) => Err(not_found(tree, written)),
        Err(cause) => Err(cause.into()),
    }
}

/// The error for a path that is not there, with the nearest name in its directory.
fn not_found(tree: &View, path: &[u8]) -> CopyError {
    let (directory, name) = split_last(path);
    let known = tree.resolve(directory, LastLink::Follow).ok();
    let names: Vec<&str> = known
        .iter()
        .flat_map(|known| tree.children(known))
        .filter_map(|(name, _)| std::str::from_utf8(name).ok())
        .collect();
    let nearest = std::str::from_utf8(name).ok().and_then(|name| suggestion::nearest(name, names));
    CopyError::NotFound { path: path.to_vec(), nearest: nearest.map(|name| join(directory, name.as_bytes())) }
}

/// Paths below `start` that match; links are not entered, nor directories that match.
fn matches(tree: &View, start: &[u8], wild: &[u8]) -> Result<Vec<EntryPath>, CopyError> {
    let wildcard = wildcard(wild, Wildcard::new)?;
    let depth = wild.iter().filter(|byte| **byte == b'/').count();
    let mut found = Vec::new();
    // Directories still to list, the next one last.
    let mut pending = vec![(EntryPath::new(), 0)];
    while let Some((path, level)) = pending.pop() {
        if level > 0 && wildcard.matches(&path) {
            found.push(path);
        } else if level <= depth && (level == 0 || tree.get(&join(start, &path)).is_some_and(is_directory)) {
            pending.extend(below(tree, start, &path).into_iter().map(|(path, _)| (path, level + 1)));
        }
    }
    Ok(found)
}

fn wildcard(pattern: &[u8], new: fn(&[u8]) -> Result<Wildcard, PatternError>) -> Result<Wildcard, CopyError> {
    new(pattern).map_err(|cause| CopyError::Pattern { pattern: super::text(pattern).into_owned(), cause })
}

/// What of a copied directory counts; its root always does.
struct Filter {
    include: Option<Wildcard>,
    exclude: Option<Patterns>,
}

impl Filter {
    fn new(excludes: &[String]) -> Result<Self, CopyError> {
        if excludes.is_empty() {
            return Ok(Self { include: None, exclude: None });
        }
        let exclude = Patterns::new(excludes.iter().map(String::as_str))
            .map_err(|cause| CopyError::Pattern { pattern: excludes.join(" "), cause })?;
        Ok(Self { include: None, exclude: Some(exclude) })
    }

    /// What is below something that matches counts as well.
    fn takes(&self, path: &[u8]) -> bool {
        let included =
            |include: &Wildcard| (1..=path.len()).any(|end| is_end(path, end) && include.matches(&path[..end]));
        self.include.as_ref().is_none_or(included)
            && !self.exclude.as_ref().is_some_and(|exclude| exclude.matches(path))
    }

    /// Whether anything below a directory that does not count itself may count.
    fn may_take_below(&self, path: &[u8]) -> bool {
        let included = |include: &Wildcard| {
            (1..=path.len()).any(|end| is_end(path, end) && include.matches(&path[..end]))
                || include.may_match_below(path)
        };
        self.include.as_ref().is_none_or(included)
            && self.exclude.as_ref().is_none_or(|exclude| exclude.may_match_below(path))
    }

    fn select<'a>(
        &self,
        source: usize,
        name: Vec<u8>,
        root: EntryPath,
        tree: &'a View,
    ) -> Result<Selected<'a>, CopyError> {
        let node = tree.get(&root).ok_or_else(|| not_found(tree, &root))?;
        let mut members = vec![Member { path: EntryPath::new(), node: Cow::Borrowed(node), passage: false }];
        let mut passages: Vec<Member> = Vec::new();
        // What is still to be looked at, the next one last.
        let mut pending = below(tree, &root, b"");
        while let Some((path, node)) = pending.pop() {
            passages.retain(|passage| is_above(&passage.path, &path));
            let taken = self.takes(&path);
            if is_directory(node) && (taken || self.may_take_below(&path)) {
                pending.extend(below(tree, &root, &path));
            }
            let member = Member { path, node: Cow::Borrowed(node), passage: !taken };
            if taken {
                members.append(&mut passages);
                members.push(member);
            } else if is_directory(node) {
                passages.push(member);
            }
        }
        Ok(Selected { source, name, root, members })
    }
}

/// The contents of a directory, last name first.
fn below<'a>(tree: &'a View, root: &[u8], directory: &[u8]) -> Vec<(EntryPath, &'a Node)> {
    let children = tree.children(&join(root, directory));
    let mut paths: Vec<_> = children.map(|(name, node)| (join(directory, name), node)).collect();
    paths.reverse();
    paths
}

fn is_end(path: &[u8], end: usize) -> bool {
    path.get(end).is_none_or(|byte| *byte == b'/')
}

fn is_above(directory: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
}
