use std::io::Cursor;

use super::*;

fn header(name: &[u8], type_flag: u8, size: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..name.len()].copy_from_slice(name);
    record[257..265].copy_from_slice(b"ustar\x0000");
    with_size(record, type_flag, size)
}

fn member(name: &[u8], type_flag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, type_flag, content.len() as u64).to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(RECORD), 0);
    bytes
}

fn records(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    pairs.iter().for_each(|(key, value)| append_record(&mut bytes, key.as_bytes(), value.as_bytes()));
    bytes
}

fn expand(archive: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut output = Cursor::new(Vec::new());
    expand_sparse([archive, &[0; 2 * RECORD]].concat().as_slice(), &mut output)?;
    Ok(output.into_inner())
}

/// `ab` at 0, `c` at 600, 700 bytes.
fn expected(name: &[u8]) -> Vec<u8> {
    let mut content = vec![0; 700];
    content[..2].copy_from_slice(b"ab");
    content[600] = b'c';
    [member(name, b'0', &content), member(b"next", b'0', b"n"), vec![0; 2 * RECORD]].concat()
}

fn old() -> Vec<u8> {
    let mut record = header(b"file", b'S', 3);
    for (at, value) in [(386, 0), (398, 2), (410, 600), (422, 1), (483, 700)] {
        record[at..at + 11].copy_from_slice(format!("{value:011o}").as_bytes());
    }
    let mut bytes = with_size(record, b'S', 3).to_vec();
    bytes.extend_from_slice(b"abc");
    bytes.resize(2 * RECORD, 0);
    bytes
}

#[test]
fn the_old_format() {
    let mut expected = expected(b"file");
    let archive = [old(), member(b"next", b'0', b"n")].concat();
    let expanded = expand(&archive).unwrap();
    assert_eq!(expanded.len(), expected.len());
    // The old header's own fields are gone, and with them the device numbers' neighbours.
    expected[..RECORD].copy_from_slice(&expanded[..RECORD]);
    assert_eq!(expanded, expected);
    assert_eq!((expanded[156], &expanded[124..135]), (b'0', &b"00000001274"[..]));
}

#[test]
fn the_formats_of_pax() {
    let path = member(b"x", b'x', &records(&[("path", "file")]));
    let zero = [
        ("GNU.sparse.size", "700"),
        ("GNU.sparse.offset", "0"),
        ("GNU.sparse.numbytes", "2"),
        ("GNU.sparse.offset", "600"),
        ("GNU.sparse.numbytes", "1"),
        ("path", "file"),
    ];
    let one = [("GNU.sparse.size", "700"), ("GNU.sparse.map", "0,2,600,1"), ("GNU.sparse.name", "file")];
    let last = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "700"),
        ("GNU.sparse.name", "file"),
    ];
    let mut mapped = b"2\n0\n2\n600\n1\n".to_vec();
    mapped.resize(RECORD, 0);
    mapped.extend_from_slice(b"abc");
    for (pairs, content) in [(&zero[..], b"abc".to_vec()), (&one[..], b"abc".to_vec()), (&last[..], mapped)] {
        let sparse = [member(b"x", b'x', &records(pairs)), member(b"odd", b'0', &content)].concat();
        let expanded = expand(&[sparse, member(b"next", b'0', b"n")].concat()).unwrap();
        let name = &expanded[RECORD..2 * RECORD];
        assert_eq!(name, &path[RECORD..], "{pairs:?}");
        assert_eq!(expanded[2 * RECORD..], expected(b"odd"), "{pairs:?}");
    }
}

#[test]
fn archives_without_any_stay_as_they_are() {
    let long = member(b"x", b'x', &records(&[("path", "long"), ("size", "5")]));
    let archive = [member(b"d/", b'5', b""), long, member(b"f", b'0', b"12345"), member(b"l", b'2', b"")].concat();
    let unmarked = {
        let mut output = Cursor::new(Vec::new());
        expand_sparse(archive.as_slice(), &mut output).unwrap();
        output.into_inner()
    };
    assert_eq!(expand(&archive).unwrap(), unmarked, "the end need not be marked");
    assert_eq!(unmarked, [archive, vec![0; 2 * RECORD]].concat());
}

#[test]
fn maps_that_lie_are_refused() {
    let described = |map: &str, size: &str, content: &[u8]| {
        let pairs = [("GNU.sparse.size", size), ("GNU.sparse.map", map), ("GNU.sparse.name", "f")];
        [member(b"x", b'x', &records(&pairs)), member(b"odd", b'0', content)].concat()
    };
    for (map, size, content) in [
        ("0,2,1,1", "700", &b"abc"[..]),
        ("0,2,600,1", "600", b"abc"),
        ("0,2", "700", b"abc"),
        ("0,4", "700", b"abc"),
        ("0,18446744073709551615", "700", b"abc"),
        ("9,18446744073709551615", "700", b"abc"),
        ("0,2,6", "700", b"abc"),
        ("", "99999999999999", b""),
        ("0,0", "99999999999999", b""),
    ] {
        assert!(expand(&described(map, size, content)).is_err(), "{map} {size}");
    }
    let cut = &old()[..RECORD + 2];
    assert!(expand_sparse(cut, Cursor::new(Vec::new())).is_err());
    assert!(expand_sparse(&old()[..100], Cursor::new(Vec::new())).is_err());
}
