use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::layer::Device;

/// A header as an archiver would write it, for names of up to 100 bytes.
fn header(name: &[u8], type_flag: u8, size: u64, fill: impl Fn(&mut [u8; RECORD])) -> Vec<u8> {
    let mut record = [0; RECORD];
    record[..name.len()].copy_from_slice(name);
    record[100..107].copy_from_slice(b"0000644");
    record[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    record[156] = type_flag;
    record[257..265].copy_from_slice(b"ustar\x0000");
    fill(&mut record);
    record[148..156].fill(b' ');
    let sum: u32 = record.iter().map(|byte| u32::from(*byte)).sum();
    record[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    record.to_vec()
}

fn member(name: &[u8], type_flag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, type_flag, content.len() as u64, |_| {});
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(RECORD), 0);
    bytes
}

fn extended(records: &[(&str, &str)]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..).find(|length| rest + length.to_string().len() == *length).unwrap();
        format!("{length} {key}={value}\n")
    };
    records.iter().map(record).collect::<String>().into_bytes()
}

fn entries(tar: &[u8]) -> Result<Vec<Entry>, DecodeError> {
    let mut archive = Archive::new(tar, crate::layer::Names::Layer);
    let mut entries = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        entries.push(entry);
    }
    archive.drain()?;
    Ok(entries)
}

fn only(tar: &[u8]) -> Entry {
    let entries = entries(tar).unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.into_iter().next().unwrap()
}

#[test]
fn names_come_from_the_longest_source() {
    let long = ["directory"; 30].join("/");
    let gnu = [member(b"././@LongLink", b'L', long.as_bytes()), member(b"short", b'0', b"")].concat();
    assert_eq!(only(&gnu).path, long.as_bytes());
    let pax = [member(b"x", b'x', &extended(&[("path", &long)])), member(b"short", b'0', b"")].concat();
    assert_eq!(only(&pax).path, long.as_bytes());
    let split = header(b"base", b'0', 0, |record| record[345..351].copy_from_slice(b"prefix"));
    assert_eq!(only(&split).path, b"prefix/base");
    let gnu_times = header(b"base", b'0', 0, |record| {
        record[257..265].copy_from_slice(b"ustar  \0");
        record[345..351].copy_from_slice(b"013777");
    });
    assert_eq!(only(&gnu_times).path, b"base");
    let old = header(b"dir/", 0, 0, |record| record[257..265].fill(0));
    assert_eq!(only(&old).kind, EntryKind::Directory);
}

#[test]
fn extended_records_override_fields() {
    let records = extended(&[
        ("uid", "3000000"),
        ("gid", ""),
        ("mtime", "-1.5"),
        ("SCHILY.xattr.security.capability", "\u{1}\0"),
        ("SCHILY.xattr.trusted.overlay.opaque", "y"),
    ]);
    let entry = only(&[member(b"x", b'x', &records), member(b"f", b'0', b"")].concat());
    assert_eq!((entry.uid, entry.gid, entry.mtime), (3_000_000, 0, -2));
    assert_eq!(entry.xattrs, BTreeMap::from([("security.capability".to_owned(), b"\x01\0".to_vec())]));
}

#[test]
fn global_records_hold_until_overridden() {
    let global = member(b"g", b'g', &extended(&[("comment", "c"), ("mtime", "7")]));
    let own = member(b"x", b'x', &extended(&[("mtime", "8.9")]));
    let tar = [global, member(b"a", b'0', b""), own, member(b"b", b'0', b"")].concat();
    let times: Vec<_> = entries(&tar).unwrap().iter().map(|entry| entry.mtime).collect();
    assert_eq!(times, [7, 8]);
}

#[test]
fn numbers_may_be_base_256() {
    let tar = header(b"f", b'5', 0, |record| {
        record[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe]);
        record[136..148].copy_from_slice(&[0xff; 12]);
    });
    let entry = only(&tar);
    assert_eq!((entry.uid, entry.mtime), (0xffff_fffe, -1));
    let negative_owner = header(b"f", b'5', 0, |record| record[108..116].fill(0xff));
    assert!(matches!(entries(&negative_owner), Err(DecodeError::Header { offset: 0, .. })));
}

