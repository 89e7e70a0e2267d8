use proptest::prelude::*;

use super::*;

/// `S` is set, `E` empty, everything else unset but the names in the table.
fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "S" => "set",
        "E" => "",
        "V" => "val",
        "W" => "1 2/udp",
        "F" => "archive.tar.gz",
        "P" => "/usr/local/lib/x.so",
        "X" => "aXbXc",
        "D" => "a.b.c",
        "A" => "/a/b",
        "STAR" => "x**y",
        "N" => "a\nb",
        "Ü1" => "umlaut",
        _ => return None,
    };
    Some(value.to_owned())
}

fn word(text: &str) -> Result<String, String> {
    word_with('\\', text)
}

fn word_with(escape: char, text: &str) -> Result<String, String> {
    Expander::new(escape, &lookup).word(text).map(|found| found.text).map_err(|error| error.reason.to_string())
}

fn check(table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(word(text).as_deref(), Ok(*expected), "{text}");
    }
}

#[test]
fn names() {
    check(&[
        ("$V", "val"),
        ("x${V}y$V", "xvalyval"),
        ("$V_x", ""),
        ("${V}_x", "val_x"),
        ("he$1x", "hex"),
        ("$12a", "a"),
        ("$@$*$#$?$-$$$!$0.", "."),
        ("$Ü1", "umlaut"),
        ("$v", ""),
        ("a$", "a$"),
        ("$(id) $. $/", "$(id) $. $/"),
    ]);
}

#[test]
fn quotes_and_escapes() {
    check(&[
        ("a b  c", "a b  c"),
        ("\"q\" 'r'", "q r"),
        ("\\$V", "$V"),
        ("'$V'", "$V"),
        ("\"$V\"", "val"),
        ("\"\\$V\"", "$V"),
        ("\\\\$V", "\\val"),
        ("\"'$V'\"", "'val'"),
        ("'\"$V\"'", "\"$V\""),
        ("x'$V'\"$V\"$V", "x$Vvalval"),
        ("\"a\\\\b\"", "a\\b"),
        ("a\\ b", "a b"),
        ("\"a\\\"b\"", "a\"b"),
        ("'a\\b'", "a\\b"),
        ("\"a\\nb\"", "a\\nb"),
        ("a\\nb", "anb"),
        ("a\\", "a"),
        ("\"\"''", ""),
        ("\\${x}", "${x}"),
    ]);
    assert_eq!(word_with('`', "C:\\dir `$V a`\"b \"c`\"d`e\"").as_deref(), Ok("C:\\dir $V a\"b c\"d`e"));
}

#[test]
fn defaults() {
    check(&[
        ("${S:-d}|${E:-d}|${U:-d}", "set|d|d"),
        ("${S-d}|${E-d}|${U-d}", "set||d"),
        ("${S:+alt}|${E:+alt}|${U:+alt}", "alt||"),
        ("${S+alt}|${E+alt}|${U+alt}", "alt|alt|"),
        ("${S:?no}|${S?no}|${E?no}", "set|set|"),
        ("${U:-}|${U-}", "|"),
        ("${U:-a b}", "a b"),
        ("${U:-${E:-$V}}", "val"),
        ("${U:-'}'}", "}"),
        ("${U:-\"}\"}", "}"),
        ("${U:-a\\}b}", "a}b"),
        ("\"${U:-a \"b\" c}\"", "a b c"),
    ]);
}

#[test]
fn trimming() {
    check(&[
        ("${F#*.} ${F##*.} ${F%.*} ${F%%.*}", "tar.gz gz archive.tar archive"),
        ("${P#/usr} ${P##*/} ${P%/*} ${P%%/*}", "/local/lib/x.so x.so /usr/local/lib "),
        ("${D%%.*} ${D%.*}", "a a.b"),
        ("${D#?} ${D#nope} ${D%?}", ".b.c a.b.c a.b."),
        ("${STAR#x\\*} ${STAR##*\\*} ${STAR%\\**}", "*y y x*"),
        ("${V#[v]} ${U#a} ${E%a}", "val  "),
        ("${V##*} ${V#*} ${V%%*}", " val "),
        ("${V#${V}} ${P#$A}", " /usr/local/lib/x.so"),
        ("${N#a*b}", "a\nb"),
    ]);
}

#[test]
fn replacing() {
    check(&[
        ("${X/X/-} ${X//X/-} ${X//X/} ${X/nope/-}", "a-bXc a-b-c abc aXbXc"),
        ("${A//\\//_}", "_a_b"),
        ("${A/\\/*\\//_}", "_b"),
        ("${X/X*/!}", "a!"),
        ("${X//?/.}", "....."),
        ("${X//*/.}", "."),
        ("${V///-}", "-v-a-l-"),
        ("${X/b/$V}", "aXvalXc"),
        ("${X/b/'$0'} ${X//X/'<$0$1$$>'}", "aX$0Xc a<X$>b<X$>c"),
        ("${X//X/'${0}$-$'}", "aX$-$bX$-$c"),
        ("${U/a/b}", ""),
    ]);
}

