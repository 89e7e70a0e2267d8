//! The map of `docs/design.md`: reads the `use` lines and fails on an arrow that is not on it.

#![allow(clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may know of the crate. A new arrow is a decision: make it here, with a reason
/// in `docs/design.md`.
const ALLOWED: [(&str, &[&str]); 23] = [
    // Pure.
    ("causes", &[]),
    ("digest", &[]),
    ("otlp", &[]),
    ("parallel", &[]),
    ("signature", &["digest"]),
    ("dockerfile", &[]),
    ("pattern", &[]),
    ("image", &["digest"]),
    ("plan", &["digest", "dockerfile", "image", "pattern"]),
    ("key", &["digest", "image", "plan"]),
    // Layers.
    ("layer", &["digest", "image"]),
    ("view", &["digest", "layer"]),
    ("sbom", &["digest", "layer", "view"]),
    // Edges.
    ("report", &["digest", "otlp"]),
    ("context", &["digest", "extract", "image", "layer", "pattern", "registry", "view"]),
    ("extract", &["digest", "layer", "view"]),
    ("store", &["causes", "digest", "image", "key"]),
    ("registry", &["digest", "image"]),
    ("attest", &["digest", "image", "parallel", "registry", "signature"]),
    ("cache", &["causes", "digest", "image", "key", "parallel", "registry", "report", "signature", "store"]),
    ("sandbox", &["pattern", "plan"]),
    ("snapshot", &["digest", "layer", "sandbox", "view"]),
    // Everything meets.
    (
        "build",
        &[
            "attest",
            "cache",
            "causes",
            "context",
            "digest",
            "dockerfile",
            "extract",
            "image",
            "key",
            "layer",
            "parallel",
            "pattern",
            "plan",
            "registry",
            "report",
            "sandbox",
            "sbom",
            "signature",
            "snapshot",
            "store",
            "view",
        ],
    ),
];

/// Pure modules see the world through their arguments only.
const PURE: [&str; 9] = ["digest", "dockerfile", "image", "key", "otlp", "pattern", "plan", "sbom", "signature"];

/// What a pure module must not touch.
const EFFECTS: [&str; 8] = [
    "std::fs",
    "std::net::Tcp",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "std::time::Instant",
    "std::env::var",
    "rustix",
];

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).expect("source folder").map(|entry| entry.expect("entry").path());
    entries.filter(|p| p.is_dir() || p.extension().is_some_and(|e| e == "rs")).flat_map(|p| rust_files(&p)).collect()
}

/// Top-level modules and their files.
fn modules() -> BTreeMap<String, Vec<PathBuf>> {
    let mut modules = BTreeMap::new();
    for entry in fs::read_dir(source_root()).expect("src").map(|entry| entry.expect("entry").path()) {
        let name = entry.file_stem().expect("name").to_string_lossy().into_owned();
        if name != "lib" && name != "bin" {
            modules.insert(name, rust_files(&entry));
        }
    }
    modules
}

/// Source text without comments and without the tests, which may know more.
fn code(path: &Path) -> String {
    let is_test = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
    if is_test {
        return String::new();
    }
    let text = fs::read_to_string(path).expect("source file");
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The modules that `crate::…` paths in `text` name.
fn arrows(text: &str) -> BTreeSet<String> {
    let word = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    text.split("crate::").skip(1).map(word).filter(|name| name.chars().next().is_some_and(char::is_lowercase)).collect()
}

#[test]
fn every_module_is_listed() {
    let listed: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let found = modules();
    assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), listed);
}

#[test]
fn arrows_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let mut wrong = Vec::new();
    for (module, files) in modules() {
        for file in files {
            for target in arrows(&code(&file)) {
                let known = target == module || allowed[module.as_str()].contains(&target.as_str());
                if !known {
                    wrong.push(format!("{} uses crate::{target}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "new arrows:\n{}", wrong.join("\n"));
}

#[test]
fn pure_modules_have_no_effects() {
    let modules = modules();
    let mut wrong = Vec::new();
    for file in PURE.iter().flat_map(|module| &modules[*module]) {
        let text = code(file);
        wrong.extend(EFFECTS.iter().filter(|e| text.contains(**e)).map(|e| format!("{} uses {e}", file.display())));
    }
    assert!(wrong.is_empty(), "effects in pure modules:\n{}", wrong.join("\n"));
}

/// The lines of modules in the map of `docs/design.md`, in its order: names, and whether it calls them pure.
fn map() -> Vec<(String, bool)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design.md");
    let text = fs::read_to_string(page).expect("the page");
    let block = text.split("```").nth(1).expect("the map");
    let lines = block.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with("bin/"));
    let name = |line: &str| line.split(['/', '.', ' ']).next().unwrap_or_default().to_owned();
    lines.map(|line| (name(line), line.ends_with(" pure"))).collect()
}

#[test]
fn the_map_in_the_design_is_the_codes() {
    let (map, allowed) = (map(), BTreeMap::from(ALLOWED));
    assert_eq!(map.len(), allowed.len(), "{map:?}");
    let pure: BTreeSet<&str> = map.iter().filter(|(_, pure)| *pure).map(|(name, _)| name.as_str()).collect();
    assert_eq!(pure, BTreeSet::from(PURE));
    let mut above = BTreeSet::new();
    for (name, _) in &map {
        let arrows = allowed.get(name.as_str()).unwrap_or_else(|| panic!("there is no module {name}"));
        let wrong: Vec<_> = arrows.iter().filter(|target| !above.contains(*target)).collect();
        assert!(wrong.is_empty(), "{name} knows {wrong:?}, which stand below it in docs/design.md");
        above.insert(name.as_str());
    }
}

#[test]
fn a_forbidden_arrow_is_seen() {
    assert_eq!(
        arrows("use crate::store::Store;\nfn f(x: crate::key::CacheKey) {}"),
        BTreeSet::from(["store".into(), "key".into()])
    );
}
