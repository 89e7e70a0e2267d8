use proptest::prelude::*;

use super::*;

/// The ignore file leaves out exactly these of the paths.
fn check(file: &str, ignored: &[&str], kept: &[&str]) {
    let patterns = Patterns::parse_file(file.as_bytes()).unwrap();
    for path in ignored {
        assert!(patterns.matches(path.as_bytes()), "{path} is kept by {file:?}");
    }
    for path in kept {
        assert!(!patterns.matches(path.as_bytes()), "{path} is ignored by {file:?}");
    }
}

#[test]
fn names_are_of_the_root_only() {
    check("foo", &["foo", "foo/x"], &["sub/foo", "foox", "xfoo"]);
    check("**/foo", &["foo", "sub/foo", "a/b/foo/c"], &["food", "a/xfoo"]);
    check("*.md\nd/s\n.git\n  e/x  ", &["b.md", "d/s", "d/s/a.txt", ".git/HEAD", "e/x"], &["d/b.md", "a.txt", "e"]);
}

#[test]
fn comments_and_white_space() {
    check("#a\n\n  b  \n # c\n", &["b", "# c"], &["a", "#a", "c", " # c"]);
    check("\u{FEFF}#a\nb\r\n", &["b"], &["a", "#a"]);
    check("! b", &[], &["b"]);
}

#[test]
fn slashes_and_dots() {
    check("/a.txt\n./b.md\nd/s/\n/e/../.git\n", &["a.txt", "b.md", "d/s", "d/s/x", ".git"], &["e", "d"]);
    check("a//b/./c/../d", &["a/b/d"], &["a/b/c", "a/b"]);
    check("../a\n/\n.\n..", &[], &["a", "b/c", ".hidden"]);
}

#[test]
fn the_last_match_decides() {
    check("*.md\n!b.md\nd\n!d/a.txt\n.git", &["a.md", "d", "d/b.md", ".git"], &["b.md", "d/a.txt", "a.txt"]);
    check("*\n!a/b", &["a", "a/c", "x"], &["a/b", "a/b/c"]);
    check("a\n!a/b\na/b/c", &["a/x", "a/b/c", "a/b/c/d"], &["a/b", "a/b/d"]);
    check("!a\na", &["a"], &[]);
    check(
        "**/node\n!keep/node\n!a/b/node/x",
        &["node", "a/node", "a/b/node", "a/b/node/y"],
        &["keep/node/k", "a/b/node/x"],
    );
}

#[test]
fn stars() {
    check("a/**", &["a/b", "a/b/c"], &["a", "ab"]);
    check("a**", &["a", "ab", "a/b"], &["b", "ba"]);
    check("**a", &["a", "ba", "b/ca", "ba/x"], &["ab"]);
    check("a**b", &["ab", "a/b", "a/x/b", "ax/b/c"], &["axb"]);
    check("**", &["a", "a/b"], &[""]);
    check("**/*.pyc", &["a.pyc", "x/y/a.pyc", "d.pyc/x"], &["a.py"]);
    check("a/**/b", &["a/b", "a/x/b", "a/x/y/b/z"], &["a/xb", "b"]);
    check("?/[ab]*", &["x/a", "x/bc"], &["x/c", "xx/a"]);
    check("a\\*", &["a*"], &["ab"]);
}

#[test]
fn lists_of_flags() {
    let patterns = Patterns::new(["", "  ", "*.txt", "!keep.txt"]).unwrap();
    assert!(patterns.matches(b"a.txt") && !patterns.matches(b"keep.txt") && !patterns.matches(b"d/a.txt"));
    assert!(patterns.has_exclusions() && !patterns.is_empty());
    let plain = Patterns::new([" "]).unwrap();
    assert!(plain.is_empty() && !plain.has_exclusions());
}

#[test]
fn errors() {
    assert_eq!(Patterns::new(["!"]), Err(PatternError::LoneExclusion));
    assert_eq!(Patterns::parse_file(b"a\n! \n"), Err(PatternError::LoneExclusion));
    assert_eq!(Patterns::new(["a[b"]), Err(PatternError::Syntax("a[b".to_owned())));
    assert_eq!(PatternError::LoneExclusion.to_string(), "illegal exclusion pattern: \"!\"");
    let long = [b"a\n".to_vec(), vec![b'x'; 65_536]].concat();
    assert_eq!(Patterns::parse_file(&long), Err(PatternError::LineTooLong { line: 2, limit: 65_535 }));
}

