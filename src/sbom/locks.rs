//! Lock files that are lists.

use std::fmt::Write as _;

use serde::Deserialize;

use super::{Ecosystem, Package};

/// Tables called `package`, as cargo, poetry and uv write them: one value a line.
pub(super) fn toml(text: &str, ecosystem: Ecosystem) -> Vec<Package> {
    let tables = text.split("\n[[package]]").skip(usize::from(!text.starts_with("[[package]]")));
    tables.filter_map(|table| toml_package(table, ecosystem)).collect()
}

fn toml_package(table: &str, ecosystem: Ecosystem) -> Option<Package> {
    // Up to the next table.
    let own = table.split("\n[").next().unwrap_or_default();
    let field = |name: &str| {
        let value = own.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='))?;
        value.trim().strip_prefix('"')?.strip_suffix('"')
    };
    let package = Package::new(ecosystem, field("name")?, field("version")?)?;
    let is_sha256 = |text: &&str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let checksum = field("checksum").filter(is_sha256).map(|text| ("SHA256", text.to_owned()));
    Some(Package { checksum, ..package })
}

/// Lines of four spaces, name and version in brackets, below `specs:`.
pub(super) fn gems(text: &str) -> Vec<Package> {
    let lines = text.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    let gems =
        lines.filter_map(|line| line.trim().split_once(" (")?.1.strip_suffix(')').map(|version| (line, version)));
    let gems = gems.filter(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()));
    let gem = |(line, version): (&str, &str)| Package::new(Ecosystem::Gem, line.trim().split_once(" (")?.0, version);
    gems.filter_map(gem).collect()
}

#[derive(Deserialize)]
struct Composer {
    #[serde(default)]
    packages: Vec<ComposerPackage>,
    #[serde(default, rename = "packages-dev")]
    development: Vec<ComposerPackage>,
}

#[derive(Deserialize)]
struct ComposerPackage {
    name: String,
    version: String,
    #[serde(default)]
    license: Vec<String>,
}

/// `composer.lock`, or `vendor/composer/installed.json`.
pub(super) fn composer(text: &str) -> Vec<Package> {
    let Ok(Composer { packages, development }) = serde_json::from_str(text) else { return Vec::new() };
    let package = |package: ComposerPackage| {
        let license = package.license.join(" OR ");
        Some(Package::new(Ecosystem::Composer, &package.name, &package.version)?.licensed(Some(&license)))
    };
    packages.into_iter().chain(development).filter_map(package).collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
