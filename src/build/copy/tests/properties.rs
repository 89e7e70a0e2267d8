//! Whatever the trees and paths.

use proptest::prelude::*;

use super::*;
use crate::view::LastLink;

fn any_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "a*", "[", "..", ".", "\\"])
}

fn any_path() -> impl Strategy<Value = String> {
    let names = prop::collection::vec(any_name(), 0..4);
    (names, any::<bool>(), any::<bool>()).prop_map(|(names, absolute, slash)| {
        format!("{}{}{}", if absolute { "/" } else { "" }, names.join("/"), if slash { "/" } else { "" })
    })
}

fn any_node() -> impl Strategy<Value = Node> {
    prop_oneof![
        Just(dir(0o755)),
        Just(file("x")),
        Just(hard("x", 1)),
        any_path().prop_map(|target| link(&target)),
        Just(node(NodeKind::Socket, 0o600)),
    ]
}

fn any_tree() -> impl Strategy<Value = View> {
    prop::collection::vec((any_path(), any_node()), 0..12).prop_map(|entries| {
        let mut view = View::new();
        for (path, node) in entries {
            let path = clean(path.as_bytes());
            if !path.is_empty() {
                view.insert(&path, node);
            }
        }
        view
    })
}

fn any_op() -> impl Strategy<Value = CopyOp> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let excludes = prop::collection::vec(any_path(), 0..2);
    (prop::collection::vec(any_path(), 1..4), any_path(), flags, excludes).prop_map(
        |(sources, destination, (link, parents, is_add), excludes)| CopyOp {
            add: is_add.then(AddOptions::default),
            link,
            parents: parents && !is_add,
            excludes,
            ..copy(&sources.iter().map(String::as_str).collect::<Vec<_>>(), &destination)
        },
    )
}

/// Few names, so that members meet.
fn short_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..4).prop_map(|names| names.join("/"))
}

fn any_target() -> impl Strategy<Value = String> {
    (prop::sample::select(vec!["", "/", "../", "../../../", "/.."]), short_path())
        .prop_map(|(start, path)| start.to_owned() + &path)
}

fn any_archive() -> impl Strategy<Value = Archive> {
    let kind = prop_oneof![
        Just(Ok(dir(0o700))),
        Just(Ok(file("new"))),
        any_target().prop_map(|target| Ok(link(&target))),
        short_path().prop_map(Err),
    ];
    prop::collection::vec((short_path(), kind), 0..12).prop_map(|members| {
        let members = members.into_iter().map(|(path, kind)| crate::context::ArchiveMember {
            path: path.into_bytes(),
            kind: kind.map_or_else(|target| hard_link(&target, 0o600), crate::context::MemberKind::Node),
        });
        archive_of(members.collect())
    })
}

/// A destination with links of all sorts below `to`.
fn any_destination() -> impl Strategy<Value = View> {
    prop::collection::vec((short_path(), any_target()), 0..4).prop_map(|links| {
        let mut view = tree(&[("a", file("outside")), ("b/a", file("outside")), ("to", dir(0o755))]);
        for (path, target) in links {
            view.insert(format!("to/{path}").as_bytes(), link(&target));
        }
        view
    })
}

proptest! {
    /// Whatever the trees: no panic; every change lies where its directory is or is made; and the
    /// layer that results leads to a state in which the same instruction changes nothing.
    #[test]
    fn any_copy_is_settled_after_one_time(op in any_op(), destination in any_tree(), source in any_tree()) {
        let Ok(changes) = plan(&op, &destination, &source) else { return Ok(()) };
        let mut result = destination.clone();
        apply_changes(&mut result, &with_ancestors(&destination, changes.clone()));
        for change in &changes {
            prop_assert!(!change.path.is_empty());
            prop_assert!(result.get(&change.path).is_some(), "{:?}", change);
        }
        // What is copied can replace a link that the destination leads through.
        let leads = |view: &View| view.resolve(&clean(op.destination.as_bytes()), LastLink::Follow).ok();
        if !op.link && leads(&destination) == leads(&result) {
            let again = plan(&op, &result, &source);
            prop_assert!(matches!(&again, Ok(changes) if changes.is_empty()), "{:?}", again);
        }
    }

    #[test]
    fn any_archive_stays_inside(members in any_archive(), destination in any_destination()) {
        let tree = tree(&[("f", file("x"))]);
        let archives = BTreeMap::from([(b"f".to_vec(), members)]);
        let (hashes, prepared) = (BTreeMap::new(), BTreeMap::new());
        let sources = SourceTrees { tree: &tree, hashes: &hashes, archives: &archives, prepared: &prepared };
        let Ok(changes) = plan_copy(&add(&["f"], "/to"), &destination, &sources, NOW) else { return Ok(()) };
        for change in &changes {
            prop_assert!(change.path.starts_with(b"to/"), "{:?}", change);
        }
    }
}
