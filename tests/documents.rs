//! The documentation: links lead somewhere, quoted messages exist, every page is in the book.

#![allow(clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below `directory` that end so.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("directory").map(|entry| entry.expect("entry").path()) {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if entry.is_dir() && !name.starts_with('.') && name != "target" {
            found.extend(files(&entry, ending));
        } else if name.ends_with(ending) {
            found.push(entry);
        }
    }
    found
}

/// The text without what stands in code blocks and code spans.
fn prose(text: &str) -> String {
    let mut in_block = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_block ^= fence;
        !in_block && !fence
    });
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let mut kept = String::new();
    for (number, part) in text.split('`').enumerate() {
        // Code in the text of a link is no code that could hold a link.
        kept.push_str(if number % 2 == 0 { part } else { "code" });
    }
    kept
}

/// Targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let after = prose.split("](").skip(1);
    after.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// As GitHub and mdBook make it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

#[test]
fn links_lead_somewhere() {
    let mut checked = 0;
    for file in files(root(), ".md") {
        let text = read(&file);
        for link in links(&text).into_iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (path, wanted) = link.split_once('#').unwrap_or((&link, ""));
            let target =
                if path.is_empty() { file.clone() } else { normal(&file.parent().expect("a parent").join(path)) };
            assert!(target.exists(), "{}: {link} leads nowhere", file.display());
            if !wanted.is_empty() {
                assert!(anchors(&read(&target)).contains(wanted), "{}: {link} has no such heading", file.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 60, "{checked}");
}

#[test]
fn pages_of_the_book_lead_out_of_it_nowhere_and_all_are_listed() {
    let docs = root().join("docs");
    let listed: BTreeSet<String> = links(&read(&docs.join("SUMMARY.md"))).into_iter().collect();
    for page in files(&docs, ".md").iter().filter(|page| !page.ends_with("SUMMARY.md")) {
        let name = page.strip_prefix(&docs).expect("inside").display().to_string();
        assert!(listed.contains(&name), "SUMMARY.md lacks {name}");
        let outward = links(&read(page)).into_iter().find(|link| link.starts_with("..") || link.starts_with('/'));
        assert_eq!(outward, None, "{name}");
    }
}

/// Texts between quotes, with `…` for what is filled in.
fn messages(source: &str) -> impl Iterator<Item = String> {
    let joined = source.replace("\\\n", "\u{1}").split('\u{1}').map(str::trim_start).collect::<String>();
    let literals: Vec<String> = joined.replace("\\\"", "'").split('"').map(str::to_owned).collect();
    literals.into_iter().map(|text| filled(&text))
}

fn filled(text: &str) -> String {
    let mut result = String::new();
    let mut depth = 0;
    for c in text.replace("{{", "(").replace("}}", ")").replace('`', "'").chars() {
        match c {
            '{' => {
                depth += 1;
                result.push('…');
            }
            '}' if depth > 0 => depth -= 1,
            c if depth == 0 => result.push(c),
            _ => {}
        }
    }
    result
}

#[test]
fn messages_that_troubleshooting_explains_exist() {
    let page = read(&root().join("docs/troubleshooting.md"));
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    let sources =
        ["src", "warmer/src", "cache-server/src"].into_iter().flat_map(|folder| files(&root().join(folder), ".rs"));
    let known: Vec<String> = sources.flat_map(|file| messages(&read(&file)).collect::<Vec<_>>()).collect();
    let mut explained = 0;
    for heading in headings {
        let wanted = heading.trim_start_matches("… ").trim_end_matches('…');
        assert!(known.iter().any(|text| text.contains(wanted)), "nobody says {heading:?}");
        explained += 1;
    }
    assert!(explained > 20, "{explained}");
}
