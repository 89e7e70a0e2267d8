mod archives;
mod databases;
mod lock_files;

use std::io::Cursor;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;

use super::*;
use crate::digest::Digest;
use crate::layer::Content;
use crate::view::{FileNode, Node, NodeKind, View};

fn file(bytes: &[u8], mode: u32) -> Node {
    let content = Content::Bytes(bytes.into());
    let kind = NodeKind::File(FileNode { size: bytes.len() as u64, hash: None, content, inode: None });
    Node { kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: Default::default() }
}

fn view(files: &[(&str, &str)]) -> View {
    let mut view = View::new();
    files.iter().for_each(|(path, text)| view.insert(path.as_bytes(), file(text.as_bytes(), 0o644)));
    view
}

fn read(view: &View) -> Vec<Package> {
    let mut inventory = Inventory::default();
    for file in wanted(view) {
        let Content::Bytes(bytes) = &file.content else { panic!("bytes") };
        inventory.read(&file, Cursor::new(bytes)).expect("read");
    }
    inventory.packages()
}

/// Of a file in `tests/`, which a real program wrote, compressed.
fn unpacked(gzip: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(gzip), &mut bytes).expect("gzip");
    bytes
}

fn urls(files: &[(&str, &str)]) -> Vec<String> {
    read(&view(files)).into_iter().map(|package| package.url).collect()
}

const DPKG: &str = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc (2.36-9)\nVersion: 2.36-9+deb12u4\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: tzdata\nStatus: install ok installed\nArchitecture: all\nVersion: 2024a-0\nDescription: x\n Version: 9\n";

#[test]
fn distributions() {
    let os = ("usr/lib/os-release", "NAME=x\nID=debian\nVERSION_ID=\"12\"\n");
    assert_eq!(
        urls(&[os, ("var/lib/dpkg/status", DPKG)]),
        [
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc%402.36-9",
            "pkg:deb/debian/tzdata@2024a-0?arch=all&distro=debian-12",
        ]
    );
    let distroless = "Package: base-files\nVersion: 12.4\nArchitecture: amd64\n";
    let parts = [("var/lib/dpkg/status.d/base", distroless), ("var/lib/dpkg/status.d/base.md5sums", distroless)];
    assert_eq!(urls(&parts), ["pkg:deb/debian/base-files@12.4?arch=amd64"]);
    let apk = "C:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\n\nP:ssl_client\nV:1.36\nA:x86_64\no:busybox\nL:GPL-2.0-only\n";
    let alpine = [("etc/os-release", "ID=alpine\nVERSION_ID=3.20.1\n"), ("lib/apk/db/installed", apk)];
    let found = read(&view(&alpine));
    assert_eq!(found[0].url, "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.1");
    assert_eq!(found[0].checksum, Some(("SHA1", "a8a719fa3db7c6cb005e681086438ef1d1e76d6c".to_owned())));
    assert!(found[1].url.ends_with("upstream=busybox"), "{found:?}");
}

