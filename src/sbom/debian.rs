use super::{Ecosystem, Package, licenses};

/// Most licenses of one package that are told apart.
const MAX_LICENSES: usize = 64;

/// Paragraphs of dpkg's status; what was removed and left its configuration is not installed.
///
/// # Source
/// `deb-control(5)`, `dpkg-query(1)`.
pub(super) fn installed(text: &str) -> Vec<Package> {
    text.split("\n\n").filter_map(package).collect()
}

fn package(paragraph: &str) -> Option<Package> {
    let field = |name: &str| {
        let rest = paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(rest.trim()).filter(|value| !value.is_empty())
    };
    // Files of `status.d` have no status.
    if field("Status").is_some_and(|status| !status.ends_with(" installed")) {
        return None;
    }
    let package = Package::new(Ecosystem::Debian, field("Package")?, field("Version")?)?;
    let source = field("Source").map(|source| match source.split_once(" (") {
        Some((name, version)) => format!("{name}@{}", version.trim_end_matches(')')),
        None => source.to_owned(),
    });
    Some(Package { architecture: field("Architecture").map(str::to_owned), source, ..package })
}

/// The package that `usr/share/doc/NAME/copyright` is about.
pub(super) fn package_of(path: &[u8]) -> Option<&str> {
    std::str::from_utf8(path).ok()?.strip_prefix("usr/share/doc/")?.strip_suffix("/copyright")
}

/// The licenses of all files that a machine-readable `copyright` speaks of, joined; of others nothing.
///
/// # Source
/// Debian, "Machine-readable debian/copyright file" 1.0.
pub(super) fn license(text: &str) -> Option<String> {
    let mut paragraphs = text.split("\n\n").map(|paragraph| paragraph.trim_start_matches('\n'));
    let field = |paragraph: &str, name: &str| {
        let mut lines = paragraph.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(|rest| rest.trim().to_owned()))
    };
    let format = field(paragraphs.next()?, "Format")?;
    if !format.contains("copyright-format") && !format.contains("dep5") {
        return None;
    }
    let of_files = paragraphs.filter(|paragraph| field(paragraph, "Files").is_some());
    let mut found: Vec<String> = Vec::new();
    for license in of_files.filter_map(|paragraph| field(paragraph, "License")).filter(|text| !text.is_empty()) {
        let license = licenses::of_debian(&license);
        let parts = if license.contains(" OR ") { vec![license.as_str()] } else { license.split(" AND ").collect() };
        for part in parts {
            if found.len() < MAX_LICENSES && !found.iter().any(|known| known == part) {
                found.push(part.to_owned());
            }
        }
    }
    match found.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(several.iter().map(|one| licenses::bracketed(one)).collect::<Vec<_>>().join(" AND ")),
    }
}
