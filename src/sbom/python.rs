use super::{Ecosystem, Package};

/// The head of a package's metadata.
///
/// # Source
/// PyPA, "Core metadata specifications".
pub(super) fn installed(text: &str) -> Vec<Package> {
    let head = text.split("\n\n").next().unwrap_or_default();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let package = field("Name").zip(field("Version"));
    let package = package.and_then(|(name, version)| Package::new(Ecosystem::Python, name, version));
    // Some have the whole text of a license there.
    let license = field("License-Expression").or_else(|| field("License")).filter(|text| text.len() <= 80);
    package.map(|package| package.licensed(license)).into_iter().collect()
}

/// What `requirements.txt` pins.
///
/// # Source
/// pip, "Requirements File Format".
pub(super) fn required(text: &str) -> Vec<Package> {
    let pinned = text.lines().filter_map(|line| {
        let line = line.split(['#', ';', ' ', '\\']).next()?.trim();
        let (name, version) = line.split_once("==")?;
        let name = name.split('[').next()?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        (name.chars().all(is_name) && !version.contains(['*', ','])).then_some((name, version))
    });
    pinned
        .filter_map(|(name, version)| Package::new(Ecosystem::Python, name, version.trim_start_matches('=')))
        .collect()
}
