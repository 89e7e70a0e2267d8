use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::digest::ContentHash;

fn path() -> impl Strategy<Value = EntryPath> {
    vec("[a-zä.-]{1,5}x", 1..5).prop_map(|names| names.join("/").into_bytes())
}

fn kind() -> impl Strategy<Value = EntryKind> {
    let device = (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| Device { major, minor });
    prop_oneof![
        Just(EntryKind::Directory),
        (any::<u64>(), any::<[u8; 32]>(), any::<u64>()).prop_map(|(size, hash, offset)| EntryKind::File {
            size,
            hash: ContentHash(hash),
            offset
        }),
        vec(1u8.., 1..20).prop_map(|target| EntryKind::Symlink { target }),
        path().prop_map(|target| EntryKind::Hardlink { target }),
        device.clone().prop_map(EntryKind::CharDevice),
        device.prop_map(EntryKind::BlockDevice),
        Just(EntryKind::Fifo),
        Just(EntryKind::Whiteout),
        Just(EntryKind::OpaqueWhiteout),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let numbers = (0..=0o7777u32, any::<u64>(), any::<u64>(), any::<i64>());
    (path(), kind(), numbers, btree_map("[a-z.]{1,9}", vec(any::<u8>(), 0..9), 0..3))
        .prop_map(|(path, kind, (mode, uid, gid, mtime), xattrs)| Entry { path, kind, mode, uid, gid, mtime, xattrs })
}

fn toc() -> impl Strategy<Value = Toc> {
    let inline = btree_map(path(), vec(any::<u8>(), 0..50), 0..3);
    (vec(entry(), 0..20), inline).prop_map(|(entries, inline)| Toc { entries, inline })
}

proptest! {
    #[test]
    fn tables_survive_their_bytes(toc in toc()) {
        let bytes = toc.to_bytes().unwrap();
        prop_assert_eq!(Toc::from_bytes(&bytes).unwrap(), toc.clone());
        prop_assert_eq!(toc.to_bytes().unwrap(), bytes);
    }

    #[test]
    fn damaged_tables_are_refused_or_read(toc in toc(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let bytes = toc.to_bytes().unwrap();
        let mut plain = zstd::stream::decode_all(&*bytes).unwrap();
        let at = at.index(plain.len());
        plain[at] ^= flip;
        let _ = Toc::from_bytes(&zstd::bulk::compress(&plain, 1).unwrap());
        let cut = zstd::bulk::compress(&plain[..at], 1).unwrap();
        prop_assert!(Toc::from_bytes(&cut).is_err());
    }

    #[test]
    fn any_bytes_are_safe(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(Toc::from_bytes(&bytes).is_err());
        let framed = [b"YADOTOC\x01".to_vec(), bytes].concat();
        let _ = Toc::from_bytes(&zstd::bulk::compress(&framed, 1).unwrap());
    }

    #[test]
    fn the_digest_leaves_out_times_and_offsets_only(toc in toc(), other in entry()) {
        let mut same = toc.clone();
        for entry in &mut same.entries {
            entry.mtime = entry.mtime.wrapping_add(1);
            if let EntryKind::File { offset, .. } = &mut entry.kind {
                *offset = offset.wrapping_add(512);
            }
        }
        prop_assert_eq!(same.digest(), toc.digest());
        let mut more = toc.clone();
        more.entries.push(other);
        prop_assert_ne!(more.digest(), toc.digest());
    }
}

#[test]
fn the_digest_sees_every_other_field() {
    let base = Entry {
        path: b"f".to_vec(),
        kind: EntryKind::File { size: 1, hash: ContentHash::of(b"1"), offset: 512 },
        mode: 0o644,
        uid: 1,
        gid: 2,
        mtime: 3,
        xattrs: BTreeMap::new(),
    };
    let variants = [
        base.clone(),
        Entry { path: b"g".to_vec(), ..base.clone() },
        Entry { kind: EntryKind::File { size: 2, hash: ContentHash::of(b"1"), offset: 512 }, ..base.clone() },
        Entry { kind: EntryKind::File { size: 1, hash: ContentHash::of(b"2"), offset: 512 }, ..base.clone() },
        Entry { kind: EntryKind::Symlink { target: b"t".to_vec() }, ..base.clone() },
        Entry { kind: EntryKind::Hardlink { target: b"t".to_vec() }, ..base.clone() },
        Entry { kind: EntryKind::CharDevice(Device { major: 1, minor: 3 }), ..base.clone() },
        Entry { kind: EntryKind::CharDevice(Device { major: 1, minor: 5 }), ..base.clone() },
        Entry { mode: 0o755, ..base.clone() },
        Entry { uid: 2, ..base.clone() },
        Entry { gid: 1, ..base.clone() },
        Entry { xattrs: BTreeMap::from([("security.capability".to_owned(), vec![1])]), ..base.clone() },
    ];
    let digest = |entry: &Entry| Toc { entries: vec![entry.clone()], inline: BTreeMap::new() }.digest();
    let digests: std::collections::HashSet<_> = variants.iter().map(digest).collect();
    assert_eq!(digests.len(), variants.len());
}

/// State digests stand in cache keys: when this fails, `KEY_VERSION` has to change.
#[test]
fn the_digest_is_stable() {
    let directory = Entry {
        path: b"etc".to_vec(),
        kind: EntryKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        xattrs: BTreeMap::new(),
    };
    let toc = Toc { entries: vec![directory], inline: BTreeMap::new() };
    assert_eq!(toc.digest().to_string(), "0158922a2af701ddf206fb5669fe4052a3c088724864e6ed41a2d8b4c275c291");
}

#[test]
fn tables_do_not_expand_without_bound() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    assert!(matches!(Toc::from_bytes(&bomb), Err(TocError::Magic)));
    let count = [b"YADOTOC\x01".to_vec(), vec![0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let result = Toc::from_bytes(&zstd::bulk::compress(&count, 1).unwrap());
    assert!(matches!(result, Err(TocError::Malformed)));
}