#[test]
fn languages() {
    let lock = r#"{"lockfileVersion":3,"packages":{"":{"name":"app","version":"1"},"node_modules/@a/b":{"version":"2.0.0","license":"MIT","integrity":"sha1-qUqP5cyxm6YcTAhz05Hph5gvu9M="},"node_modules/x/node_modules/y":{"version":"3"},"node_modules/l":{"link":true}}}"#;
    let old = r#"{"lockfileVersion":1,"dependencies":{"a":{"version":"1","dependencies":{"b":{"version":"2"}}}}}"#;
    let cargo = "version = 3\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\nchecksum = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\ndependencies = [\n \"x\",\n]\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n\n[metadata]\nversion = \"7\"\n";
    for (files, expected) in [
        (&[("app/package-lock.json", lock)][..], &["pkg:npm/%40a/b@2.0.0", "pkg:npm/y@3"][..]),
        (&[("npm-shrinkwrap.json", old)], &["pkg:npm/a@1", "pkg:npm/b@2"]),
        (
            &[
                ("n/node_modules/@a/b/package.json", r#"{"name":"@a/b","version":"1","license":{"type":"ISC"}}"#),
                ("n/node_modules/c/lib/package.json", r#"{"name":"no","version":"1"}"#),
            ],
            &["pkg:npm/%40a/b@1"],
        ),
        (
            &[
                ("node_modules/.package-lock.json", lock),
                ("node_modules/z/package.json", r#"{"name":"z","version":"1"}"#),
            ],
            &["pkg:npm/%40a/b@2.0.0", "pkg:npm/y@3"],
        ),
        (&[("src/Cargo.lock", cargo)], &["pkg:cargo/app@0.1.0", "pkg:cargo/serde@1.0.1"]),
        (&[("uv.lock", "[[package]]\nname = \"Flask_A\"\nversion = \"3.0\"\n")], &["pkg:pypi/flask-a@3.0"]),
        (
            &[(
                "l/a-1.dist-info/METADATA",
                "Metadata-Version: 2.1\nName: A_b\nVersion: 1.0\nLicense: MIT\n\nVersion: 2\n",
            )],
            &["pkg:pypi/a-b@1.0"],
        ),
        (
            &[(
                "requirements.txt",
                "# x\na==1.0 ; python_version > '3'\nb>=2\nc[d]==3 \\\n  --hash=sha256:1\ne==1.*\n-r x==1\n",
            )],
            &["pkg:pypi/a@1.0", "pkg:pypi/c@3"],
        ),
        (
            &[(
                "go.sum",
                "github.com/a/B v1.2.3 h1:x=\ngithub.com/a/B v1.2.3/go.mod h1:y=\ngithub.com/c/d v0.1.0/go.mod h1:z=\n",
            )],
            &["pkg:golang/github.com/a/B@v1.2.3"],
        ),
        (
            &[(
                "Gemfile.lock",
                "GEM\n  remote: https://rubygems.org/\n  specs:\n    rack (3.0.8)\n    rails (7.1)\n      rack (>= 2)\n\nDEPENDENCIES\n  rails\n",
            )],
            &["pkg:gem/rack@3.0.8", "pkg:gem/rails@7.1"],
        ),
        (
            &[(
                "composer.lock",
                r#"{"packages":[{"name":"Symfony/console","version":"v6.4","license":["MIT"]}],"packages-dev":[{"name":"a/b","version":"1"}]}"#,
            )],
            &["pkg:composer/a/b@1", "pkg:composer/symfony/console@v6.4"],
        ),
    ] {
        let mut found = urls(files);
        found.sort();
        assert_eq!(found, expected, "{files:?}");
    }
}

#[test]
fn the_document_is_the_same_for_the_same_image() {
    let lock = ("a/go.sum", "github.com/a/b v1 h1:x=\n");
    let tree = view(&[("var/lib/dpkg/status", DPKG), lock, ("b/go.sum", lock.1)]);
    let digest = Digest::sha256(b"image");
    let described = Described {
        digest: &digest,
        platform: "linux/amd64".into(),
        created: "2024-01-01T00:00:00Z".into(),
        tool: "yadokari-1".into(),
    };
    let make = || document(&described, &read(&tree));
    let made = make();
    assert_eq!(made.to_string(), make().to_string());
    let packages = made["packages"].as_array().expect("packages");
    assert_eq!(packages.len(), 1 + 2 + 2, "the module is in two files");
    let mut ids: Vec<&str> = packages.iter().filter_map(|package| package["SPDXID"].as_str()).collect();
    let relationships = made["relationships"].as_array().expect("relationships");
    assert_eq!(relationships.len(), packages.len());
    let names = |value: &Value| value["relatedSpdxElement"].as_str().map(str::to_owned);
    assert!(relationships.iter().filter_map(names).all(|name| ids.contains(&name.as_str())));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), packages.len());
    assert_eq!(made["spdxVersion"], "SPDX-2.3");
}

#[test]
fn licenses_that_spdx_does_not_know_are_comments() {
    let apk = "P:a\nV:1\nL:MIT AND Zlib\n\nP:b\nV:1\nL:GPLv2 or so\n\nP:c\nV:1\nL:MIT AND\n";
    let digest = Digest::sha256(b"image");
    let described = Described { digest: &digest, platform: String::new(), created: String::new(), tool: String::new() };
    let made = document(&described, &read(&view(&[("lib/apk/db/installed", apk)])));
    let of = |name: &str| {
        let mut packages = made["packages"].as_array().expect("packages").iter();
        packages.find(|package| package["name"] == name).cloned().expect("there")
    };
    assert_eq!(of("a")["licenseDeclared"], "MIT AND Zlib");
    assert_eq!(of("b")["licenseDeclared"], "NOASSERTION");
    assert_eq!(of("b")["licenseComments"], "declared as: GPLv2 or so");
    assert_eq!(of("c")["licenseDeclared"], "NOASSERTION");
}

/// `YADOKARI_FUZZ_ROUNDS` sets how many.
fn rounds() -> ProptestConfig {
    let cases = std::env::var("YADOKARI_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(256);
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(8), ..ProptestConfig::default() }
}

const PATHS: [&str; 17] = [
    "var/lib/dpkg/status",
    "lib/apk/db/installed",
    "var/lib/rpm/Packages",
    "usr/share/doc/a/copyright",
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "requirements.txt",
    "Cargo.lock",
    "go.sum",
    "go.mod",
    "Gemfile.lock",
    "composer.lock",
    "etc/os-release",
    "a.dist-info/METADATA",
    "a-1.jar",
    "b.war",
];

proptest! {
    #![proptest_config(rounds())]

    #[test]
    fn any_bytes_are_read_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        text in "[a-z:=@'?!&*|>,(){}\\[\\]\\-\"#%\t\n ]{0,200}",
        yaml in "(__metadata:\n|packages:\n|  |- |\"|[a-b@0-9.]{1,5}|: |:\n|\n|\\{|\\}|\\[|\\]|&a |\\*a|\\? |\\||>|---\n|!!x |# |,){0,60}",
        place in 0usize..4096,
    ) {
        for (magic, at) in [(&b"SQLite format 3\0\x02\x00\x01\x01\x00"[..], 0), (b"\x61\x15\x06\0\x09\0\0\0\0\x02\0\0\0\x08", 12), (b"RpmP", 0)] {
            let _ = rpm::installed(&[&vec![0; at], magic, &bytes, &vec![1; place]].concat());
        }
        let _ = golang::built(Cursor::new([b"\x7fELF\xff Go buildinf:\x08\x02".as_slice(), &[0; 16], &bytes].concat()));
        let wide = String::from_utf8_lossy(&bytes).into_owned();
        for path in PATHS {
            for text in [&text, &wide, &yaml] {
                let _ = urls(&[(path, text), ("etc/os-release", &wide)]);
            }
        }
    }
}