#[test]
fn directories_that_need_no_walk() {
    let patterns = Patterns::parse_file(b"*\n!a/b\n!c/*/d\n!e**\nf\n!g\ng/h").unwrap();
    for (dir, expected) in [
        ("a", true),
        ("a/b", true),
        ("a/c", false),
        ("c", true),
        ("c/x", true),
        ("c/x/y", false),
        ("ex", true),
        ("f", false),
        ("g", true),
        ("g/h", false),
        ("x", false),
    ] {
        assert_eq!(patterns.may_match_below(dir.as_bytes()), expected, "{dir}");
    }
    assert!(Patterns::parse_file(b"*\n!**/x").unwrap().may_match_below(b"a/b/c"));
    assert!(Patterns::default().may_match_below(b"a"));
}

#[test]
fn bytes_that_are_not_utf8() {
    let patterns = Patterns::parse_file(b"a\xFF\nb?\n**/c\xFE").unwrap();
    assert!(patterns.matches(b"a\xFF/x") && patterns.matches(b"b\xFF") && patterns.matches(b"x/c\xFE"));
    assert!(!patterns.matches(b"a\xFE") && !patterns.matches(b"x/c\xFF"));
}

/// What moby/patternmatcher does, naively: a regular expression for each pattern, tried on the
/// path and each directory above it.
struct Oracle(Vec<(bool, String, regex_lite::Regex)>);

impl Oracle {
    fn new(patterns: &[String]) -> Self {
        let rules = patterns.iter().map(|pattern| {
            let (includes, text) = pattern.strip_prefix('!').map_or((false, pattern.as_str()), |text| (true, text));
            (includes, text.to_owned(), regex_lite::Regex::new(&Self::regex(text)).unwrap())
        });
        Oracle(rules.collect())
    }

    fn regex(pattern: &str) -> String {
        let mut regex = "^".to_owned();
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("**") {
                rest = after.strip_prefix('/').unwrap_or(after);
                regex.push_str(if rest.is_empty() { ".*" } else { "(.*/)?" });
                continue;
            }
            rest = &rest[1..];
            match c {
                '*' => regex.push_str("[^/]*"),
                '?' => regex.push_str("[^/]"),
                '.' => regex.push_str("\\."),
                c => regex.push(c),
            }
        }
        regex + "$"
    }

    fn one(text: &str, regex: &regex_lite::Regex, path: &str) -> bool {
        match text.strip_prefix("**") {
            Some(suffix) if !suffix.contains(['*', '?', '[']) => {
                path.ends_with(suffix) || suffix.strip_prefix('/').is_some_and(|name| name == path)
            }
            _ => regex.is_match(path),
        }
    }

    fn matches(&self, path: &str) -> bool {
        let mut matched = false;
        for (includes, text, regex) in &self.0 {
            let above = path.match_indices('/').map(|(index, _)| &path[..index]);
            if above.chain([path]).any(|path| Self::one(text, regex, path)) {
                matched = !includes;
            }
        }
        matched
    }
}

fn pattern() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        4 => "[ab.]{1,2}",
        2 => "[ab*?]{1,3}",
        1 => Just("**".to_owned()),
        1 => Just("[ab]".to_owned()),
        1 => Just("[^a]*".to_owned()),
        1 => "[ab]{0,1}\\*\\*[ab]{0,1}",
    ];
    ("!?", proptest::collection::vec(component, 1..4)).prop_map(|(mark, parts)| mark + &parts.join("/"))
}

fn path() -> impl Strategy<Value = String> {
    "[abc.]{1,2}(/[abc.]{1,2}){0,4}"
}

fn is_clean(pattern: &str) -> bool {
    clean(pattern.as_bytes()) == pattern.as_bytes() && pattern != "!"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_the_oracle(list in proptest::collection::vec(pattern(), 1..5), path in path()) {
        let list: Vec<String> = list.into_iter().filter(|pattern| is_clean(pattern)).collect();
        prop_assume!(path != ".");
        let patterns = Patterns::new(list.iter().map(String::as_str)).unwrap();
        prop_assert_eq!(patterns.matches(path.as_bytes()), Oracle::new(&list).matches(&path), "{:?} on {}", list, path);
    }

    #[test]
    fn pruning_loses_nothing(list in proptest::collection::vec(pattern(), 1..5), path in path()) {
        let patterns = Patterns::new(list.iter().map(String::as_str)).unwrap();
        if !patterns.matches(path.as_bytes()) {
            for (index, _) in path.match_indices('/') {
                prop_assert!(patterns.may_match_below(&path.as_bytes()[..index]), "{:?} on {}", list, path);
            }
        }
    }

    #[test]
    fn never_panics(file: Vec<u8>, path: Vec<u8>) {
        if let Ok(patterns) = Patterns::parse_file(&file) {
            patterns.matches(&path);
            patterns.may_match_below(&path);
        }
    }
}
