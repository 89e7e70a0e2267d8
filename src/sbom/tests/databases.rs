use super::*;

/// A header as rpm keeps it, with strings and an epoch.
fn header(name: &str, version: &str, epoch: Option<u32>) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    let mut add = |tag: u32, kind: u32, bytes: &[u8]| {
        for word in [tag, kind, data.len() as u32, 1] {
            index.extend_from_slice(&word.to_be_bytes());
        }
        data.extend_from_slice(bytes);
    };
    for (tag, text) in [(1000, name), (1001, version), (1002, "4.fc40"), (1014, "GPL-2.0-or-later"), (1022, "x86_64")] {
        add(tag, 6, &[text.as_bytes(), b"\0"].concat());
    }
    if let Some(epoch) = epoch {
        add(1003, 4, &epoch.to_be_bytes());
    }
    // Long enough for pages of its own.
    add(1005, 6, &[vec![b'x'; 9000], b"\0".to_vec()].concat());
    let count = (index.len() / 16) as u32;
    [&count.to_be_bytes()[..], &(data.len() as u32).to_be_bytes(), &index, &data].concat()
}

/// As SQLite itself writes it.
fn database(headers: &[Vec<u8>]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("rpmdb.sqlite");
    for (number, header) in headers.iter().enumerate() {
        std::fs::write(directory.path().join(number.to_string()), header).expect("written");
    }
    let script = format!(
        "import sqlite3\nc = sqlite3.connect({path:?})\nc.execute('CREATE TABLE Other (a TEXT)')\nc.execute('CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)')\nfor n in range({}): c.execute('INSERT INTO Packages (blob) VALUES (?)', (open({:?} + '/' + str(n), 'rb').read(),))\nc.commit()",
        headers.len(),
        directory.path()
    );
    let output = Command::new("python3").args(["-c", &script]).output().expect("python3");
    assert!(output.status.success(), "{output:?}");
    std::fs::read(path).expect("read")
}

#[test]
fn packages_of_rpm() {
    let mut headers = vec![header("gpg-pubkey", "a", None), header("bash", "5.2.26", None)];
    headers.extend((0..60).map(|number| header(&format!("lib{number}"), "1", Some(2))));
    let bytes = database(&headers);
    let found = rpm::installed(&bytes);
    assert_eq!(found.len(), 61);
    let mut bash = found[0].clone();
    bash.settle(&package::Distribution::parse("ID=fedora\nVERSION_ID=40\n"));
    assert_eq!(bash.url, "pkg:rpm/fedora/bash@5.2.26-4.fc40?arch=x86_64&distro=fedora-40");
    assert_eq!(bash.license.as_deref(), Some("GPL-2.0-or-later"));
    let mut last = found[60].clone();
    last.settle(&package::Distribution::default());
    assert_eq!(last.url, "pkg:rpm/lib59@1-4.fc40?arch=x86_64&epoch=2");
    // Cut off, or changed anywhere: what can be read is read.
    for length in (0..bytes.len()).step_by(20_011) {
        let _ = rpm::installed(&bytes[..length]);
    }
    for place in (0..bytes.len()).step_by(4_999) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0xff;
        assert!(rpm::installed(&damaged).len() <= 62);
    }
}

#[test]
fn a_table_that_points_to_itself_ends() {
    let mut bytes = database(&[header("a", "1", None)]);
    // The page of the table says that it is inner, and that its right-most child is page 1.
    let pages = bytes.len() / 4096;
    for page in 1..pages {
        bytes[page * 4096] = 5;
        bytes[page * 4096 + 8..page * 4096 + 12].copy_from_slice(&(page as u32 + 1).to_be_bytes());
    }
    assert!(rpm::installed(&bytes).is_empty());
}

/// Made by `db5.3_load -t hash` from two headers that rpm 4.18 wrote, and read by that rpm's `bdb_ro`; pages of 512 bytes.
const BERKELEY: &[u8] = include_bytes!("Packages.gz");

#[test]
fn packages_of_berkeley_db() {
    let bytes = unpacked(BERKELEY);
    let mut found = rpm::installed(&bytes);
    found.sort();
    let names: Vec<_> = found.iter().map(|package| (package.name.as_str(), package.version.as_str())).collect();
    assert_eq!(names, [("bash", "2:5.2.26-4.fc40"), ("libfoo", "2:1-4.fc40")]);
    assert_eq!(found[0].license.as_deref(), Some("GPL-2.0-or-later AND MIT"));
    for length in (0..bytes.len()).step_by(97) {
        let _ = rpm::installed(&bytes[..length]);
    }
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0xff;
        assert!(rpm::installed(&damaged).len() <= 8);
    }
}

#[test]
fn a_long_value_that_many_items_share_is_not_read_for_ever() {
    let mut bytes = unpacked(BERKELEY);
    // Every page becomes one of items that all lead to one chain, which never ends.
    let pages = bytes.len() / 512;
    for page in 1..pages {
        let start = page * 512;
        let page_bytes = &mut bytes[start..start + 512];
        if page == 1 {
            page_bytes[16..20].copy_from_slice(&1u32.to_le_bytes());
            page_bytes[22..24].copy_from_slice(&480u16.to_le_bytes());
            page_bytes[25] = 7;
            continue;
        }
        page_bytes[20..22].copy_from_slice(&200u16.to_le_bytes());
        page_bytes[25] = 13;
        for index in 0..200u16 {
            let (at, item) = (26 + usize::from(index) * 2, if index % 2 == 0 { 500u16 } else { 488 });
            page_bytes[at..at + 2].copy_from_slice(&item.to_le_bytes());
        }
        page_bytes[488] = 3;
        page_bytes[492..496].copy_from_slice(&1u32.to_le_bytes());
        page_bytes[496..500].copy_from_slice(&(63u32 << 20).to_le_bytes());
    }
    assert!(rpm::installed(&bytes).is_empty());
}