#[test]
fn whiteouts_are_told_by_name() {
    let tar = [
        member(b"./d/.wh.gone", b'0', b""),
        member(b"d/.wh..wh..opq", b'0', b""),
        member(b".wh..wh.plnk/1.2", b'0', b"aufs"),
        member(b".wh..wh.aufs", b'0', b""),
        member(b"d/.wha", b'0', b""),
    ]
    .concat();
    let found = entries(&tar).unwrap();
    let expected = [
        (b"d/gone".to_vec(), EntryKind::Whiteout),
        (b"d".to_vec(), EntryKind::OpaqueWhiteout),
        (b"d/.wha".to_vec(), found[2].kind.clone()),
    ];
    assert_eq!(found.into_iter().map(|entry| (entry.path, entry.kind)).collect::<Vec<_>>(), expected);
}

#[test]
fn kinds_and_offsets() {
    let device = header(b"null", b'3', 0, |record| {
        record[329..336].copy_from_slice(b"0000001");
        record[337..344].copy_from_slice(b"0000003");
    });
    let link =
        |flag, target: &[u8]| header(b"l", flag, 9, |record| record[157..157 + target.len()].copy_from_slice(target));
    let tar =
        [member(b"/f", b'0', &[7; 513]), device, link(b'2', b"../x"), link(b'1', b"./f"), member(b"p", b'6', b"")];
    let kinds: Vec<_> = entries(&tar.concat()).unwrap().into_iter().map(|entry| entry.kind).collect();
    let expected = [
        EntryKind::File { size: 513, hash: ContentHash::of(b""), offset: 512 },
        EntryKind::CharDevice(Device { major: 1, minor: 3 }),
        EntryKind::Symlink { target: b"../x".to_vec() },
        EntryKind::Hardlink { target: b"f".to_vec() },
        EntryKind::Fifo,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn hostile_archives_are_refused() {
    let bomb = header(b"x", b'x', MAX_EXTENDED + 1, |_| {});
    let chain = vec![member(b"x", b'x', b""); MAX_EXTENDED_COUNT + 1].concat();
    let mut damaged = member(b"f", b'0', b"");
    damaged[0] = b'g';
    let link = header(b"l", b'1', 0, |record| record[157..161].copy_from_slice(b"../x"));
    let cases = [
        ("a parent component", member(b"a/../../x", b'0', b"")),
        ("a removed parent", member(b"a/.wh...", b'0', b"")),
        ("a removed nothing", member(b".wh.", b'0', b"")),
        ("a root that is a file", member(b"./", b'0', b"")),
        ("a link out", link),
        ("a long extended header", bomb),
        ("a chain of extended headers", chain),
        ("a wrong checksum", damaged),
        ("a cut record", member(b"f", b'0', b"")[..100].to_vec()),
        ("a cut file", member(b"f", b'0', &[1; 600])[..1024].to_vec()),
        ("a GNU sparse file", member(b"f", b'S', b"")),
        ("a PAX sparse file", [member(b"x", b'x', b"22 GNU.sparse.major=1\n"), member(b"f", b'0', b"")].concat()),
        ("an unknown type", member(b"f", b'Z', b"")),
        ("a long path", [member(b"L", b'L', &[b'a'; MAX_PATH + 1]), member(b"f", b'0', b"")].concat()),
        ("a lone zero block", [vec![0; 512], member(b"f", b'0', b"")].concat()),
        ("malformed records", [member(b"x", b'x', b"99 path=x\n"), member(b"f", b'0', b"")].concat()),
    ];
    for (what, tar) in cases {
        assert!(entries(&tar).is_err(), "{what}");
    }
}

#[test]
fn archives_may_end_without_marker_or_go_on_after_it() {
    assert_eq!(entries(b"").unwrap(), []);
    assert_eq!(entries(&[0; 1024]).unwrap(), []);
    let tar = [vec![0; 1024], member(b"f", b'0', b"")].concat();
    assert_eq!(entries(&tar).unwrap(), []);
}

proptest! {
    #[test]
    fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = entries(&bytes);
        let _ = Records::parse(&bytes);
    }

    #[test]
    fn any_header_fields_are_safe(
        flag in any::<u8>(),
        fields in proptest::collection::vec(any::<u8>(), RECORD),
        records in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let whole = header(b"", flag, 0, |record| {
            record.copy_from_slice(&fields);
            record[156] = flag;
        });
        let _ = entries(&[member(b"x", b'x', &records), whole.clone()].concat());
        let _ = entries(&whole);
    }
}
