use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::mem;

use super::tree::implied_directory;
use super::{EntryPath, Node, NodeKind, View};
use crate::layer::{Change, ChangeKind};

/// The order of a layer's members: depth first, names sorted bytewise per directory, a directory
/// before what it holds (`a`, `a/x`, `a.b`).
pub fn tar_order(left: &[u8], right: &[u8]) -> Ordering {
    // The end of a name comes before every byte that a name can have.
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let differing = left.iter().zip(right).find(|(left, right)| left != right);
    differing.map_or_else(|| left.len().cmp(&right.len()), |(left, right)| rank(left).cmp(&rank(right)))
}

/// The changes as a layer lists them: in [`tar_order`], each path once (the last change of a path
/// counts), all directories on the way to a change before it, with what the changes or else the
/// view says of them, and of several names of one file the first one the file.
///
/// A whiteout stands where the name that it removes would stand.
pub fn with_ancestors(view: &View, changes: Vec<Change>) -> Vec<Change> {
    let mut sorted = changes;
    // The last of equal paths comes first and is the one that stays.
    sorted.reverse();
    sorted.sort_by(|left, right| tar_order(&left.path, &right.path));
    sorted.dedup_by(|later, kept| later.path == kept.path);
    first_names_are_files(&mut sorted);
    let mut listed: Vec<Change> = Vec::with_capacity(sorted.len());
    for change in sorted {
        let above = listed.last().map_or(0, |last| shared_directories(&last.path, &change.path));
        for end in directory_ends(&change.path).filter(|end| *end > above) {
            listed.push(directory(view, &change.path[..end]));
        }
        listed.push(change);
    }
    listed
}

/// Where the paths of the directories above `path` end, the top one first.
fn directory_ends(path: &[u8]) -> impl Iterator<Item = usize> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at)
}

/// How many bytes of `path` name a directory that is `listed` or stands above it.
fn shared_directories(listed: &[u8], path: &[u8]) -> usize {
    let is_listed = |end: &usize| {
        let next = listed.get(*end).copied().unwrap_or(b'/');
        listed.starts_with(&path[..*end]) && next == b'/'
    };
    directory_ends(path).take_while(is_listed).last().unwrap_or(0)
}

fn directory(view: &View, path: &[u8]) -> Change {
    let known = view.get(path).filter(|node| matches!(node.kind, NodeKind::Directory)).cloned();
    let Node { kind: _, mode, uid, gid, mtime, xattrs } = known.unwrap_or_else(implied_directory);
    Change { path: path.to_vec(), kind: ChangeKind::Directory, mode, uid, gid, mtime, xattrs }
}

/// Swaps hard links that now stand before their files with them, and points all names of a file
/// to its first one.
fn first_names_are_files(sorted: &mut [Change]) {
    let targets: HashMap<EntryPath, EntryPath> = sorted.iter().filter_map(link).collect();
    if targets.is_empty() {
        return;
    }
    let mut first: HashMap<Cow<[u8]>, usize> = HashMap::new();
    for index in 0..sorted.len() {
        if !matches!(sorted[index].kind, ChangeKind::File { .. } | ChangeKind::Hardlink { .. }) {
            continue;
        }
        let file = file_of(&targets, &sorted[index].path);
        let leader = *first.entry(file).or_insert(index);
        if leader == index {
            continue;
        }
        let to_leader = ChangeKind::Hardlink { target: sorted[leader].path.clone() };
        let replaced = mem::replace(&mut sorted[index].kind, to_leader);
        if matches!(replaced, ChangeKind::File { .. }) {
            sorted[leader].kind = replaced;
        }
    }
}

fn link(change: &Change) -> Option<(EntryPath, EntryPath)> {
    match &change.kind {
        ChangeKind::Hardlink { target } => Some((change.path.clone(), target.clone())),
        _ => None,
    }
}

/// The path of the file that `path` is a name of.
fn file_of<'a>(targets: &'a HashMap<EntryPath, EntryPath>, path: &[u8]) -> Cow<'a, [u8]> {
    let mut file = None;
    for _ in 0..targets.len() {
        let Some(target) = targets.get(file.unwrap_or(path)) else { break };
        file = Some(target.as_slice());
    }
    file.map_or_else(|| Cow::Owned(path.to_vec()), Cow::Borrowed)
}
