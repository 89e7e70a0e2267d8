use std::io::{Read, Write};

use super::*;
use crate::digest::Digest;
use crate::image::Descriptor;

const EMPTY: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

#[test]
fn no_changes_give_the_empty_tar() {
    let (blob, encoded) = encoded(&[], Compression::None);
    assert_eq!(blob, [0; 1024]);
    assert_eq!(encoded.diff_id.to_string(), EMPTY);
    assert_eq!(encoded.blob, Descriptor::of("application/vnd.oci.image.layer.v1.tar", &blob));
}

#[test]
fn a_header_has_exactly_these_bytes() {
    let mut change = file("dir/name", b"hello");
    (change.mode, change.uid, change.gid, change.mtime) = (0o104755, 1000, 100, 1_700_000_000);
    let bytes = tar(&[change]);
    let mut expected = [0; 512];
    expected[..8].copy_from_slice(b"dir/name");
    expected[100..136].copy_from_slice(b"0004755\x000001750\x000000144\x0000000000005\0");
    expected[136..148].copy_from_slice(b"14524770400\0");
    expected[148..157].copy_from_slice(b"010720\0 0");
    expected[257..265].copy_from_slice(b"ustar\x0000");
    expected[329..345].copy_from_slice(b"0000000\x000000000\0");
    assert_eq!(String::from_utf8_lossy(&bytes[..512]), String::from_utf8_lossy(&expected));
    assert_eq!(bytes[512..1024], [&b"hello"[..], &[0; 507]].concat());
    assert_eq!(bytes.len(), 2048);
}

#[test]
fn extended_headers_say_what_does_not_fit() {
    let long = ["component"; 12].join("/");
    let mut odd = file("d/ö", b"");
    (odd.uid, odd.mtime) = (1 << 21, -5);
    odd.xattrs.insert("security.capability".to_owned(), b"\x01\0\0\x02".to_vec());
    odd.xattrs.insert("user.lost".to_owned(), b"x".to_vec());
    let bytes = tar(&[odd, file(&long, b""), change(&long, ChangeKind::Symlink { target: long.clone().into() })]);
    assert_eq!(bytes[..15], *b"d/PaxHeaders.0\0");
    assert_eq!(bytes[156], b'x');
    let records: &[u8] =
        b"12 mtime=-5\n13 path=d/\xc3\xb6\n41 SCHILY.xattr.security.capability=\x01\0\0\x02\n15 uid=2097152\n";
    let mut sorted: Vec<&[u8]> = records.split_inclusive(|byte| *byte == b'\n').collect();
    sorted.sort_by_key(|record| record[3..].to_vec());
    assert_eq!(bytes[512..512 + records.len()], sorted.concat());
    assert_eq!(bytes[1024..1027], *b"d/\0");
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains(&format!("129 path={long}\n")), "{text}");
    assert!(text.contains(&format!("133 linkpath={long}\n")), "{text}");
    assert!(!text.contains("user.lost"));
}

#[test]
fn long_whiteouts_are_split_over_two_fields() {
    let long = ["component"; 12].join("/");
    let bytes = tar(&[change(format!("{long}/gone"), ChangeKind::Whiteout)]);
    assert_eq!(bytes.len(), 512 + 1024);
    assert_eq!(bytes[..9], *b".wh.gone\0");
    assert_eq!(bytes[345..345 + long.len()], *long.as_bytes());
    assert_eq!(scan(&*bytes).unwrap().toc.entries[0].kind, EntryKind::Whiteout);
}

#[test]
fn blobs_of_every_size_and_compression_hold_the_same_tar() {
    let noise: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for length in [0, 1, 511, 512, 1 << 20, noise.len()] {
        let changes = [file("etc/passwd", b"root:x:0:0"), file("f", &noise[..length]), file("g", b"end")];
        let (plain, expected) = encoded(&changes, Compression::None);
        assert_eq!(expected.diff_id.0, Digest::sha256(&plain));
        for compression in [Compression::Gzip, Compression::Zstd] {
            let (blob, encoded) = encoded(&changes, compression);
            assert_eq!((encoded.toc, encoded.diff_id), (expected.toc.clone(), expected.diff_id.clone()));
            assert_eq!((encoded.blob.digest, encoded.blob.size), (Digest::sha256(&blob), blob.len() as u64));
            let mut tar = Vec::new();
            decompress(&*blob).unwrap().read_to_end(&mut tar).unwrap();
            assert!(tar == plain, "{compression:?} {length}");
        }
        let scanned = scan(&*plain).unwrap();
        assert_eq!((scanned.toc, scanned.diff_id), (expected.toc, expected.diff_id));
        assert_eq!(scanned.uncompressed_size, plain.len() as u64);
    }
}

#[test]
fn offsets_point_at_contents() {
    let changes = [file("a", b"first"), file("b", b""), file("c", b"second")];
    let (bytes, encoded) = encoded(&changes, Compression::None);
    let wanted = encoded.toc.entries.iter().filter_map(|entry| match entry.kind {
        EntryKind::File { offset, size, .. } => Some((offset, size)),
        _ => None,
    });
    let mut found = Vec::new();
    read_files(&*bytes, &wanted.collect(), &mut |_, file| {
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        found.push(text);
        Ok(())
    })
    .unwrap();
    assert_eq!(found, ["first", "", "second"]);
}

#[test]
fn passwd_and_group_are_inlined() {
    let changes = [file("etc/group", b"g"), file("etc/passwd", b"p"), file("etc/shadow", b"s")];
    let (_, encoded) = encoded(&changes, Compression::None);
    let expected = [("etc/group", "g"), ("etc/passwd", "p")].map(|(path, text)| (path.into(), text.into()));
    assert_eq!(encoded.toc.inline, BTreeMap::from(expected));
}

#[test]
fn files_must_have_the_size_that_was_announced() {
    for (size, longer) in [(2, true), (4, false)] {
        let content = Content::Bytes((*b"abc").into());
        let changes = [change("d/f", ChangeKind::File { size, content })];
        let error = encode(&changes, &no_content, Compression::None, &mut Vec::new()).unwrap_err();
        assert!(matches!(&error, EncodeError::Size { path, longer: found, .. } if path == b"d/f" && *found == longer));
        assert!(error.to_string().contains("/d/f"), "{error}");
    }
}

#[test]
fn unreadable_files_are_named() {
    let content = Content::Host("/nowhere".into());
    let open = |_: &Content| Err(io::Error::from(io::ErrorKind::NotFound));
    let changes = [change("f", ChangeKind::File { size: 1, content })];
    let error = encode(&changes, &open, Compression::Gzip, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "failed to read /f for layer");
}

#[test]
fn names_that_layers_cannot_hold_are_refused() {
    for path in ["", "../x", "/x", "x/", "a//b"] {
        let result = encode(&[file(path, b"")], &no_content, Compression::None, &mut Vec::new());
        assert!(matches!(result, Err(EncodeError::Path { .. })), "{path}");
    }
    let result = encode(&[file("d/.wh.x", b"")], &no_content, Compression::None, &mut Vec::new());
    assert!(matches!(result, Err(EncodeError::Reserved { .. })));
}

/// A disk that is full after so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_stops_the_encoder() {
    let big = file("f", &vec![1; 20 << 20]);
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        for room in [0, 700] {
            let error = encode(std::slice::from_ref(&big), &no_content, compression, &mut Full(room)).unwrap_err();
            let EncodeError::Write(source) = error else { panic!("{error}") };
            assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        }
    }
}
