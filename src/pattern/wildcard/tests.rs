use proptest::prelude::*;

use super::*;

/// pattern, path, match; mostly the table of Go's own tests.
const MATCH: &[(&str, &str, bool)] = &[
    ("abc", "abc", true),
    ("*", "abc", true),
    ("*c", "abc", true),
    ("a*", "a", true),
    ("a*", "abc", true),
    ("a*", "ab/c", false),
    ("a*/b", "abc/b", true),
    ("a*/b", "a/c/b", false),
    ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
    ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
    ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
    ("a*b?c*x", "abxbbxdbxebxczzx", true),
    ("a*b?c*x", "abxbbxdbxebxczzy", false),
    ("ab[c]", "abc", true),
    ("ab[b-d]", "abc", true),
    ("ab[e-g]", "abc", false),
    ("ab[^c]", "abc", false),
    ("ab[^b-d]", "abc", false),
    ("ab[^e-g]", "abc", true),
    ("a\\*b", "a*b", true),
    ("a\\*b", "ab", false),
    ("a?b", "a☺b", true),
    ("a[^a]b", "a☺b", true),
    ("a???b", "a☺b", false),
    ("a[^a][^a][^a]b", "a☺b", false),
    ("[a-ζ]*", "α", true),
    ("*[a-ζ]", "A", false),
    ("a?b", "a/b", false),
    ("a*b", "a/b", false),
    ("[\\]a]", "]", true),
    ("[\\-]", "-", true),
    ("[x\\-]", "x", true),
    ("[x\\-]", "z", false),
    ("[\\-x]", "a", false),
    ("*x", "xxx", true),
    (".*", ".git", true),
    ("*", ".git", true),
    ("**", "ab", true),
    ("**", "a/b", false),
    ("a/**/b", "a/x/b", true),
    ("a/**/b", "a/b", false),
    ("", "", true),
    ("", "a", false),
];

#[test]
fn match_table() {
    for (pattern, path, expected) in MATCH {
        let wildcard = Wildcard::new(pattern.as_bytes()).unwrap();
        assert_eq!(wildcard.matches(path.as_bytes()), *expected, "{pattern} on {path}");
    }
}

#[test]
fn bad_patterns() {
    for pattern in
        ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a[x", "\\", "a\\", "[^]", "[a-]"]
    {
        let error = Wildcard::new(pattern.as_bytes()).unwrap_err();
        assert_eq!(error, PatternError::Syntax(pattern.to_owned()), "{pattern}");
        assert!(Wildcard::recursive(pattern.as_bytes()).is_err(), "{pattern}");
    }
}

#[test]
fn recursive_table() {
    for (pattern, path, expected) in [
        ("**", "a/b", true),
        ("**/x", "x", true),
        ("**/x", "a/b/x", true),
        ("**/x", "ax", false),
        ("**/*.rs", "src/a/b.rs", true),
        ("**/*.rs", "b.rs", true),
        ("src/**/*.rs", "src/b.rs", true),
        ("src/**/*.rs", "src/x/y/b.rs", true),
        ("src/**/*.rs", "other/b.rs", false),
        ("a/**", "a/b/c", true),
        ("a/**", "a", false),
        ("a**b", "a/x/b", true),
        ("a**b", "ab", true),
        ("a**b", "axb", false),
        ("*", "a/b", false),
        ("d/*", "d/a/b", false),
    ] {
        let wildcard = Wildcard::recursive(pattern.as_bytes()).unwrap();
        assert_eq!(wildcard.matches(path.as_bytes()), expected, "{pattern} on {path}");
    }
}

#[test]
fn what_a_walk_may_skip() {
    let wildcard = Wildcard::new(b"a/b*/c").unwrap();
    assert!(wildcard.may_match_below(b""));
    assert!(wildcard.may_match_below(b"a"));
    assert!(wildcard.may_match_below(b"a/bx"));
    assert!(!wildcard.may_match_below(b"a/x"));
    assert!(!wildcard.may_match_below(b"a/bx/c"));
    assert!(Wildcard::recursive(b"**/c").unwrap().may_match_below(b"x/y/z"));
}

#[test]
fn meta_characters() {
    for (path, expected) in [
        ("a", false),
        ("a*", true),
        ("a?", true),
        ("a[", true),
        ("a\\*", false),
        ("a\\\\*", true),
        ("a]", false),
        ("\\", false),
    ] {
        assert_eq!(has_meta(path.as_bytes()), expected, "{path}");
    }
}

#[test]
fn bytes_that_are_not_utf8() {
    assert!(Wildcard::new(b"a?b").unwrap().matches(b"a\xFFb"));
    assert!(Wildcard::new(b"a\xFF*").unwrap().matches(b"a\xFFb"));
    assert!(!Wildcard::new(b"a\xFFb").unwrap().matches(b"a\xFEb"));
}

#[test]
fn long_patterns() {
    let pattern = "a*".repeat(200);
    let wildcard = Wildcard::new(pattern.as_bytes()).unwrap();
    assert!(wildcard.matches("ab".repeat(300).as_bytes()));
    assert!(!wildcard.matches("ab".repeat(100).as_bytes()));
}

proptest! {
    #[test]
    fn never_panics(pattern: Vec<u8>, path: Vec<u8>) {
        for wildcard in [Wildcard::new(&pattern), Wildcard::recursive(&pattern)].into_iter().flatten() {
            wildcard.matches(&path);
            wildcard.may_match_below(&path);
        }
        has_meta(&pattern);
    }

    #[test]
    fn literal_patterns_match_themselves_only(path in "[a-c/.]{0,8}", other in "[a-c/.]{0,8}") {
        let wildcard = Wildcard::new(path.as_bytes()).unwrap();
        prop_assert!(wildcard.matches(path.as_bytes()));
        prop_assert_eq!(wildcard.matches(other.as_bytes()), path == other);
    }

    #[test]
    fn may_match_below_misses_nothing(pattern in "[ab*?/]{1,8}", path in "[ab]{1,2}(/[ab]{1,2}){0,3}") {
        let wildcard = Wildcard::recursive(pattern.as_bytes()).unwrap();
        if wildcard.matches(path.as_bytes()) {
            for (index, _) in path.match_indices('/') {
                prop_assert!(wildcard.may_match_below(&path.as_bytes()[..index]));
            }
        }
    }
}