#[test]
fn mistakes() {
    for (text, expected) in [
        ("${", "syntax error: missing '}'"),
        ("${B", "syntax error: missing '}'"),
        ("${B:", "syntax error: missing '}'"),
        ("${B:-c", "syntax error: missing '}'"),
        ("${B#c", "syntax error: missing '}'"),
        ("${B/c", "syntax error: missing '/' in ${}"),
        ("${B/c}", "syntax error: missing '/' in ${}"),
        ("${B/c/d", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${{x}}", "syntax error: bad substitution"),
        ("${:x}", "syntax error: bad substitution"),
        ("${B:=y}", "unsupported modifier (:=) in substitution"),
        ("${B:~x}", "unsupported modifier (:~) in substitution"),
        ("${B=y}", "unsupported modifier (=) in substitution"),
        ("${B:x}", "unsupported modifier (:x) in substitution"),
        ("${B:#p}", "unsupported modifier (:#) in substitution"),
        ("${B.c}", "unsupported modifier (.) in substitution"),
        ("${U:?}", "U: is not allowed to be unset"),
        ("${U?}", "U: is not allowed to be unset"),
        ("${E:?}", "E: is not allowed to be empty"),
        ("${E:?missing $V}", "E: missing val"),
        ("${S:-${U:?}}", "U: is not allowed to be unset"),
        ("${V#\\a}", "invalid pattern (\\a) in substitution: invalid escape '\\a'"),
        ("${U/\\a/b}", "invalid pattern (\\a) in substitution: invalid escape '\\a'"),
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ("\"a", "unexpected end of statement while looking for matching double-quote"),
        ("it's", "unexpected end of statement while looking for matching single-quote"),
    ] {
        assert_eq!(word(text), Err(expected.to_owned()), "{text}");
    }
    let error = Expander::new('\\', &lookup).word("${E:?missing}").unwrap_err();
    assert_eq!(error.to_string(), "failed to process \"${E:?missing}\": E: missing");
}

#[test]
fn depth_has_a_limit() {
    let nested = |depth: usize| format!("{}x{}", "${U:-".repeat(depth), "}".repeat(depth));
    assert_eq!(word(&nested(100)).as_deref(), Ok("x"));
    assert_eq!(word(&nested(101)), Err(ExpandReason::TooDeep.to_string()));
    assert!(word(&"${U:-\"".repeat(100_000)).is_err());
}

#[test]
fn unset_names_are_reported() {
    let found = Expander::new('\\', &lookup).word("$V $b ${a:-$c} ${S:-$a} '$d'").unwrap();
    assert_eq!(found.unset, ["a", "b", "c"]);
    let body = Expander::new('\\', &lookup).heredoc("$V $z").unwrap();
    assert_eq!(body.unset, ["z"]);
}

#[test]
fn words_split_outside_quotes() {
    let words = |text: &str| Expander::new('\\', &lookup).words(text).unwrap();
    assert_eq!(words("$W"), ["1", "2/udp"]);
    assert_eq!(words("8$W"), ["81", "2/udp"]);
    assert_eq!(words("\"$W\" a\\ b"), ["1 2/udp", "a b"]);
    assert_eq!(words("8${U:-0 1}"), ["80", "1"]);
    assert_eq!(words(" $U \"\" "), [""; 0]);
}

#[test]
fn heredoc_bodies() {
    let body = |text: &str| Expander::new('`', &lookup).heredoc(text).unwrap().text;
    assert_eq!(
        body("$V ${E} ${U:-none} \\$A \"$V\" '$V' $(id) \\\\ end\n"),
        "val  none $A \"val\" 'val' $(id) \\ end\n"
    );
    assert_eq!(body("it's `$V` \\x\n"), "it's `val` x\n");
    assert_eq!(body("a\n\\\nb"), "a\n\nb");
    assert_eq!(body("${U:-\"q\"}"), "\"q\"");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn never_panics(text: String, escape in "[\\\\`]") {
        let expander = Expander::new(if escape == "`" { '`' } else { '\\' }, &lookup);
        let _ = (expander.word(&text), expander.words(&text), expander.heredoc(&text));
    }

    #[test]
    fn soup_never_panics(text in "([$]|[{]|[}]|[SEVUX]|[:#%/?*+-]|[\"'\\\\]| |é|[$][{]X){0,20}") {
        let expander = Expander::new('\\', &lookup);
        let _ = (expander.word(&text), expander.words(&text), expander.heredoc(&text));
    }

    #[test]
    fn quoting_keeps_text(text in "[^']{0,20}") {
        prop_assert_eq!(word(&format!("'{text}'")), Ok(text));
    }

    /// `#` with a pattern removes a prefix that the pattern matches, the shortest or the longest.
    #[test]
    fn trimming_agrees_with_regular_expressions(value in "[ab]{0,8}", pattern in "[ab*?]{0,5}") {
        let regex = |lazy: bool| {
            let star = if lazy { ".*?" } else { ".*" };
            regex_lite::Regex::new(&format!("^{}", pattern.replace('?', ".").replace('*', star))).unwrap()
        };
        let lookup = |_: &str| Some(value.clone());
        let expander = Expander::new('\\', &lookup);
        for (operator, lazy) in [("#", true), ("##", false)] {
            let end = regex(lazy).find(&value).map_or(0, |found| found.end());
            let found = expander.word(&format!("${{v{operator}{pattern}}}")).unwrap().text;
            prop_assert_eq!(found, &value[end..], "{}{} on {}", operator, pattern, value);
        }
        let replaced = expander.word(&format!("${{v//{pattern}/-}}")).unwrap().text;
        let greedy = regex_lite::Regex::new(&regex(false).as_str()[1..]).unwrap();
        prop_assert_eq!(replaced, greedy.replace_all(&value, "-").into_owned(), "//{} on {}", pattern, value);
    }
}
