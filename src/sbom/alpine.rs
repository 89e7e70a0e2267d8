use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Ecosystem, Package};

/// Paragraphs of apk's database.
///
/// # Source
/// `apk-tools`, "Apk installed": P name, V version, A architecture, L license, o origin, C checksum (`Q1` and base64 of SHA-1).
pub(super) fn installed(text: &str) -> Vec<Package> {
    text.split("\n\n").filter_map(package).collect()
}

fn package(paragraph: &str) -> Option<Package> {
    let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let package = Package::new(Ecosystem::Alpine, field("P:")?, field("V:")?)?.licensed(field("L:"));
    let checksum = field("C:Q1").and_then(|text| STANDARD.decode(text).ok()).filter(|bytes| bytes.len() == 20);
    Some(Package {
        architecture: field("A:").map(str::to_owned),
        source: field("o:").filter(|origin| *origin != package.name).map(str::to_owned),
        checksum: checksum.map(|bytes| ("SHA1", super::locks::hex(&bytes))),
        ..package
    })
}