/// As `rpmpkg.c` lays it out: a page of slots, then blobs.
fn ndb(headers: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [&b"RpmP"[..], &[0; 4], &[1, 0, 0, 0], &[1, 0, 0, 0], &[9, 0, 0, 0], &[0; 12]] {
        bytes.extend_from_slice(word);
    }
    let blocks: Vec<usize> = headers.iter().map(|header| (header.len() + 16 + 12).div_ceil(16)).collect();
    let mut offset = 256;
    for (number, count) in blocks.iter().enumerate() {
        bytes.extend_from_slice(b"Slot");
        for word in [number + 1, offset, *count] {
            bytes.extend_from_slice(&(word as u32).to_le_bytes());
        }
        offset += count;
    }
    while bytes.len() < 4096 {
        bytes.extend_from_slice(&[b"Slot".as_slice(), &[0; 12]].concat());
    }
    for (number, (header, count)) in headers.iter().zip(&blocks).enumerate() {
        let start = bytes.len();
        bytes.extend_from_slice(b"BlbS");
        for word in [number + 1, 7, header.len()] {
            bytes.extend_from_slice(&(word as u32).to_le_bytes());
        }
        bytes.extend_from_slice(header);
        bytes.resize(start + count * 16, 0);
    }
    bytes
}

#[test]
fn packages_of_ndb() {
    let bytes = ndb(&[header("bash", "5", None), header("gpg-pubkey", "1", None), header("zypper", "1.14", None)]);
    let names: Vec<_> = rpm::installed(&bytes).into_iter().map(|package| package.name).collect();
    assert_eq!(names, ["bash", "zypper"]);
    for place in 0..bytes.len().min(6000) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0xff;
        assert!(rpm::installed(&damaged).len() <= 2);
    }
}

#[test]
fn all_forms_are_found_where_rpm_puts_them() {
    let mut tree = View::new();
    tree.insert(b"var/lib/rpm/Packages", file(&unpacked(BERKELEY), 0o644));
    tree.insert(b"usr/lib/sysimage/rpm/Packages.db", file(&ndb(&[header("zypper", "1", None)]), 0o644));
    let names: Vec<_> = read(&tree).into_iter().map(|package| package.name).collect();
    assert_eq!(names, ["bash", "libfoo", "zypper"]);
}

const COPYRIGHT: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\nLicense: ISC\n\nFiles: *\nCopyright: a\nLicense: GPL-2+ or Artistic\n text\n\nFiles: b\nLicense: Expat\n\nFiles: c\nLicense: Expat and Expat\n\nLicense: GPL-3\n text\n";

#[test]
fn licenses_of_debian() {
    let package = |name: &str| format!("Package: {name}\nStatus: install ok installed\nVersion: 1\n");
    let status = ["libc6", "libc6-dev", "old", "none"].map(package).join("\n");
    let mut tree = view(&[
        ("var/lib/dpkg/status", &status),
        ("usr/share/doc/libc6/copyright", COPYRIGHT),
        ("usr/share/doc/old/copyright", "This package was debianized by somebody.\n\nFiles: *\nLicense: MIT\n"),
    ]);
    let link = NodeKind::Symlink(b"libc6".to_vec());
    tree.insert(b"usr/share/doc/libc6-dev", Node { kind: link, ..file(b"", 0o777) });
    let licenses: Vec<_> = read(&tree).into_iter().map(|package| (package.name, package.license)).collect();
    let expression = "(GPL-2.0-or-later OR Artistic-1.0) AND MIT";
    let expected = Some(expression.to_owned());
    assert_eq!(
        licenses,
        [
            ("libc6".into(), expected.clone()),
            ("libc6-dev".into(), expected),
            ("none".into(), None),
            ("old".into(), None)
        ]
    );
    assert!(licenses::is_expression(expression));
}

#[test]
fn names_of_licenses() {
    for (debian, expected) in [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("LGPL-2.1", "LGPL-2.1-only"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("zlib", "Zlib"),
        ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
        ("GPL-1+ or Artistic, and Expat", "(GPL-1.0-or-later OR Artistic-1.0) AND MIT"),
        ("Perl", "(GPL-1.0-or-later OR Artistic-1.0)"),
    ] {
        assert_eq!(licenses::of_debian(debian), expected);
        assert!(licenses::is_expression(expected), "{expected}");
    }
    assert_eq!(licenses::of_debian("public-domain or GPL-2"), "public-domain OR GPL-2.0-only");
    assert!(licenses::is_expression("GPL-2.0-or-later WITH Classpath-exception-2.0 AND (MIT OR (ISC))"));
    for wrong in [
        "",
        "MIT ISC",
        "MIT AND",
        "(MIT",
        "MIT)",
        "()",
        "AND MIT",
        "MIT WITH",
        "(MIT) WITH LLVM-exception",
        "public-domain OR MIT",
        "MIT (ISC)",
    ] {
        assert!(!licenses::is_expression(wrong), "{wrong}");
    }
}
