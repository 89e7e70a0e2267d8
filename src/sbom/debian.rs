use super::{Ecosystem, Package};

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
